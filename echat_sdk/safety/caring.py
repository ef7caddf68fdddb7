"""The fixed replies to a danger, with the numbers that a host gives for where it is.

They were written once, and nothing is made up when it matters. Without numbers the replies name
help in words: a number that is wrong where somebody lives is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from echat_sdk.safety.danger import Category, Danger, Level
from echat_sdk.turn import Lang

Number = Annotated[str, StringConstraints(pattern=r"^[0-9+][0-9 +()-]{1,23}$")]
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w .,'&/()-]{0,59}$", strip_whitespace=True)]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]


class Helpline(BaseModel):
    """Somebody to call: who they are, and their number as it is to be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    number: Number


class Help(BaseModel):
    """Who can be called in one region; what is not given is said in words.

    Attributes:
        emergency: The number for ambulance and police, such as 112.
        crisis: For thoughts of ending one's life.
        abuse: For violence at home, and for children.
        eating: For eating disorders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    emergency: Number | None = None
    crisis: Helpline | None = None
    abuse: Helpline | None = None
    eating: Helpline | None = None


class Helplines(BaseModel):
    """The host's own table. We ship no numbers: they change, and only a host knows where it is.

    Attributes:
        region: Where the agent is used: ISO 3166, such as `GB` or `US-CA`.
        regions: Who can be called, by region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Region | None = None
    regions: Mapping[Region, Help] = Field(default_factory=dict)

    def here(self) -> Help:
        """Who can be called in `region`; of `US-CA` the row of `US`, where it has none."""
        region = self.region or ""
        return self.regions.get(region) or self.regions.get(region.partition("-")[0]) or Help()

    def lack(self) -> str:
        """What a host has to be told at the start; empty where somebody can be called."""
        here = self.here()
        if here.emergency and here.crisis:
            return ""
        missing = " and ".join(
            name for name, given in (("emergency", here.emergency), ("crisis", here.crisis))
            if not given
        )  # fmt: skip
        where = f"region {self.region!r}" if self.region else "no region"
        return (
            f"safety: {missing} not given for {where}; caring replies name help in words only. "
            "Give the numbers of where the agent is used under `helplines`."
        )


_NOBODY = Help()


def caring_reply(danger: Danger, lang: Lang, who: Help = _NOBODY) -> str:
    """The fixed answer to a danger.

    Args:
        danger: What the words tell of.
        lang: Language of the answer.
        who: Who can be called where the person is.
    """
    words = _data()["words"][lang]
    own = {Category.VIOLENCE: who.abuse, Category.CHILD: who.abuse, Category.EATING: who.eating}
    return _template(danger, lang).format(
        emergency=who.emergency or words["emergency"],
        line=_told(own.get(danger.category) or who.crisis, lang) or words["line"],
        abuse=_told(who.abuse, lang) or words["abuse"],
    )


def was_caring(reply: str) -> bool:
    """Whether a reply of an earlier turn was one of the fixed ones, whatever its numbers."""
    text = reply.strip()
    return any(_holds(text, pieces) for pieces in _pieces())


def _told(line: Helpline | None, lang: Lang) -> str:
    if line is None:
        return ""
    return f"{line.name}（{line.number}）" if lang == "zh" else f"{line.name} on {line.number}"


def _template(danger: Danger, lang: Lang) -> str:
    replies: Mapping[str, Mapping[Lang, str]] = _data()[danger.category]
    return (replies.get(danger.level) or replies[Level.RISK])[lang]


def _holds(text: str, pieces: list[str]) -> bool:
    """Whether a text is these pieces in turn, with anything in the gaps between them."""
    at = len(pieces[0])
    if not (text.startswith(pieces[0]) and text.endswith(pieces[-1])):
        return False
    for piece in pieces[1:-1]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return at + len(pieces[-1]) <= len(text)


@cache
def _pieces() -> list[list[str]]:
    levels = (reply for category in Category for reply in _data()[category].values())
    return [re.split(r"\{\w+\}", text) for texts in levels for text in texts.values()]


@cache
def _data() -> dict[str, Any]:
    text = (resources.files("echat_sdk.safety") / "replies.toml").read_text("utf-8")
    return tomllib.loads(text)
