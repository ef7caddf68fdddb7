"""Wyoming through the library's own client, over a real socket, with a scripted model."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeVoice,
)

from echat_plugins.wyoming_server import Wyoming, WyomingOptions
from echat_plugins.wyoming_server.carried import Carried
from echat_sdk.consent import Purpose
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.testing import FakeHearing, FakeModel, Line, RAMMemory
from echat_sdk.turn import LangChoice, SpeechDelta
from tests.plugins.wyoming.serving import (
    said,
    send,
    service_of,
    serving,
    sound_of,
    until,
    utterance,
)

SPEECH = np.full(16_000, 1000, np.int16)
SAD = Cues(emotion=Cue("sad", 0.9))


class Noted(FakeModel):
    """A `FakeModel` that writes down how it was asked to speak, and what it was given to read."""

    def __init__(self, *lines: Line, voices: tuple[str, ...] = ()) -> None:
        super().__init__(*lines, voices=voices)
        self.spoken: list[tuple[str, ReplyEmotion, str | None]] = []
        self.given: list[tuple[str, Cues]] = []

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        self.spoken.append((text, emotion, voice))
        return super().say(text, emotion=emotion, voice=voice)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
        self.given.append((text, cues))
        return super().read(text, cues, lang=lang)


class Unwilling(RAMMemory):
    """A memory whose users agreed to nothing."""

    def allowed(self, user: str) -> frozenset[str]:
        return frozenset()


class Willing(RAMMemory):
    """A memory whose users agreed to be heard, and to nothing else."""

    def allowed(self, user: str) -> frozenset[str]:
        return frozenset({Purpose.PROCESS_VOICE})


async def test_it_tells_what_it_hears_answers_and_speaks() -> None:
    model = FakeModel(voices=("anna", "bert"))
    async with serving(service_of(model)) as client_of, client_of() as client:
        await send(client, Describe())
        info = Info.from_event((await until(client, "info"))[-1])
    (asr,), (handle,), (tts,) = info.asr, info.handle, info.tts
    assert asr.supports_transcript_streaming
    assert handle.supports_handled_streaming
    assert tts.supports_synthesize_streaming
    assert [voice.name for voice in tts.voices] == ["anna", "bert"]
    assert asr.models[0].name == "fake"
    assert asr.models[0].languages == handle.models[0].languages == ["en"]


async def test_who_pings_is_answered_with_their_words() -> None:
    async with serving() as client_of, client_of() as client:
        await send(client, Ping("are you there?"))
        assert (await until(client, "pong"))[-1].data == {"text": "are you there?"}


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (22_050, 1)])
async def test_what_is_said_comes_back_as_words(rate: int, channels: int) -> None:
    service = service_of(FakeModel(Line("turn on the light")))
    async with serving(service) as client_of, client_of() as client:
        sound = np.full(rate, 1000, np.int16)
        await send(client, Transcribe(language="en-GB"), *utterance(sound, rate, channels))
        events = await until(client, "transcript-stop")
    assert [each.type for each in events] == [
        "transcript-start",
        "transcript-chunk",
        "transcript",
        "transcript-stop",
    ]
    assert events[1].data["text"] == events[2].data["text"] == "turn on the light"
    assert events[2].data["language"] == "en"


async def test_silence_comes_back_as_no_words() -> None:
    async with serving(service_of(FakeModel(Line("")))) as client_of, client_of() as client:
        await send(client, *utterance(np.zeros(800, np.int16)))
        assert (await until(client, "transcript"))[-1].data["text"] == ""


async def test_what_was_said_is_answered_as_it_is_written_and_whole() -> None:
    service = service_of(FakeModel(Line("hi", clauses=("I hear you. ", "Tell me more."))))
    async with serving(service) as client_of, client_of() as client:
        await send(client, said("hi", "a"))
        events = await until(client, "handled-stop")
    assert [each.type for each in events] == [
        "handled-start",
        "handled-chunk",
        "handled-chunk",
        "handled",
        "handled-stop",
    ]
    handled = Handled.from_event(events[3])
    assert handled.text == "I hear you. Tell me more."
    assert handled.context == {"conversation_id": "a"}
    assert "".join(each.data["text"] for each in events[1:3]) == handled.text


async def test_a_user_is_remembered_and_a_guest_is_not() -> None:
    for user, kept in (("ada", 1), (None, 0)):
        memory = RAMMemory()
        options = {} if user is None else {"user": user}
        async with (
            serving(service_of(memory=memory), **options) as client_of,
            client_of() as client,
        ):
            await send(client, said("hello"))
            await until(client, "handled-stop")
        assert len(memory.recall("ada").turns) == kept


async def test_a_conversation_goes_on_over_connections_and_another_knows_nothing_of_it() -> None:
    model = FakeModel(Line("hi"))
    async with serving(service_of(model)) as client_of:
        for conversation in ("a", "a", "b", None, None):
            async with client_of() as client:
                await send(client, said("hi", conversation))
                await until(client, "handled-stop")
    assert [len(each.turns) for each in model.recollections] == [0, 1, 0, 0, 0]


async def test_of_too_many_conversations_the_oldest_gives_way() -> None:
    model = FakeModel(Line("hi"))
    async with serving(service_of(model), conversations=2) as client_of, client_of() as client:
        for conversation in ("a", "b", "c", "b", "a"):
            await send(client, said("hi", conversation))
            await until(client, "handled-stop")
    assert [len(each.turns) for each in model.recollections] == [0, 0, 0, 1, 0]


async def test_a_conversation_that_was_silent_for_long_is_forgotten() -> None:
    model = FakeModel(Line("hi"))
    options = {"conversation_seconds": 0.05}
    async with serving(service_of(model), **options) as client_of, client_of() as client:
        await send(client, said("hi", "a"))
        await until(client, "handled-stop")
        await asyncio.sleep(0.3)
        await send(client, said("hi", "a"))
        await until(client, "handled-stop")
    assert [len(each.turns) for each in model.recollections] == [0, 0]


async def test_how_somebody_sounded_is_answered_and_the_answer_sounds_like_it() -> None:
    model = Noted(Line("my dog died", clauses=("I am so sorry. ", "What was he like?"), cues=SAD))
    async with serving(service_of(model)) as client_of:
        async with client_of() as client:
            await send(client, *utterance(SPEECH))
            words = (await until(client, "transcript"))[-1].data["text"]
        async with client_of() as client:
            await send(client, said(words, "a"))
            answer = (await until(client, "handled"))[-1].data["text"]
        async with client_of() as client:
            await send(client, Synthesize(answer))
            await until(client, "audio-stop")
            await send(client, Synthesize("The bath is full."))
            await until(client, "audio-stop")
    assert model.given == [("my dog died", SAD)]
    assert [emotion for _, emotion, _ in model.spoken] == [
        ReplyEmotion.COMFORTING,
        ReplyEmotion.COMFORTING,
        ReplyEmotion.NEUTRAL,
    ]


async def test_what_was_forgotten_is_not_carried_on_either() -> None:
    model = Noted(Line("my dog died", cues=SAD))
    async with serving(service_of(model), user="ada") as client_of, client_of() as client:
        await send(client, *utterance(SPEECH))
        await until(client, "transcript-stop")
        await send(client, said("What do you know about me?"))
        await until(client, "handled-stop")
        await send(client, said("my dog died"))
        await until(client, "handled-stop")
    assert [cues.emotion.is_known for text, cues in model.given if text == "my dog died"] == [False]


def test_what_goes_with_words_is_carried_for_a_minute_and_for_one_client() -> None:
    now = [0.0]
    carried = Carried(lambda: now[0])
    carried.heard("a", "my dog died", SAD)
    carried.answered("a", ["I am sorry. Tell me.", "I am sorry."], ReplyEmotion.SORRY)
    assert carried.cues("b", "my dog died") is None
    assert carried.emotion("b", "I am sorry.") is ReplyEmotion.NEUTRAL
    assert carried.emotion("a", " I am sorry. ") is ReplyEmotion.SORRY
    assert carried.cues("a", "my dog died") == SAD
    assert carried.cues("a", "my dog died") is None
    now[0] = 61.0
    assert carried.emotion("a", "I am sorry.") is ReplyEmotion.NEUTRAL


async def test_whose_voice_nobody_may_judge_is_answered_by_their_words_alone() -> None:
    model = Noted(Line("my dog died", cues=SAD))
    async with (
        serving(service_of(model, Willing()), user="ada") as client_of,
        client_of() as client,
    ):
        await send(client, *utterance(SPEECH))
        await until(client, "transcript-stop")
        await send(client, said("my dog died"))
        await until(client, "handled-stop")
    assert not model.given[0][1].emotion.is_known


async def test_who_did_not_agree_is_not_heard_and_is_told_so() -> None:
    async with (
        serving(service_of(memory=Unwilling()), user="ada") as client_of,
        client_of() as client,
    ):
        await send(client, *utterance(SPEECH))
        error = (await until(client, "transcript"))[-1]
        assert error.data["code"] == "ConsentError"
        await send(client, Ping())  # and nothing came of the sound that followed
        assert [each.type for each in await until(client, "pong")] == ["pong"]


async def test_a_text_is_spoken_in_the_voice_that_is_asked_for() -> None:
    model = Noted(voices=("anna", "bert"))
    async with serving(service_of(model)) as client_of, client_of() as client:
        await send(client, Synthesize("One two. Three.", voice=SynthesizeVoice(name="bert")))
        events = await until(client, "audio-stop")
    assert events[0].type == "audio-start"
    assert events[0].data["rate"] == model.sample_rate
    assert len(sound_of(events)) == 3 * model.sample_rate // 20
    assert [text for text, _, _ in model.spoken] == ["One two.", "Three."]
    assert {voice for _, _, voice in model.spoken} == {"bert"}


async def test_a_text_is_spoken_while_it_is_written() -> None:
    model = Noted()
    async with serving(service_of(model)) as client_of, client_of() as client:
        await send(client, SynthesizeStart(), SynthesizeChunk("One two. Th"))
        events = await until(client, "audio-chunk")  # before the text has ended
        await send(
            client,
            SynthesizeChunk("ree."),
            Synthesize("One two. Three."),  # for servers that know no stream
            SynthesizeStop(),
        )
        events += await until(client, "synthesize-stopped")
    types = [each.type for each in events if each.type != "audio-chunk"]
    assert types == ["audio-start", "audio-stop", "synthesize-stopped"]
    assert [text for text, _, _ in model.spoken] == ["One two.", "Three."]


async def test_what_cannot_be_done_is_told_and_the_connection_goes_on() -> None:
    cases = [
        (Event("transcript", {"text": 7}), "invalid-request"),
        (Event("transcript", {"text": "x" * 5000}), "too-long"),
        (Event("transcript", {"text": "hi", "context": {"conversation_id": 5}}), "invalid-request"),
        (Event("transcribe", {"language": "fr"}), "unsupported-language"),
        (Event("audio-start", {"rate": 16000}), "invalid-request"),
        (AudioStart(16_000, 4, 1).event(), "invalid-audio"),
        (Event("audio-start", {"rate": "x", "width": 2, "channels": 1}), "invalid-audio"),
        (Synthesize("x" * 5000).event(), "too-long"),
        (Synthesize("hi", voice=SynthesizeVoice(name="nobody")).event(), "no-such-voice"),
        (Synthesize("hi", text_format="ssml").event(), "unsupported"),
        (Event("synthesize", {"text": "hi", "voice": 3}), "invalid-request"),
    ]
    async with serving() as client_of, client_of() as client:
        for event, code in cases:
            await client.write_event(event)
            error = await client.read_event()
            assert error is not None
            assert (error.type, error.data["code"]) == ("error", code), event
        await send(client, Ping("still here"))
        assert (await until(client, "pong"))[-1].data["text"] == "still here"


async def test_what_nobody_knows_is_let_pass() -> None:
    async with serving() as client_of, client_of() as client:
        await client.write_event(Event("select-program", {"name": "echat"}))
        await client.write_event(Event("run-satellite"))
        await send(client, AudioStop(), Ping())
        assert [each.type for each in await until(client, "pong")] == ["pong"]


async def test_an_utterance_that_does_not_end_is_refused_and_nothing_more_comes_of_it() -> None:
    async with serving(utterance_seconds=1.0) as client_of, client_of() as client:
        await send(client, *utterance(np.full(64_000, 1000, np.int16)), Ping())
        assert [each.type for each in await until(client, "pong")] == ["error"]
        assert [each.type for each in await until(client, "pong")] == ["pong"]


async def test_sound_that_changes_its_form_is_refused() -> None:
    async with serving() as client_of, client_of() as client:
        await send(client, AudioStart(16_000, 2, 1), AudioChunk(8_000, 2, 1, b"\0\0"))
        assert (await until(client, "transcript"))[-1].data["code"] == "invalid-audio"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"type": "audio-chunk", "payload_length": 2000000000}\n', "too-large"),
        (b'{"type": "describe", "data_length": 2000000000}\n', "too-large"),
        (b'{"type": "describe", "data_length": -1}\n', "malformed"),
        (b'{"type": "describe", "payload_length": "many"}\n', "malformed"),
        (b'{"type": "describe", "payload_length": true}\n', "malformed"),
        (b'{"type": "describe", "data": [1]}\n', "malformed"),
        (b'{"type": "describe", "data_length": 3}\n[1]', "malformed"),
        (b'{"type": 3}\n', "malformed"),
        (b"[]\n", "malformed"),
        (b"not json\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b"[" * 60_000 + b"\n", "malformed"),
        (b'{"type": "' + b"x" * 70_000, "too-large"),
    ],
)
async def test_a_header_that_lies_is_refused_before_anything_is_read(
    line: bytes, code: str
) -> None:
    async with serving() as client_of, client_of() as client:
        assert client._writer is not None
        client._writer.write(line)
        error = await client.read_event()
        assert error is not None
        assert (error.type, error.data["code"]) == ("error", code)
        assert await client.read_event() is None
        async with client_of() as other:  # it lives
            await send(other, Ping())
            await until(other, "pong")


async def test_who_says_nothing_or_half_of_it_is_hung_up_on() -> None:
    options = {"idle_seconds": 0.1, "event_seconds": 0.1}
    async with serving(**options) as client_of:
        for half in (b"", b'{"type": "pi', b'{"type": "ping", "data_length": 10}\n{'):
            async with client_of() as client:
                assert client._writer is not None
                client._writer.write(half)
                assert await client.read_event() is None


async def test_connections_requests_and_events_are_counted() -> None:
    async with serving(connections_per_client=1) as client_of, client_of() as client:
        await send(client, Ping())
        await until(client, "pong")
        async with client_of() as other:
            assert (await until(other, "info"))[-1].data["code"] == "refused"
    options = {"requests_burst": 2, "requests_per_second": 0.001}
    async with serving(**options) as client_of, client_of() as client:
        for _ in range(2):
            await send(client, said("hi"))
            await until(client, "handled-stop")
        await send(client, Synthesize("hi"))
        assert (await until(client, "audio-stop"))[-1].data["code"] == "too-many-requests"
    async with (
        serving(events_burst=3, events_per_second=0.001) as client_of,
        client_of() as client,
    ):
        for _ in range(4):
            await send(client, Ping())
        assert [each.type for each in await until(client, "error")] == ["pong"] * 3 + ["error"]


async def test_who_takes_nothing_of_what_they_are_sent_is_let_go_and_holds_nobody_up() -> None:
    options = {"characters": 50_000, "send_seconds": 0.2, "threads": 1}
    async with serving(**options) as client_of, client_of() as client:
        await send(client, Synthesize("a " * 20_000))  # 48 MB of sound
        await asyncio.sleep(0.8)
        async with client_of() as other:
            await send(other, Synthesize("hi"))
            await until(other, "audio-stop")
        with pytest.raises((AssertionError, ConnectionError, EOFError)):
            await until(client, "audio-stop")


async def test_a_model_that_fails_is_told_and_the_next_request_is_answered() -> None:
    model = FakeModel(Line("a", error=GenerationError("the stream broke")), Line("b"))
    async with serving(service_of(model)) as client_of, client_of() as client:
        await send(client, said("a"))
        assert (await until(client, "handled"))[-1].data["code"] == "GenerationError"
        await send(client, said("b"))
        assert (await until(client, "handled-stop"))[-1].type == "handled-stop"


async def test_an_answer_that_takes_too_long_is_given_up_and_the_client_is_told() -> None:
    model = FakeModel(Line("slow", pace=0.5, clauses=("a", "b", "c")))
    async with (
        serving(service_of(model), answer_seconds=0.1) as client_of,
        client_of() as client,
    ):
        began = time.monotonic()
        await send(client, said("slow"))
        assert (await until(client, "handled"))[-1].data["code"] == "timeout"
        assert time.monotonic() - began < 0.5


async def test_a_unix_socket_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "echat.sock"
    async with serving(socket=path) as client_of, client_of() as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await send(client, said("hi"))
        await until(client, "handled-stop")
    assert not path.exists()


async def test_it_says_why_it_cannot_listen(tmp_path: Path) -> None:
    transport = Wyoming(WyomingOptions(port=0))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(transport.run(service_of()), name="first")
        port = await transport.listening()
        with pytest.raises(ConfigError, match="cannot listen"):
            await Wyoming(WyomingOptions(port=port)).run(service_of())
        first.cancel()
    file = tmp_path / "a file"
    file.write_text("kept")
    with pytest.raises(ConfigError, match="cannot listen"):
        await Wyoming(WyomingOptions(socket=file)).run(service_of())
    assert file.read_text() == "kept"


def test_beyond_loopback_it_is_opened_to_named_networks_only() -> None:
    with pytest.raises(ConfigError, match="beyond_loopback"):
        Wyoming(WyomingOptions(host="0.0.0.0"))
    with pytest.raises(ConfigError, match="networks"):
        Wyoming(WyomingOptions(host="0.0.0.0", beyond_loopback=True))
    options = {"host": "0.0.0.0", "beyond_loopback": True, "networks": ["192.168.1.0/24"]}
    Wyoming(WyomingOptions.model_validate(options))


async def test_words_never_enter_the_log(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel(Line("my secret", error=ValueError("my secret")))
    with caplog.at_level("DEBUG", "echat_plugins"):
        async with serving(service_of(model)) as client_of, client_of() as client:
            await send(client, *utterance(SPEECH))
            await until(client, "transcript-stop")
            await send(client, said("my secret", "conversation-id"))
            assert await client.read_event() is not None
    assert "my secret" not in caplog.text
    assert "conversation-id" not in caplog.text
