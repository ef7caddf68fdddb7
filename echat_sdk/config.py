"""Settings: a TOML file, then `ECHAT_*` environment variables, then arguments; the last one wins.

The file is `config.toml` in the home folder (`ECHAT_HOME`, by default `~/.local/share/echat`), or
the one that `ECHAT_CONFIG` names. `echat config` prints every setting, its value and its source.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from echat_sdk.errors import ConfigError
from echat_sdk.retention import Retention

Deployment = Literal["private", "service", "workplace", "education"]
"""Whom an agent serves: its owner on their own machine, customers, employees, pupils."""

Exemption = Literal["", "medical", "safety"]
"""Why emotion may be inferred where it else may not."""

_PRIVATE = frozenset({"user", "store"})  # settings whose values no message repeats
_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^@]*@|(?<=[?&])(password)=[^&]*")


def home_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for models, memory and settings; it may not exist yet.

    Raises:
        ConfigError: it is named by somebody's home folder, and that is unknown.
    """
    if named := environ.get("ECHAT_HOME"):
        return _expand(named)
    return _expand(environ.get("XDG_DATA_HOME") or "~/.local/share") / "echat"


def _expand(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # nobody of that name, or a process without a home
        raise ConfigError(f"{path}: there is no such home folder; set ECHAT_HOME") from error


def without_password(url: str) -> str:
    """A URL as it may be shown: with *** for a password in it."""
    return _PASSWORD.sub(lambda m: f"{m[1]}:***@" if m[2] is None else f"{m[2]}=***", url)


OF_A_PLUGIN = "plugin:"
"""Begins the name of a model, a store or a detector that a package of its own brings."""


class Settings(BaseModel):
    """What a host may choose. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="Folder for models and memory; set by ECHAT_HOME alone.")
    model: str = Field("echat-lite", description="Model of the zoo; see `echat models list`.")
    store: str = Field(
        description="URL of the SQL memory: sqlite:///PATH or postgresql://USER@HOST/DATABASE."
    )
    vad: str = Field("", description="What tells speech: plugin:NAME; empty: Silero.")
    encrypt: Literal["off", "fields", "file"] = Field(
        "off", description="What of the memory is encrypted: words user by user, or its whole file."
    )
    kek_file: str = Field(
        "", description="Its key; empty: ECHAT_STORE_KEK, else beside the memory's other key."
    )
    shares_file: str = Field(
        "", description="What erasing destroys beside it; empty: beside the memory's other key."
    )
    user: str = Field("me", min_length=1, max_length=200, description="Whose memory is used.")
    lang: Literal["auto", "en", "zh"] = Field("auto", description="Language that is spoken.")
    zone: str = Field(
        "", description="Where a user's day begins, as Europe/Berlin; empty: the machine's zone."
    )
    think: Literal["tag", "language", "off"] = Field("tag", description="Form of the thought.")
    voice: str = Field("", description="Voice of the answer; empty: the language's default.")
    threads: int = Field(2, ge=1, le=64, description="Processor threads for the model.")
    infer_emotion: bool = Field(True, description="Whether emotion is inferred from the voice.")
    infer_gender: bool = Field(True, description="Whether gender is inferred from the voice.")
    deployment: Deployment = Field(
        "private", description="Where it is used; at work and in education no emotion is inferred."
    )
    exemption: Exemption = Field(
        "", description="Why emotion may be inferred even there; document it."
    )
    disclosure: str = Field(
        "auto", max_length=1000, description="Said before somebody is heard: auto, off or a text."
    )
    retention: Retention = Field(
        Retention(), description="How long what is kept stays; in the file only."
    )
    max_seconds: float = Field(
        120.0, gt=0, le=600, description="Longest utterance that is taken, in seconds."
    )
    hearing: Literal["exact", "chunked"] = Field(
        "exact", description="Of the end-to-end network: chunked is sooner, and approximate."
    )
    flow_steps: int = Field(
        0, ge=0, le=100, description="Steps that make its sound; 0 is the checkpoint's own."
    )
    plugins: dict[str, dict[str, Any]] = Field(
        {}, description="Options of plugins, by their names; in the file only."
    )
    transports: dict[str, dict[str, Any]] = Field(
        {}, description="Options of transports, by their names; in the file only."
    )
    vllm_url: str = Field("", description="vLLM server that decodes it; key in VLLM_API_KEY.")
    vllm_model: str = Field("", description="What that server calls the model.")
    vllm_allow_plain: bool = Field(
        False, description="Whether speech may travel to another machine over plain http."
    )

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        zone_of(name)
        return name


def zone_of(name: str) -> ZoneInfo | None:
    """A time zone by its name; None, the machine's own, for an empty one.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no time zone of that name; expected one such as Europe/Berlin") from error


class Loaded(BaseModel):
    """Settings, and for each key where its value came from."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    sources: dict[str, str]


def load_with_sources(
    arguments: Mapping[str, Any] | None = None, *, environ: Mapping[str, str] = os.environ
) -> Loaded:
    """Settings with the source of each.

    Args:
        arguments: Values that outrank all others; those that are None are not given.
        environ: The environment.

    Raises:
        ConfigError: a file cannot be read, or a key or value is not allowed; names all of them.
    """
    home = home_dir(environ)
    values: dict[str, Any] = {"home": home, "store": f"sqlite:///{home / 'echat.db'}"}
    sources = dict.fromkeys(Settings.model_fields, "default")
    if "ECHAT_HOME" in environ:
        sources["home"] = "ECHAT_HOME"
    named = environ.get("ECHAT_CONFIG", "")
    path = _expand(named) if named else home / "config.toml"
    layers = [
        (str(path), _read_file(path, required=bool(named))),
        ("", _read_environ(environ)),
        ("argument", {k: v for k, v in (arguments or {}).items() if v is not None}),
    ]
    for source, layer in layers:
        values |= layer
        sources |= {key: source or f"ECHAT_{key.upper()}" for key in layer}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_fault(e, sources) for e in error.errors())
        raise ConfigError(f"settings are wrong: {faults}") from error
    return Loaded(settings=settings, sources=sources)


def load(arguments: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the file, the environment and the arguments given.

    Raises:
        ConfigError: as `load_with_sources`.
    """
    return load_with_sources(arguments).settings


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise ConfigError(f"ECHAT_CONFIG names {path}, which does not exist") from None
        return {}
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"cannot read settings from {path}: {why}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read settings from {path}, which is no TOML: {error}") from error
    if "home" in values:
        raise ConfigError(f"{path}: home is set by ECHAT_HOME, not in the file that lies in it")
    return values


def _read_environ(environ: Mapping[str, str]) -> dict[str, str]:
    # Home is read before all others; a table does not fit into a variable.
    tables = ("home", "plugins", "retention", "transports")
    keys = [key for key in Settings.model_fields if key not in tables]
    named = {f"ECHAT_{key.upper()}": key for key in keys}
    return {key: environ[name] for name, key in named.items() if name in environ}


def _fault(error: Any, sources: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key} ({sources.get(key, 'given')}) is no setting"
    got = "" if key in _PRIVATE else f" = {error['input']!r:.60}"
    return f"{key}{got} ({sources.get(key, 'given')}): {error['msg']}"
