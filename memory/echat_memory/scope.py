"""What is to be erased: all of a user, a turn, what was said since a moment, a purpose. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from echat_sdk.consent import checked
from echat_sdk.errors import ConfigError

_SHARE = "share_plugin:"
_TURN_ID = re.compile("[1-9][0-9]{0,8}|guest-[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be erased of a user; all of it where nothing is named.

    Attributes:
        turn: The id of one turn.
        since: All that was said from this moment on, up to when it is asked for; with its zone.
        purpose: What was kept for this purpose, as if it had been refused when it was kept. No
            refusal is written down: what is said from then on is kept for it again.

    Raises:
        ConfigError: more than one is named, the moment has no zone, or no turn has such an id.
        ConsentError: there is no such purpose.
    """

    turn: str | None = None
    since: datetime | None = None
    purpose: str | None = None

    def __post_init__(self) -> None:
        named = [name for name in self.__slots__ if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(
                f"erase: got {' and '.join(named)}; name one of them, or none for all"
            )
        if self.turn is not None and not _TURN_ID.fullmatch(self.turn):
            raise ConfigError("erase: got no turn's id; `show` tells the ids of their turns")
        if self.since is not None and self.since.tzinfo is None:
            raise ConfigError("erase: since is a moment without a zone; give it one, as UTC")
        if self.purpose is not None:
            checked(self.purpose)

    @property
    def is_everything(self) -> bool:
        """Whether all of the user is meant."""
        return self == Scope()

    @property
    def plugin(self) -> str | None:
        """The plugin with which nothing is to be shared any more, if that is the purpose."""
        purpose = self.purpose or ""
        return purpose.removeprefix(_SHARE) if purpose.startswith(_SHARE) else None

    def __str__(self) -> str:
        """In words, for a receipt."""
        if self.turn is not None:
            return f"turn {self.turn}"
        if self.since is not None:
            return f"since {self.since.isoformat()}"
        return "everything" if self.purpose is None else f"what was kept for {self.purpose}"

    def to_json(self) -> dict[str, Any]:
        """What is named, and nothing else."""
        since = None if self.since is None else self.since.isoformat()
        told = {"turn": self.turn, "since": since, "purpose": self.purpose}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Scope:
        """What `to_json` told."""
        since = told.get("since")
        return cls(
            turn=told.get("turn"),
            since=None if since is None else datetime.fromisoformat(since),
            purpose=told.get("purpose"),
        )
