"""`POST /v1/audio/speech`: a text, spoken with an emotion.

`instructions` are let pass and change nothing, as with OpenAI's first models: our voices follow an
emotion by name, `echat: {"emotion": "happy"}`. OpenAI's own voices stand for the default voice.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Literal

from pydantic import Field, field_validator
from starlette.responses import Response

from echat_sdk.agent.service import Service
from echat_sdk.cues import ReplyEmotion
from echat_sdk.protocols import SpeechModel
from echat_sdk.server.rest import sse
from echat_sdk.server.rest.bodies import Body, Extension, parsed, plain, served
from echat_sdk.server.rest.encoders import MEDIA_TYPES, Format, check, encoded
from echat_sdk.server.rest.endpoint import Call, Stream
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.refusal import Refusal
from echat_sdk.server.rest.tokens import tokens
from echat_sdk.server.voices import OPENAI_VOICES
from echat_sdk.turn import SpeechDelta

_PART = 1000  # characters that a model is asked to say at once
_SENTENCE_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


class _Voice(Body):
    id: str


class _Manner(Extension):
    emotion: ReplyEmotion = ReplyEmotion.NEUTRAL

    @field_validator("emotion", mode="before")
    @classmethod
    def _by_its_word(cls, value: object) -> object:
        return ReplyEmotion.from_word(value) if isinstance(value, str) else value


class SpeechRequest(Body):
    """What is to be said, and how."""

    model: str
    input: str
    voice: str | _Voice
    response_format: Format = "mp3"
    speed: float = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    echat: _Manner = Field(default_factory=_Manner)

    @field_validator("speed")
    @classmethod
    def _at_its_pace(cls, value: float) -> float:
        if value != 1.0:
            raise ValueError("only 1.0 can be spoken; change the pace when playing")
        return value


class Speech:
    """Speaks texts.

    Args:
        service: Has the model and its voices.
        places: Where requests wait.
        limits: How long a text may be.
    """

    def __init__(self, service: Service, places: Places, limits: RestLimits) -> None:
        self._service = service
        self._places = places
        self._limits = limits

    async def answer(self, call: Call) -> Response | Stream:
        """The sound file, or the same in events."""
        asked = parsed(SpeechRequest, call.body)
        served(asked.model, self._service.model.name)
        check(asked.response_format)
        text, most = plain(asked.input), self._limits.characters
        if len(text) > most:
            raise Refusal(
                400,
                f"input has {len(text):,} characters; say at most {most:,} at once",
                param="input",
                code="string_above_max_length",
            )
        pieces = self._pieces(asked, text, self._voice(asked.voice))
        if asked.stream_format == "sse":
            return Stream(_events(pieces, text), sse.MEDIA_TYPE, is_events=True)
        return Stream(pieces, MEDIA_TYPES[asked.response_format])

    def _voice(self, asked: str | _Voice) -> str | None:
        name = asked if isinstance(asked, str) else asked.id
        if name in self._service.voices:
            return name
        if name in OPENAI_VOICES:
            return None
        ours = ", ".join(self._service.voices) or "none by name"
        raise Refusal(
            400,
            f"there is no such voice; there are {ours}, and alloy for the default",
            param="voice",
            code="voice_not_found",
        )

    async def _pieces(
        self, asked: SpeechRequest, text: str, voice: str | None
    ) -> AsyncGenerator[bytes]:
        spoken = partial(_spoken, self._service.model, text, asked.echat.emotion, voice)
        is_empty = True
        async with (
            self._places.thread() as worker,
            aclosing(worker.iterate(lambda: encoded(spoken(), asked.response_format))) as pieces,
        ):
            async for piece in pieces:
                is_empty = False
                yield piece
        if is_empty:
            raise Refusal(
                400, "input has no words that can be spoken", param="input", code="invalid_value"
            )


async def _events(pieces: AsyncGenerator[bytes], text: str) -> AsyncGenerator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            sound = base64.b64encode(piece).decode()
            yield sse.event({"type": "speech.audio.delta", "audio": sound})
    # Nothing here makes sound of tokens.
    usage = {"input_tokens": tokens(text), "output_tokens": 0, "total_tokens": tokens(text)}
    yield sse.event({"type": "speech.audio.done", "usage": usage})


def _spoken(
    model: SpeechModel, text: str, emotion: ReplyEmotion, voice: str | None
) -> Iterator[SpeechDelta]:
    for part in parts(text):
        yield from model.say(part, emotion=emotion, voice=voice)


def parts(text: str, most: int = _PART) -> Iterator[str]:
    """A text in parts of at most so many characters: whole sentences, else whole words."""
    part = ""
    for sentence in _SENTENCE_ENDS.split(text):
        for piece in _pieces_of(sentence, most):
            if part and len(part) + 1 + len(piece) > most:
                yield part
                part = ""
            part = f"{part} {piece}" if part else piece
    if part:
        yield part


def _pieces_of(sentence: str, most: int) -> Iterator[str]:
    rest = sentence.strip()
    while len(rest) > most:
        cut = rest.rfind(" ", 1, most) if " " in rest[1:most] else most
        yield rest[:cut]
        rest = rest[cut:].lstrip()
    if rest:
        yield rest
