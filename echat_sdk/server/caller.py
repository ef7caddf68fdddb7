"""Who is calling, as the door found out; what is behind it asks nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Scope(StrEnum):
    """What a key may be used for."""

    REALTIME = "realtime"
    """Sessions."""
    AUDIO = "audio"
    """Speech and transcription, one request each."""
    CHAT = "chat"
    """Typed questions, one request each."""
    SECRETS = "secrets"
    """To make client secrets, for a user of the host's choice."""
    METRICS = "metrics"
    """Counters of the whole server."""


EVERYTHING = frozenset(Scope)
"""All scopes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling.

    Attributes:
        key: Opaque id of the key or link that let them in; limits are counted by it.
        scopes: What they may do.
        user: The host's id of whom they speak for; None for a guest, of whom nothing is kept.
        session: What a session of theirs begins with, as the body of a `session.update`.
    """

    key: str
    scopes: frozenset[Scope] = EVERYTHING
    user: str | None = None
    session: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
