"""Spoken turns of a device, over a real socket, with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from echat_plugins.xiaozhi.faces import FACES
from echat_sdk.cues import ReplyEmotion
from echat_sdk.testing import FakeModel, Line
from echat_sdk.turn import SpeechDelta
from tests.plugins.xiaozhi.device import device, service_of, serving, silence, tone

ASKED = Line("how are you", clauses=("I am fine. ", "And how about you?"))


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_spoken_turn_is_shown_and_answered_aloud(version: int) -> None:
    async with (
        serving(service_of(FakeModel(ASKED))) as port,
        device(port, version=version) as robot,
    ):
        hello = await robot.hello()
        await robot.listen("start")
        await robot.send(np.concatenate((tone(0.6), silence(1.8))))
        await robot.until("tts", state="stop")
    assert hello["transport"] == "websocket"
    assert hello["audio_params"] == {
        "format": "opus",
        "sample_rate": 24_000,
        "channels": 1,
        "frame_duration": 60,
    }
    assert robot.kinds() == [
        "hello",
        "stt",
        "llm",
        "tts start",
        "tts sentence_start",
        "tts sentence_start",
        "tts stop",
    ]
    assert {each["session_id"] for _, each in robot.told} == {hello["session_id"]}
    assert robot.of("stt")[0]["text"] == "how are you"
    assert robot.of("llm")[0]["emotion"] == "relaxed"
    sentences = [each["text"] for each in robot.of("tts") if "text" in each]
    assert sentences == ["I am fine.", "And how about you?"]
    heard = robot.heard()
    voiced = np.abs(heard) > 500
    assert voiced.sum() / 48_000 == pytest.approx(7 * 0.05, abs=0.12)  # 50 ms a word
    if version == 2:
        assert robot.stamps == [60 * each for each in range(len(robot.stamps))]


async def test_after_an_answer_the_device_listens_again_and_is_answered_again() -> None:
    model = FakeModel(ASKED, Line("and now", clauses=("Still fine.",)))
    async with serving(service_of(model)) as port, device(port) as robot:
        await robot.hello()
        for _ in range(2):
            await robot.listen("start")
            await robot.send(np.concatenate((tone(0.6), silence(1.8))))
            await robot.until("tts", state="stop")
    assert [each["text"] for each in robot.of("stt")] == ["how are you", "and now"]
    assert len(model.recollections[-1].turns) == 1


async def test_in_auto_mode_nothing_is_heard_while_the_agent_speaks() -> None:
    slow = Line("tell me", clauses=("one two three four five six seven eight nine ten. ",) * 2)
    async with serving(service_of(FakeModel(slow))) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start")
        await robot.send(np.concatenate((tone(0.6), silence(1.8))))
        await robot.until("tts", state="start")
        await robot.send(tone(0.9))
        await robot.until("tts", state="stop")
        await asyncio.sleep(0.2)
    assert robot.kinds().count("stt") == 1


async def test_while_a_button_is_held_the_turn_goes_on_whatever_the_pauses() -> None:
    async with serving(service_of(FakeModel(ASKED))) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start", "manual")
        await robot.send(np.concatenate((tone(0.6), silence(3.0), tone(0.6))))
        await asyncio.sleep(0.1)
        assert robot.kinds() == ["hello"]
        await robot.listen("stop", "manual")
        await robot.until("tts", state="stop")
    assert robot.kinds().count("stt") == 1


async def test_a_button_that_was_only_touched_is_not_answered() -> None:
    async with serving(service_of(FakeModel(ASKED))) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start", "manual")
        await robot.listen("stop", "manual")
        await robot.listen("start", "manual")
        await robot.send(tone(0.6))
        await robot.listen("stop", "manual")
        await robot.until("tts", state="stop")
    assert robot.kinds().count("stt") == 1


LONG = Line("tell me a story", clauses=("One word after the other comes out of me now. ",) * 12)


async def test_an_abort_stops_the_answer_at_once_and_the_next_turn_is_answered() -> None:
    model = FakeModel(LONG, ASKED)
    async with serving(service_of(model)) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start")
        await robot.send(np.concatenate((tone(0.6), silence(1.8))))
        await robot.until("tts", state="start")
        while len(robot.packets) < 8:
            await robot._take()
        await robot.say(type="abort", reason="wake_word_detected")
        await robot.until("tts", state="stop")
        before = len(robot.packets)
        await robot.listen("start")
        await robot.send(np.concatenate((tone(0.6), silence(1.8))))
        await robot.until("stt")
        assert len(robot.packets) == before  # nothing more came of it
        await robot.until("tts", state="stop")
    assert [each["text"] for each in robot.of("stt")] == ["tell me a story", "how are you"]
    kept = model.recollections[-1].turns[0]
    assert 0 < len(kept.reply) < len("".join(LONG.clauses)) / 2


async def test_in_realtime_whoever_speaks_over_the_agent_is_heard() -> None:
    model = FakeModel(LONG, ASKED)
    async with serving(service_of(model)) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("start", "realtime")
        await robot.send(np.concatenate((tone(0.6), silence(1.8))))
        await robot.until("tts", state="start")
        await robot.send(np.concatenate((tone(1.5), silence(1.8))), paced=True)
        await robot.until("tts", state="stop")
        await robot.until("stt", text="how are you")
        await robot.until("tts", state="stop")
    assert robot.kinds().count("tts start") == 2


async def test_what_is_said_leaves_at_its_time_and_little_before() -> None:
    line = Line("go on", clauses=("one two three four five six seven eight nine ten. ",) * 3)
    async with serving(service_of(FakeModel(line)), lead=0.24) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("detect", text="go on")
        await robot.until("tts", state="stop")
    began = robot.packets[0][0]
    ahead = [0.06 * (n + 1) - (at - began) for n, (at, _) in enumerate(robot.packets)]
    assert 25 <= len(robot.packets) <= 27
    assert max(ahead) < 0.24 + 0.1
    assert robot.told[-1][0] - began > 1.4  # told to have ended once it was heard
    shown = [at - began for at, each in robot.told if each.get("state") == "sentence_start"]
    assert shown == pytest.approx([0, 0.5 - 0.24, 1.0 - 0.24], abs=0.15)  # with its sound


async def test_a_wake_word_is_greeted_and_other_words_are_answered() -> None:
    async with (
        serving(service_of(FakeModel(ASKED)), greeting="Yes?") as port,
        device(port) as robot,
    ):
        await robot.hello()
        await robot.listen("detect", text="Hi, ESP")
        await robot.until("tts", state="stop")
        assert robot.kinds() == ["hello", "tts start", "tts sentence_start", "tts stop"]
        assert robot.of("tts")[1]["text"] == "Yes?"
        await robot.listen("detect", text="what is the time")
        await robot.until("tts", state="stop")
    assert robot.of("stt")[0]["text"] == "what is the time"


async def test_a_wake_word_can_be_answered_or_let_pass() -> None:
    async with (
        serving(service_of(FakeModel(ASKED)), wake="answer") as port,
        device(port) as robot,
    ):
        await robot.hello()
        await robot.listen("detect", text="Jarvis")
        await robot.until("stt", text="Jarvis")
    async with (
        serving(service_of(FakeModel(ASKED)), wake="ignore") as port,
        device(port) as robot,
    ):
        await robot.hello()
        await robot.listen("detect", text="Jarvis")
        await robot.listen("detect", text="what is the time")
        await robot.until("stt", text="what is the time")
    assert robot.kinds().count("stt") == 1


@pytest.mark.parametrize("emotion", list(ReplyEmotion))
def test_each_emotion_has_a_face_that_devices_know(emotion: ReplyEmotion) -> None:
    known = "neutral happy laughing funny sad angry crying loving embarrassed surprised shocked"
    known += " thinking winking cool relaxed delicious kissy confident sleepy silly confused"
    assert FACES[emotion][0] in known.split()


class Mute(FakeModel):
    """A `FakeModel` without a voice."""

    def say(self, *_: object, **__: object) -> Iterator[SpeechDelta]:
        return iter(())


async def test_an_answer_that_no_voice_speaks_is_shown() -> None:
    async with serving(service_of(Mute(ASKED))) as port, device(port) as robot:
        await robot.hello()
        await robot.listen("detect", text="how are you")
        await robot.until("tts", state="stop")
    assert robot.kinds()[-4:] == ["llm", "tts start", "tts sentence_start", "tts stop"]
    assert robot.of("tts")[1]["text"] == "I am fine. And how about you?"
    assert not robot.packets


async def test_a_turn_without_words_is_answered_with_nothing() -> None:
    async with serving(service_of(FakeModel(Line(""), ASKED))) as port, device(port) as robot:
        await robot.hello()
        for _ in range(2):
            await robot.listen("start", "manual")
            await robot.send(tone(0.6))
            await robot.listen("stop", "manual")
            await asyncio.sleep(0.2)
        await robot.until("tts", state="stop")
    assert robot.kinds().count("stt") == robot.kinds().count("tts start") == 1
