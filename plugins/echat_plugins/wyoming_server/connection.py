"""One connection: its events in, done one after the other; what comes of them, told."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop, NotHandled
from wyoming.ping import Pong
from wyoming.tts import SynthesizeStopped, SynthesizeTextFormat

from echat_plugins.wyoming_server.carried import Carried
from echat_plugins.wyoming_server.conversations import Conversations
from echat_plugins.wyoming_server.faults import BrokenOff, Fault
from echat_plugins.wyoming_server.fields import lang_of, text_of, with_fields
from echat_plugins.wyoming_server.hearing import Utterance
from echat_plugins.wyoming_server.offer import info
from echat_plugins.wyoming_server.options import WyomingOptions
from echat_plugins.wyoming_server.reading import read_event
from echat_plugins.wyoming_server.speaking import CHANNELS, WIDTH, Sentences, sentences, spoken
from echat_sdk.agent import Answer
from echat_sdk.agent.consenting import allowed_of, check_voice
from echat_sdk.agent.service import Service
from echat_sdk.bridge import Workers
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import EChatError
from echat_sdk.server.allowance import Allowance, Allowances
from echat_sdk.turn import LangChoice, TextDelta

log = logging.getLogger(__name__)

_LONGEST_ID = 128


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections have in common."""

    service: Service
    options: WyomingOptions
    threads: Workers
    conversations: Conversations
    carried: Carried
    requests: Allowances


@dataclass(slots=True)
class _Speech:
    """A text that is spoken while it comes."""

    voice: str | None
    sentences: Sentences = field(default_factory=Sentences)
    characters: int = 0


