"""Where devices are served, which, as whom, and how much of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError
from echat_sdk.server.origins import is_loopback

NAMED = re.compile(r"[0-9A-Za-z:._-]{1,64}")
"""What a device may call itself, by `Device-Id` and by `Client-Id`."""

_SHORTEST_SECRET = 32


class Device(BaseModel):
    """One device that is known by its `Device-Id`.

    Attributes:
        user: Whose memory answers, and whose consents count; None for a guest.
        client: Its `Client-Id`. A device's own id is printed on it and told to every network; this
            one was thought up by the device at random, so it shows that the device is that one.
        voice: In which it is answered; None for the model's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str | None = Field(default=None, min_length=1, max_length=200)
    client: str | None = Field(default=None, min_length=1, max_length=64)
    voice: str | None = None


class XiaozhiOptions(BaseModel):
    """Frozen; unknown names are refused.

    Attributes:
        host: An address of this machine.
        port: 0 takes a free one.
        certificate: PEM file for TLS.
        private_key: PEM file of its key; may be in the same file.
        behind_proxy: Whether a proxy in front of it does TLS.
        unencrypted: Whether others may reach it without TLS, so that who is on the way hears all.
        url: Of the WebSocket, as devices are told it; empty for the host that they asked.
        auth: Whether a device needs a token; None where others reach it.
        secret: Makes tokens, at least 32 characters; None for one that ends with the process, so
            that devices have to ask for another.
        token_days: How long a token counts.
        devices: That are known, by their `Device-Id` in small letters.
        guests: Whether other devices are served, each as a guest; None where only this machine
            reaches it.
        protocol: Version of the binary protocol that devices are told to speak.
        wake: What is done when a device tells its wake word.
        wake_words: What counts as one; any other text of a device is answered as if it was said.
        greeting: What is said to a wake word; empty for the service's own.
        tools: Names of a device's tools that may be used; None for all.
        most_tools: How many, at most.
        tool_seconds: How long a device may take for one.
        lead: Sound that is sent ahead of its time: what a device holds against jitter, and what is
            still heard of an answer that is cut off.
        sessions: Devices at once.
        message_bytes: Of one message.
        frame_bytes: Of Opus in one frame.
        messages_per_second: Of a device, over time.
        messages_burst: The same, at once.
        sound_rate: Seconds of sound that are taken a second.
        sound_burst: Of sound, at once.
        utterance_seconds: While a button is held.
        hello_seconds: Until a device says hello.
        idle_seconds: In which nothing comes.
        quiet_seconds: In which nobody says anything.
        total_seconds: Of one session.
        failures_per_minute: Wrong tokens of one address.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False
    unencrypted: bool = False
    url: str = Field(default="", max_length=500)
    auth: bool | None = None
    secret: SecretStr | None = None
    token_days: float = Field(default=30.0, gt=0, le=30)
    devices: Mapping[str, Device] = Field(default_factory=dict)
    guests: bool | None = None
    protocol: Literal[1, 2, 3] = 1
    wake: Literal["greet", "answer", "ignore"] = "greet"
    wake_words: tuple[str, ...] = ("你好小智", "小智小智", "hi esp", "hi 乐鑫", "alexa", "jarvis")
    greeting: str = Field(default="", max_length=500)
    tools: frozenset[str] | None = None
    most_tools: int = Field(default=16, ge=0, le=64)
    tool_seconds: Seconds = Field(default=5.0, gt=0, le=15)
    lead: Seconds = Field(default=0.24, ge=0.06, le=1.0)
    sessions: int = Field(default=16, ge=1, le=1000)
    message_bytes: int = Field(default=64 * 2**10, ge=8192)
    frame_bytes: int = Field(default=4000, ge=64)
    messages_per_second: float = Field(default=100.0, gt=0)
    messages_burst: int = Field(default=300, ge=1)
    sound_rate: float = Field(default=1.2, ge=1)
    sound_burst: Seconds = Field(default=10.0, gt=0)
    utterance_seconds: Seconds = Field(default=60.0, gt=0)
    hello_seconds: Seconds = Field(default=10.0, gt=0)
    idle_seconds: Seconds = Field(default=120.0, gt=0)
    quiet_seconds: Seconds = Field(default=300.0, gt=0)
    total_seconds: Seconds = Field(default=7200.0, gt=0)
    failures_per_minute: float = Field(default=30.0, gt=0)

    @field_validator("devices")
    @classmethod
    def _are_named(cls, devices: Mapping[str, Device]) -> Mapping[str, Device]:
        for name in devices:
            if not NAMED.fullmatch(name) or name != name.lower():
                raise ValueError("a Device-Id is such as 24:0a:c4:00:01:10, in small letters")
        return devices

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"expected at least {_SHORTEST_SECRET} characters")
        return secret

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host) and not self.behind_proxy

    @property
    def needs_token(self) -> bool:
        """Whether a device needs a token."""
        return not self.is_local if self.auth is None else self.auth

    @property
    def serves_guests(self) -> bool:
        """Whether devices are served that are not known."""
        return self.is_local if self.guests is None else self.guests

    def check(self) -> None:
        """Refuse what would let strangers in, or listen to the way.

        Raises:
            ConfigError: it must not be served so; says what to do.
        """
        if self.private_key is not None and self.certificate is None:
            raise ConfigError("xiaozhi: private_key is of no use without certificate")
        if self.is_local:
            return
        where = "behind a proxy" if self.behind_proxy else f"on {self.host}"
        if not self.needs_token:
            raise ConfigError(f"xiaozhi: {where} auth = false lets anybody in; leave it away")
        if not (self.certificate or self.behind_proxy or self.unencrypted):
            raise ConfigError(
                f"xiaozhi: {where} others can listen to the way: give certificate and private_key, "
                "or behind_proxy where a proxy does TLS, or say unencrypted = true"
            )
        unproved = [device for device in self.devices.values() if device.user and not device.client]
        if unproved:
            raise ConfigError(
                f"xiaozhi: {where} anybody can call themselves a device: {len(unproved)} of those "
                "with a user have no client; give each its Client-Id"
            )
