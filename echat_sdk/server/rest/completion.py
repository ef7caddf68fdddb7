"""A completion: what is asked for, and the answer as it grows, both in OpenAI's form."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator

from echat_sdk.agent.exchange import Answer
from echat_sdk.cues import UNKNOWN, Cue, Cues, Emotion
from echat_sdk.server.rest import sse
from echat_sdk.server.rest.bodies import Body, Extension
from echat_sdk.server.rest.messages import Message
from echat_sdk.server.rest.tokens import tokens, within
from echat_sdk.turn import Delta, TextDelta, ThinkDelta, Thought

_MOST_MESSAGES = 200


class _Sounded(Extension):
    emotion: Emotion | None = None

    @field_validator("emotion", mode="before")
    @classmethod
    def _maybe_unknown(cls, value: object) -> object:
        return None if value == UNKNOWN else value


class _StreamOptions(Body):
    include_usage: bool = False


class _ResponseFormat(Body):
    type: Literal["text"]


class ChatRequest(Body):
    """A conversation, and what is wanted of its next turn."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = 1
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: _ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = Field(default=None, max_length=2)
    echat: _Sounded = Field(default_factory=_Sounded)
    # What would change what an answer is, if it did anything.
    tools: object = None
    functions: object = None
    logprobs: object = None
    logit_bias: object = None
    stop: object = None
    audio: object = None
    web_search_options: object = None

    @field_validator(
        "tools", "functions", "logprobs", "logit_bias", "stop", "audio", "web_search_options"
    )
    @classmethod
    def _nothing(cls, value: object) -> object:
        if value:
            raise ValueError("this cannot be done here; leave it away")
        return value

    @property
    def room(self) -> int | None:
        """Tokens of the longest answer that is wanted."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def cues(self) -> Cues:
        """What stands in for the voice that was not heard."""
        label = self.echat.emotion
        if label is None:
            return Cues()
        return Cues(emotion=Cue(label.value, 1.0, MappingProxyType({label.value: 1.0})))


class Completion:
    """One answer as it grows, in OpenAI's form.

    Args:
        model: The name that it is told to come from.
        asked: What it answers.
    """

    def __init__(self, model: str, asked: ChatRequest) -> None:
        self._asked = asked
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._model = model
        self._created = int(time.time())
        self._text = ""
        self._think = ""
        self._thought: Thought | None = None
        self._turn_id = ""
        self.is_full = False

    def take(self, delta: Delta | Answer) -> str:
        """Take the next piece; the words that it adds."""
        match delta:
            case ThinkDelta():
                self._think += delta.text
            case Thought():
                self._thought = delta
            case Answer():
                self._turn_id = delta.turn_id
            case TextDelta():
                return self._fitting(delta.text)
        return ""

    def _fitting(self, words: str) -> str:
        room = self._asked.room
        if room is not None:
            whole = self._text + words
            fits = within(whole, room)
            self.is_full = fits != whole
            words = fits[len(self._text) :]
        self._text += words
        return words

    def whole(self) -> dict[str, Any]:
        """The answer, once all of it is there."""
        message = {"role": "assistant", "content": self._text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self._usage(),
            "echat": self._ours(),
        }

    async def chunks(self, deltas: AsyncGenerator[Delta | Answer]) -> AsyncGenerator[bytes]:
        """The answer in pieces, as they come."""
        role = {"role": "assistant"}
        async with aclosing(deltas):
            async for delta in deltas:
                if words := self.take(delta):
                    yield self._chunk({**role, "content": words})
                    role = {}
                if self.is_full:
                    break
        yield self._chunk(role, self._finish, {"echat": self._ours()})
        if self._tells_usage:
            usage = {"choices": [], "usage": self._usage()}
            yield sse.event({**self._head("chat.completion.chunk"), **usage})
        yield sse.DONE

    def _chunk(
        self,
        delta: dict[str, str],
        finish: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice], **(more or {})}
        if self._tells_usage:
            chunk["usage"] = None
        return sse.event(chunk)

    @property
    def _tells_usage(self) -> bool:
        options = self._asked.stream_options
        return options is not None and options.include_usage

    @property
    def _finish(self) -> str:
        return "length" if self.is_full else "stop"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _usage(self) -> dict[str, Any]:
        """An estimate: see `tokens`."""
        asked = sum(tokens(message.words) for message in self._asked.messages)
        thought = tokens(self._think)
        answered = tokens(self._text) + thought
        return {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def _ours(self) -> dict[str, Any]:
        thought = self._thought
        return {
            "think": self._think,
            "reply_emotion": thought.reply_emotion.word if thought else "neutral",
            "strategy": thought.strategy if thought else "",
            "safety": asdict(thought.safety) if thought and thought.safety else None,
            "turn_id": self._turn_id,
        }
