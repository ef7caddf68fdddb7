"""`POST /v1/audio/transcriptions`: the words of a recording, and how they were said.

Cues are told as far as the person who is heard agreed: the key's user, or a guest with what counts
unasked. Hints (`prompt`, `keywords`, `temperature`) are let pass and change nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from typing import Any, Literal

from pydantic import field_validator, model_validator
from starlette.responses import JSONResponse, PlainTextResponse, Response

from echat_sdk.agent.consenting import allowed_of, check_voice, heard_by, without_refused
from echat_sdk.agent.service import Service
from echat_sdk.audio import Waveform, frames
from echat_sdk.errors import UnsupportedError
from echat_sdk.io.wav import read_audio_bytes
from echat_sdk.protocols import Hearing
from echat_sdk.server.rest import sse
from echat_sdk.server.rest.bodies import Body, parsed, served
from echat_sdk.server.rest.endpoint import Call, Stream
from echat_sdk.server.rest.form import fields_of
from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.places import Places
from echat_sdk.server.rest.refusal import Refusal
from echat_sdk.server.rest.timing import segments_of, timed, words_of
from echat_sdk.turn import Heard, Lang, LangChoice

_NAMES: dict[Lang, str] = {"en": "english", "zh": "chinese"}
_TIMES = "timestamp_granularities"


class TranscriptionRequest(Body):
    """What is wanted of a recording."""

    model: str
    language: Lang | None = None
    response_format: Literal["json", "text", "verbose_json"] = "json"
    stream: bool = False
    include: str = ""
    timestamp_granularities: frozenset[Literal["segment", "word"]] = frozenset({"segment"})
    known_speaker_names: str = ""

    @field_validator("language", mode="before")
    @classmethod
    def _primary(cls, value: str) -> str | None:
        first = value.strip().lower().replace("_", "-").partition("-")[0]
        return next((code for code, name in _NAMES.items() if first == name), first) or None

    @field_validator("include", "known_speaker_names")
    @classmethod
    def _nothing(cls, value: str) -> str:
        if value:
            raise ValueError("this is not told here; leave it away")
        return value

    @field_validator("timestamp_granularities", mode="before")
    @classmethod
    def _each(cls, value: str) -> list[str]:
        return value.split(",")

    @model_validator(mode="after")
    def _where_they_are_told(self) -> TranscriptionRequest:
        if self.tells_words and (self.stream or self.response_format != "verbose_json"):
            raise ValueError("when each word was said is told in a whole verbose_json alone")
        return self

    @property
    def tells_words(self) -> bool:
        """Whether it is to be told when each word was said."""
        return "word" in self.timestamp_granularities


class Transcriptions:
    """Hears recordings.

    Args:
        service: Has the model, and the memory that knows who agreed to what.
        places: Where requests wait.
        limits: How long a recording may be.
    """

    def __init__(self, service: Service, places: Places, limits: RestLimits) -> None:
        self._service = service
        self._places = places
        self._limits = limits

    async def answer(self, call: Call) -> Response | Stream:
        """The words in the form that was asked for."""
        async with self._places.thread() as worker:
            # Step by step, so that a client who goes away stops it between two of them.
            fields, file = await worker.call(fields_of, call.body, call.content_type)
            asked = parsed(TranscriptionRequest, fields)
            served(asked.model, self._service.model.name)
            user = call.caller.user or a_guest()
            allowed = await worker.call(allowed_of, self._service.memory, user)
            check_voice(allowed)
            samples = await worker.call(self._read, file)
            lang = asked.language or self._service.lang
            hearing, heard = await worker.call(self._hear, samples, lang, allowed)
            times = {}
            if asked.response_format == "verbose_json" and not asked.stream:
                times = await worker.call(self._times, hearing, heard, asked)
        told = _told(heard)
        if asked.stream:
            return Stream(_events(told), sse.MEDIA_TYPE, is_events=True)
        match asked.response_format:
            case "text":
                return PlainTextResponse(heard.transcript + "\n")
            case "verbose_json":
                verbose = {"task": "transcribe", "language": _NAMES[heard.lang]}
                return JSONResponse({**verbose, "duration": heard.seconds, **told, **times})
        return JSONResponse(told)

    def _read(self, file: bytes) -> Waveform:
        return read_audio_bytes(file, max_seconds=self._limits.audio_seconds)

    def _hear(
        self, samples: Waveform, lang: LangChoice, allowed: frozenset[str] | None
    ) -> tuple[Hearing, Heard]:
        hearing = self._service.model.listen(lang=lang)
        for frame in frames(samples):
            hearing.push(frame)
        return hearing, without_refused(heard_by(hearing, allowed), allowed)

    def _times(self, hearing: Hearing, heard: Heard, asked: TranscriptionRequest) -> dict[str, Any]:
        try:
            words = timed(self._service.model, hearing) if heard.transcript else ()
        except UnsupportedError as error:
            if asked.tells_words:
                raise Refusal(400, str(error), param=_TIMES, code="unsupported") from error
            return {}  # segments come unasked: who does not need them does without
        told: dict[str, Any] = {}
        if "segment" in asked.timestamp_granularities:
            told["segments"] = segments_of(heard.transcript, words)
        if asked.tells_words:
            told["words"] = words_of(words)
        return told


def a_guest() -> str:
    """A name for somebody who has none: what counts for whom nobody asked, counts for them."""
    return f"guest-{secrets.token_hex(16)}"


def _told(heard: Heard) -> dict[str, Any]:
    seconds = round(heard.seconds, 2)
    ours = {"lang": heard.lang, "seconds": seconds, "cues": heard.cues.to_json()}
    return {
        "text": heard.transcript,
        "usage": {"type": "duration", "seconds": seconds},
        "echat": ours,
    }


async def _events(told: dict[str, Any]) -> AsyncGenerator[bytes]:
    yield sse.event({"type": "transcript.text.delta", "delta": told["text"]})
    yield sse.event({"type": "transcript.text.done", **told})
