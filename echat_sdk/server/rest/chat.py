"""`POST /v1/chat/completions`: an answer to typed words.

Two ways, by who the key speaks for. For nobody in particular nothing is kept: the messages are all
that is known, as OpenAI's clients expect of this endpoint. For a user the answer comes from an
`Agent` with their memory, as in a session: it knows what they told before, keeps this turn as far
as they agreed, and grants what they ask for by right. Then earlier messages are not read: memory
has those turns already, and what a client says of them does not outrank it.

System messages are let pass and not followed: no model here was taught to, and text from outside
is data. `temperature`, `seed` and the like are let pass too. What would change what an answer is
(tools, other formats, several answers) is refused.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator
from starlette.responses import JSONResponse, Response

from echat_sdk.agent.agent import Agent
from echat_sdk.agent.consenting import allowed_of
from echat_sdk.agent.exchange import Answer
from echat_sdk.agent.rights import YES_WITHIN
from echat_sdk.audio import Seconds
from echat_sdk.consent import consented
from echat_sdk.cues import UNKNOWN, Cue, Cues, Emotion
from echat_sdk.server.caller import Caller
from echat_sdk.server.rest import sse
from echat_sdk.server.rest.bodies import Body, Extension, parsed, served
from echat_sdk.server.rest.endpoint import Call, Stream
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.messages import Conversation, Message, conversation_of
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.tokens import tokens, within
from echat_sdk.server.rest.transcriptions import a_guest
from echat_sdk.server.service import Service
from echat_sdk.turn import Delta, Recollection, TextDelta, ThinkDelta, Thought

_MOST_MESSAGES = 200
_MOST_ASKED = 16
"""Agents that wait for a yes; beyond them who was asked longest ago is asked anew."""


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


class Chat:
    """Answers typed words.

    Args:
        service: Has the model and the memory.
        places: Where requests wait.
        limits: How much may be asked.
    """

    def __init__(self, service: Service, places: Places, limits: RestLimits) -> None:
        self._service = service
        self._places = places
        self._limits = limits
        self._asked: OrderedDict[tuple[str, str], tuple[Seconds, Agent]] = OrderedDict()

    async def answer(self, call: Call) -> Response | Stream:
        """A completion, or its chunks."""
        asked = parsed(ChatRequest, call.body)
        served(asked.model, self._service.model.name)
        talk = conversation_of(asked.messages, self._limits.characters)
        completion = Completion(self._service.model.name, asked)
        deltas = self._deltas(call.caller, talk, asked.cues)
        if asked.stream:
            return Stream(completion.chunks(deltas), sse.MEDIA_TYPE, is_events=True)
        async with aclosing(deltas):
            async for delta in deltas:
                completion.take(delta)
                if completion.is_full:
                    break
        return JSONResponse(completion.whole())

    def _deltas(
        self, caller: Caller, talk: Conversation, cues: Cues
    ) -> AsyncGenerator[Delta | Answer]:
        if caller.user is None:
            return self._for_a_guest(talk, cues)
        return self._for_a_user(caller.key, caller.user, talk.question, cues)

    async def _for_a_guest(self, talk: Conversation, cues: Cues) -> AsyncGenerator[Delta | Answer]:
        service = self._service
        async with self._places.thread() as worker:
            allowed = await worker.call(allowed_of, service.memory, a_guest())
            if allowed is not None:
                cues = consented(cues, allowed)
            hearing = service.model.read(talk.question, cues, lang=service.lang)
            recollection = Recollection(talk.turns)
            deltas = worker.iterate(
                lambda: hearing.reply(recollection, think=service.think, speak=False)
            )
            async with aclosing(deltas):
                async for delta in deltas:
                    yield delta

    async def _for_a_user(
        self, key: str, user: str, question: str, cues: Cues
    ) -> AsyncGenerator[Delta | Answer]:
        # The agent brings threads of its own; this one's rest keeps the number at work.
        async with self._places.thread(), AsyncExitStack() as stack:
            agent = await self._agent(key, user)
            stack.push_async_exit(agent)
            async with aclosing(agent.stream_text(question, cues)) as deltas:
                async for delta in deltas:
                    yield delta
            if agent.awaits_yes:
                stack.pop_all()
                self._asked[key, user] = (time.monotonic(), agent)

    async def _agent(self, key: str, user: str) -> Agent:
        """The agent that asked this user something, if one did; else a new one."""
        now, mine = time.monotonic(), self._asked.pop((key, user), None)
        while self._asked:
            since, old = next(iter(self._asked.values()))
            if now - since <= YES_WITHIN and len(self._asked) < _MOST_ASKED:
                break
            self._asked.popitem(last=False)
            async with old:
                pass
        if mine is not None:
            return mine[1]
        return Agent(
            self._service.model,
            self._service.memory,
            user=user,
            think=self._service.think,
            lang=self._service.lang,
            speak=False,
            manner=self._service.manner(user),
        )


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
