"""The items of a conversation, in their order, as both sides see them. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echat_sdk.playout import Script
from echat_sdk.server.realtime.faults import Fault

if TYPE_CHECKING:
    from echat_sdk.agent.ear import Ear
    from echat_sdk.turn import Turn

MOST_ITEMS = 2_000
"""In a conversation; beyond that the oldest are dropped, as they are from what a model reads."""

MOST_HEARD = 4
"""Items whose sound is held: the last ones, of which one may be answered yet."""

MOST_TEXT = 8_000
"""Characters of one item's text."""


def new_id(kind: str) -> str:
    """An id that nobody can guess, such as `item_...`."""
    return f"{kind}_{secrets.token_hex(12)}"


_SLACK_MS = 50


@dataclass(slots=True, eq=False)
class Item:
    """One item.

    Attributes:
        id: Its id.
        body: Its JSON, without id, object and status.
        status: Of the protocol.
        ear: What was said in it, where it was heard; None where it was written.
        script: The words of its sound and how long each takes, of what the agent said aloud.
        turn: The exchange that it is the answer of, once that has ended.
        turn_id: The memory's id of the turn that it belongs to; empty where it has none.
        is_cut: Whether it was not heard to its end.
        is_told: Whether the client put it there, so that no memory knows of it.
        sound: Base64 of what was said in it, where the client gave it.
    """

    id: str
    body: dict[str, Any]
    status: str = "completed"
    ear: Ear | None = None
    script: Script | None = None
    turn: Turn | None = None
    turn_id: str = ""
    is_cut: bool = False
    is_told: bool = False
    sound: list[str] = field(default_factory=list)

    @property
    def role(self) -> str:
        """Whose it is; empty for functions."""
        return str(self.body.get("role", ""))

    @property
    def text(self) -> str:
        """Its words, as far as they are known."""
        parts = self.body.get("content") or ()
        return " ".join(
            filter(None, (part.get("text") or part.get("transcript") for part in parts))
        )

    def to_json(self) -> dict[str, Any]:
        """As events tell it; sound is told by its words alone."""
        return {"id": self.id, "object": "realtime.item", "status": self.status, **self.body}

    def truncate(self, ms: int) -> None:
        """Of what the agent said aloud, only this much was heard, in milliseconds.

        Raises:
            Fault: it has no sound, or less of it.
        """
        if self.script is None:
            raise Fault(f"{self.id} is nothing that was said aloud", param="item_id")
        length = round(1000 * sum(lasts for _, lasts in self.script.pieces))
        if not 0 <= ms <= length + _SLACK_MS:
            raise Fault(f"audio_end_ms is not within its {length} ms", param="audio_end_ms")
        self.is_cut = True
        for part in self.body["content"]:
            if part["type"] == "output_audio":
                part["transcript"] = self.script.heard(ms / 1000)


class Conversation:
    """Items in order.

    Attributes:
        id: Of the conversation.
    """

    def __init__(self) -> None:
        self.id = new_id("conv")
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def get(self, item_id: str) -> Item:
        """An item by its id.

        Raises:
            Fault: there is none.
        """
        for item in self._items:
            if item.id == item_id:
                return item
        raise Fault(f"no item {item_id[:80]!r}", code="item_not_found", param="item_id")

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind another one, or at the end; the id of the one before it.

        Args:
            item: The item.
            after: An id; `root` is before all.

        Raises:
            Fault: there is no such item, or one has the new one's id already.
        """
        if any(each.id == item.id for each in self._items):
            raise Fault(f"there is an item {item.id[:80]!r} already", param="item.id")
        at = len(self._items)
        if after == "root":
            at = 0
        elif after is not None:
            at = self._items.index(self.get(after)) + 1
        self._items.insert(at, item)
        previous = self._items[at - 1].id if at else None
        while len(self._items) > MOST_ITEMS:
            del self._items[0]
        for each in [each for each in self._items if each.ear is not None][:-MOST_HEARD]:
            each.ear = None
        return previous

    def delete(self, item_id: str) -> Item:
        """Take an item out.

        Raises:
            Fault: there is none.
        """
        item = self.get(item_id)
        self._items.remove(item)
        return item

    def last_said(self) -> Item | None:
        """The user's last message; None where there is none."""
        return next((item for item in reversed(self._items) if item.role == "user"), None)


def from_client(given: Mapping[str, Any]) -> Item:
    """An item that a client made.

    Raises:
        Fault: it is nothing that can be taken.
    """
    item_id = given.get("id") or new_id("item")
    if len(item_id) > 64:
        raise Fault("an item's id has at most 64 characters", param="item.id")
    match given.get("type"):
        case "message":
            content, sound = _content(given)
            body = {"type": "message", "role": given["role"], "content": content}
            return Item(item_id, body, sound=sound, is_told=True)
        case "function_call_output":
            output = _bounded(str(given.get("output", "")))
            call_id = _bounded(given["call_id"])
            body = {"type": "function_call_output", "call_id": call_id, "output": output}
            return Item(item_id, body)
        case "function_call":
            names = ("call_id", "name", "arguments")
            told = {name: _bounded(given[name]) for name in names if given.get(name) is not None}
            return Item(item_id, {"type": "function_call", **told})
        case kind:
            raise Fault(f"items of type {str(kind)[:80]!r} are not taken here", param="item.type")


def _content(given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    allowed = {
        "user": ("input_text", "input_audio"),
        "system": ("input_text",),
        "assistant": ("output_text", "output_audio"),
    }[given["role"]]
    parts: list[dict[str, Any]] = []
    sound: list[str] = []
    for part in given.get("content") or ():
        kind = part.get("type") or allowed[0]
        if kind not in allowed:
            raise Fault(
                f"content {str(kind)[:80]!r} of {given['role']}; expected {' or '.join(allowed)}",
                param="item.content",
            )
        if kind.endswith("audio"):
            if part.get("audio"):
                sound.append(part["audio"])
            parts.append({"type": kind, "transcript": part.get("transcript")})
        else:
            parts.append({"type": kind, "text": part.get("text") or ""})
    _bounded("".join(part.get("text") or part.get("transcript") or "." for part in parts))
    return parts, sound


def _bounded(text: str) -> str:
    if len(text) > MOST_TEXT:
        raise Fault(
            f"{len(text)} characters in one item; at most {MOST_TEXT}", param="item.content"
        )
    return text
