"""Models, memories and voice activity detectors of packages of their own, by named groups.

`model = "plugin:NAME"` in the settings takes what the entry point NAME in `echat.models` makes; so
do `store` (`echat.memories`) and `vad` (`echat.vads`). It is called with the options of the table
`[plugins.NAME]` and implements the protocol of `protocols.py`. Who names it there trusts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal

from echat_sdk.config import OF_A_PLUGIN
from echat_sdk.errors import ConfigError
from echat_sdk.protocols import VAD, Memory, SpeechModel

Kind = Literal["model", "memory", "vad"]

_GROUPS: Mapping[Kind, tuple[str, type]] = MappingProxyType(
    {
        "model": ("echat.models", SpeechModel),
        "memory": ("echat.memories", Memory),
        "vad": ("echat.vads", VAD),
    }
)


def names() -> frozenset[str]:
    """Of all that are installed."""
    groups = [group for group, _ in _GROUPS.values()]
    return frozenset(point.name for group in groups for point in entry_points(group=group))


def made(kind: Kind, name: str, options: Mapping[str, Any]) -> Any:
    """A part, made with its options.

    Args:
        kind: What it is.
        name: As the settings have it, with or without `config.OF_A_PLUGIN`.
        options: What it is called with, by name.

    Raises:
        ConfigError: there is none, it cannot be made, or it is no such part.
    """
    group, protocol = _GROUPS[kind]
    name = name.removeprefix(OF_A_PLUGIN)
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise ConfigError(f"no {kind} {name[:60]!r} in {group}; there are {known}")
    try:
        part = points[name].load()(**options)
    except Exception as error:
        # A stranger's code; what it says is of the host's own configuration.
        raise ConfigError(f"{kind} {name}: {type(error).__name__}: {error}") from error
    if not isinstance(part, protocol):
        raise ConfigError(f"{kind} {name} is a {type(part).__name__}, and no {protocol.__name__}")
    return part
