"""Which broker, and how we show it who we are. TLS is verified, to any machine but this one."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from echat_sdk.errors import ConfigError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_PASSWORD = 4096


class Broker(BaseModel):
    """Where the broker is. Frozen; unknown keys are refused.

    Another machine is reached by TLS, and its certificate must name it; there is no way to leave
    that out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="localhost", min_length=1, max_length=253)
    port: int = Field(default=0, ge=0, le=65535, description="0: 8883 with TLS, 1883 without.")
    tls: bool | None = Field(default=None, description="None: with every machine but this one.")
    ca_file: Path | None = Field(
        default=None, description="Whom to trust; None: the system's own list."
    )
    cert_file: Path | None = Field(
        default=None, description="Our certificate, where the broker wants one."
    )
    key_file: Path | None = Field(
        default=None, description="Its key; None where it is in the same file."
    )
    username: str | None = Field(default=None, max_length=200)
    password_file: Path | None = Field(default=None, description="Its first line is the password.")
    password_env: str = Field(
        default="ECHAT_MQTT_PASSWORD", description="Read where there is no file."
    )
    client_id: str = Field(
        default="", max_length=128, description="Empty: made of the tenant and the device."
    )
    keepalive: int = Field(default=15, ge=2, le=600, description="Seconds.")

    @model_validator(mode="after")
    def _is_safe(self) -> Broker:
        if self.tls is False and self.host not in _LOOPBACK:
            raise ValueError(f"a broker on another machine ({self.host}) is reached by TLS alone")
        if self.cert_file is None and self.key_file is not None:
            raise ValueError("key_file is of use with cert_file only")
        if self.cert_file is not None and not self.uses_tls:
            raise ValueError("a certificate is shown by TLS alone; set tls = true")
        return self

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is by TLS."""
        return self.host not in _LOOPBACK if self.tls is None else self.tls

    @property
    def where(self) -> int:
        """The port that is connected to."""
        return self.port or (8883 if self.uses_tls else 1883)

    def named(self, client_id: str) -> Broker:
        """The same, with a client id where there is none.

        It has to be the same each time: a broker that meets it again knows that the connection
        before is dead, and does not tell of that later.
        """
        return self if self.client_id else self.model_copy(update={"client_id": client_id})

    def context(self) -> ssl.SSLContext | None:
        """How TLS is spoken; None without. Reads files: not for the event loop.

        Raises:
            ConfigError: a file is not there, or is no certificate or key.
        """
        if not self.uses_tls:
            return None
        try:
            made = ssl.create_default_context(cafile=self.ca_file)
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file is not None:
                made.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
            files = [str(f) for f in (self.ca_file, self.cert_file, self.key_file) if f is not None]
            raise ConfigError(
                f"TLS with the broker: {why} ({', '.join(files)}); expected PEM files"
            ) from error
        return made

    def password(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The password; None without. Reads a file: not for the event loop.

        Raises:
            ConfigError: the file cannot be read, or others may read it.
        """
        if self.password_file is None:
            return environ.get(self.password_env)
        try:
            with self.password_file.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ConfigError(
                        f"others may read the password in {self.password_file}; "
                        f"chmod 600 {self.password_file}"
                    )
                first = file.readline(_MOST_PASSWORD)
            return first.decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the password file {self.password_file} cannot be read: {type(error).__name__}"
            ) from error


def _no_password() -> str:
    raise ValueError("the key is locked with a password; expected one without")