class Connection:
    """What a client's connection is to us.

    Args:
        shared: What all have.
        reader: What it sends; made with `limit=options.header_bytes`.
        writer: What it is sent.
        client: Who it is, as far as that is known: an address.
        key: Of this connection alone.
    """

    def __init__(
        self,
        shared: Shared,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: str,
        key: str,
    ) -> None:
        self._shared = shared
        self._service = shared.service
        self._options = shared.options
        self._reader = reader
        self._writer = writer
        self._client = client
        self._key = f"connection {key}"
        options = shared.options
        self._events = Allowance(options.events_per_second, options.events_burst)
        self._lang: LangChoice = shared.service.lang
        self._utterance: Utterance | None = None
        self._speech: _Speech | None = None
        self._does: Mapping[str, Callable[[Event], Awaitable[None]]] = {
            "describe": self._describe,
            "ping": self._ping,
            "transcribe": self._transcribe,
            "audio-start": self._begin_audio,
            "audio-chunk": self._take_audio,
            "audio-stop": self._end_audio,
            "transcript": self._handle,
            "synthesize": self._synthesize,
            "synthesize-start": self._begin_speech,
            "synthesize-chunk": self._take_text,
            "synthesize-stop": self._end_speech,
        }

    async def run(self) -> None:
        """Do what the client asks for until it goes, or sends what is no event."""
        try:
            while (event := await read_event(self._reader, self._options)) is not None:
                if not self._events.take():
                    raise BrokenOff("events come too fast", "too-many-events")
                await self._do(event)
        except BrokenOff as fault:
            await self._write(Error(fault.text, fault.code).event())
        finally:
            await self._shared.conversations.drop(self._key)

    async def refuse(self, text: str, code: str) -> None:
        """Say why nothing is done for this client."""
        await self._write(Error(text, code).event())

    async def _do(self, event: Event) -> None:
        """Do one; what cannot be done is told. Of what is not known here nothing comes."""
        does = self._does.get(event.type)
        if does is None:
            return
        try:
            async with asyncio.timeout(self._options.answer_seconds):
                await does(event)
        except BrokenOff:
            raise
        except Fault as fault:
            await self._failed(fault.text, fault.code)
        except TimeoutError:
            await self._failed(f"{event.type} took too long", "timeout")
        except EChatError as error:
            log.warning("wyoming: a request failed with %s", type(error).__name__)
            await self._failed(str(error), type(error).__name__)

    async def _failed(self, text: str, code: str) -> None:
        """Tell it once; what still comes of the same request is let pass."""
        self._utterance = self._speech = None
        await self._write(Error(text, code).event())

    async def _write(self, event: Event) -> None:
        try:
            async with asyncio.timeout(self._options.send_seconds):
                await async_write_event(event, self._writer)
        except TimeoutError as error:
            raise ConnectionAbortedError("the client takes nothing") from error

    def _request(self) -> None:
        if not self._shared.requests.take(self._client):
            raise Fault("too many requests; wait a moment", "too-many-requests")

    async def _describe(self, event: Event) -> None:
        await self._write(info(self._service).event())

    async def _ping(self, event: Event) -> None:
        await self._write(Pong(text=text_of(event, "text", self._options.characters)).event())

    # --- asr --------------------------------------------------------------------------------------

    async def _transcribe(self, event: Event) -> None:
        self._utterance = None
        self._lang = lang_of(event, self._service)

    async def _begin_audio(self, event: Event) -> None:
        self._utterance = None
        self._request()
        form = AudioStart.from_event(with_fields(event, "rate", "width", "channels"))
        user = self._options.user or f"guest_{secrets.token_hex(12)}"  # what counts unasked
        async with self._shared.threads.one() as worker:
            allowed = await worker.call(allowed_of, self._service.memory, user)
        check_voice(allowed)
        self._utterance = Utterance(
            self._service.model,
            self._shared.threads,
            form,
            self._lang,
            allowed,
            self._options.utterance_seconds,
        )

    async def _take_audio(self, event: Event) -> None:
        if self._utterance is not None:
            chunk = AudioChunk.from_event(with_fields(event, "rate", "width", "channels"))
            await self._utterance.take(chunk, chunk.audio)

    async def _end_audio(self, event: Event) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        heard = await utterance.heard()
        self._shared.carried.heard(self._client, heard.transcript, heard.cues)
        # A model may take back what it heard before the end, and a chunk cannot be taken back: the
        # words come at once. Who does not know the stream waits for `transcript`.
        await self._write(TranscriptStart(language=heard.lang).event())
        if heard.transcript:
            await self._write(TranscriptChunk(heard.transcript).event())
        await self._write(Transcript(heard.transcript, language=heard.lang).event())
        await self._write(TranscriptStop().event())

    # --- handle -----------------------------------------------------------------------------------

    async def _handle(self, event: Event) -> None:
        text = (text_of(event, "text", self._options.characters) or "").strip()
        context = event.data.get("context")
        context = context if isinstance(context, dict) else {}
        if not text:
            await self._write(NotHandled(context=context).event())
            return
        self._request()
        cues = self._shared.carried.cues(self._client, text)
        answer: Answer | None = None
        async with (
            self._shared.conversations.turn(self._conversation(context)) as agent,
            self._shared.threads.one(),  # the agent has its own: this is the place of one
            aclosing(agent.stream_text(text, cues)) as pieces,
        ):
            await self._write(HandledStart(context=context).event())
            async for piece in pieces:
                if isinstance(piece, TextDelta):
                    await self._write(HandledChunk(piece.text).event())
                elif isinstance(piece, Answer):
                    answer = piece
        assert answer is not None, "an exchange ends with its answer"
        turn = answer.turn
        if answer.turn_id:
            texts = (turn.reply, *sentences(turn.reply))
            self._shared.carried.answered(self._client, texts, turn.reply_emotion)
        else:  # nothing is kept where somebody asked for what is kept, or to forget it
            self._shared.carried.forget(self._client)
        # Who does not know the stream waits for the whole.
        await self._write(Handled(turn.reply, context=context).event())
        await self._write(HandledStop().event())

    def _conversation(self, context: Mapping[str, object]) -> str:
        """The key of a conversation: of this client's, by the id that it gave."""
        given = context.get("conversation_id")
        if given is None:
            return self._key
        if not isinstance(given, str) or len(given) > _LONGEST_ID:
            raise Fault(f"conversation_id: expected at most {_LONGEST_ID} characters")
        return f"{self._client} {given}"

    # --- tts --------------------------------------------------------------------------------------

    async def _synthesize(self, event: Event) -> None:
        if self._speech is not None:
            return  # the whole of what streams, for who does not know the stream
        self._request()
        text = text_of(event, "text", self._options.characters) or ""
        voice = self._voice(event)
        emotion = self._shared.carried.emotion(self._client, text)
        await self._write(self._audio_start())
        for sentence in sentences(text):
            await self._say(sentence, emotion, voice)
        await self._write(AudioStop().event())

    async def _begin_speech(self, event: Event) -> None:
        self._speech = None
        self._request()
        self._speech = _Speech(self._voice(event))
        await self._write(self._audio_start())

    async def _take_text(self, event: Event) -> None:
        speech = self._speech
        if speech is None:
            return
        text = text_of(event, "text", self._options.characters) or ""
        speech.characters += len(text)
        if speech.characters > self._options.characters:
            raise Fault(f"a text has {self._options.characters:,} characters at most", "too-long")
        for sentence in speech.sentences.push(text):
            await self._say_streamed(sentence, speech)

    async def _end_speech(self, event: Event) -> None:
        speech = self._speech
        if speech is not None:
            for sentence in speech.sentences.flush():
                await self._say_streamed(sentence, speech)
            self._speech = None
            await self._write(AudioStop().event())
        await self._write(SynthesizeStopped().event())

    async def _say_streamed(self, sentence: str, speech: _Speech) -> None:
        emotion = self._shared.carried.emotion(self._client, sentence)
        await self._say(sentence, emotion, speech.voice)

    async def _say(self, sentence: str, emotion: ReplyEmotion, voice: str | None) -> None:
        service = self._service
        async with aclosing(
            spoken(service.model, self._shared.threads, sentence, emotion, voice)
        ) as events:
            async for event in events:
                await self._write(event)

    def _audio_start(self) -> Event:
        return AudioStart(self._service.model.sample_rate, WIDTH, CHANNELS).event()

    def _voice(self, event: Event) -> str | None:
        """The voice that is asked for; None for the model's own."""
        if event.data.get("text_format") not in (None, SynthesizeTextFormat.TEXT.value):
            raise Fault("text_format: only text is spoken", "unsupported")
        given = event.data.get("voice") or {}
        if not isinstance(given, dict):
            raise Fault("voice: expected an object")
        name = given.get("name")
        if name is None or name == self._service.model.name or name in self._service.voices:
            return name if name in self._service.voices else None
        ours = ", ".join(self._service.voices) or self._service.model.name
        raise Fault(f"there is no such voice; there are {ours}", "no-such-voice")
