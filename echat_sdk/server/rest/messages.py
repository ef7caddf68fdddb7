"""A conversation as OpenAI's clients send it, made into a question and what went before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, field_validator

from echat_sdk.agent.requests import lang_of
from echat_sdk.server.rest.bodies import Body, plain
from echat_sdk.server.rest.refusal import Refusal
from echat_sdk.turn import Turn

TURNS = 6
"""Earlier turns that a model is given, as many as a memory gives."""

_PARTS = 32  # of one message


class _Text(Body):
    type: Literal["text"]
    text: str


class _Spoken(Body):
    content: str | Annotated[list[_Text], Field(max_length=_PARTS)]

    @property
    def words(self) -> str:
        """The text, without line breaks and control characters."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        return " ".join(plain("\n".join(parts)).split())


class SystemMessage(_Spoken):
    """How an agent should be. No model here follows such words; they are read by nobody."""

    role: Literal["system", "developer"]


class UserMessage(_Spoken):
    """What a person typed."""

    role: Literal["user"]


class AssistantMessage(_Spoken):
    """What was answered to it."""

    role: Literal["assistant"]
    tool_calls: list[object] | None = Field(default=None, max_length=0)

    @field_validator("content", mode="before")
    @classmethod
    def _maybe_nothing(cls, value: object) -> object:
        return "" if value is None else value


Message = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is to be answered.

    Attributes:
        question: The last words of the user.
        turns: What went before, oldest first.
    """

    question: str
    turns: tuple[Turn, ...]


def conversation_of(messages: Sequence[Message], most: int) -> Conversation:
    """The last message, and the turns before it; what answers nobody is left out.

    Args:
        messages: As they were sent.
        most: Characters of the longest question.

    Raises:
        Refusal: the last message is not the user's, is empty or too long.
    """
    talk = [message for message in messages if not isinstance(message, SystemMessage)]
    last = talk[-1] if talk else None
    if not isinstance(last, UserMessage) or not last.words:
        raise Refusal(
            400, "the last message must be the user's, with text", param="messages", code="no_text"
        )
    if len(last.words) > most:
        raise Refusal(
            400,
            f"the last message has {len(last.words):,} characters; say at most {most:,} at once",
            param="messages",
            code="string_above_max_length",
        )
    turns: list[Turn] = []
    for message in talk[:-1]:
        if isinstance(message, UserMessage):
            if message.words:
                turns.append(Turn(message.words, lang=lang_of(message.words)))
        elif turns:
            reply = f"{turns[-1].reply} {message.words}".strip()
            turns[-1] = replace(turns[-1], reply=reply)
    return Conversation(last.words, tuple(turns[-TURNS:]))
