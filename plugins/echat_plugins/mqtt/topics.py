"""Where messages go: `echat/v1/{tenant}/{device}/...`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import StringConstraints

ROOT = "echat/v1"

SERVER = "server"
"""The name that no device may have: under it the server tells that it is there."""

Leaf = Literal[
    "in/control", "in/audio", "out/control", "out/audio", "out/event", "out/affect", "presence"
]
LEAVES: tuple[Leaf, ...] = get_args(Leaf)

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
"""Of a tenant or a device. Nothing in it means something to a broker."""

_TOPIC = re.compile(rf"{ROOT}/({_NAME})/({_NAME})/([a-z/]+)")


@dataclass(frozen=True, slots=True)
class Address:
    """A topic, taken apart."""

    tenant: str
    device: str
    leaf: Leaf

    def __str__(self) -> str:
        return f"{ROOT}/{self.tenant}/{self.device}/{self.leaf}"

    @classmethod
    def of(cls, topic: str) -> Address | None:
        """The address that a topic names; None where it is none of ours."""
        found = _TOPIC.fullmatch(topic)
        if found is None or found[3] not in LEAVES:
            return None
        return cls(found[1], found[2], found[3])


def of_all(tenant: str, leaf: Leaf) -> str:
    """The filter that a server subscribes to: this leaf of every device."""
    return f"{ROOT}/{tenant}/+/{leaf}"


def to_device(tenant: str, device: str) -> str:
    """The filter that a device subscribes to: all that is said to it."""
    return f"{ROOT}/{tenant}/{device}/out/#"
