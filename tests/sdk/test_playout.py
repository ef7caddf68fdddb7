"""What was heard of an answer, and how soon the agent can be quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.playout import Player, Script
from echat_sdk.testing import virtual_time
from echat_sdk.testing.audio import FakeAudio
from echat_sdk.turn import SpeechDelta

RATE = 24_000


def spoken(text: str, seconds: float = 1.0, rate: int = RATE) -> SpeechDelta:
    return SpeechDelta(np.full(round(seconds * rate), 8000, np.int16), rate, text)


def play(device: FakeAudio, script: Coroutine[Any, Any, None], player: Player) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            mouth = group.create_task(player.run())
            await script
            mouth.cancel()

    virtual_time.run(main())


def test_an_answer_is_heard_whole_and_the_wait_ends_when_it_was() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        await player.say(spoken("Hello there. "))
        await player.say(spoken("How are you?"))
        player.finish()
        await player.spoken()
        assert asyncio.get_running_loop().time() == pytest.approx(2.0, abs=0.05)
        assert player.heard == "Hello there. How are you?"
        assert player.heard_seconds == pytest.approx(2.0)

    play(device, script(), player)
    assert len(device.recording()) == 2 * RATE


def test_nothing_is_heard_after_a_stop_and_the_words_end_where_the_sound_did() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        await player.say(spoken("one two three four five six seven eight", 4.0))
        await asyncio.sleep(2.1)
        player.stop()
        assert player.heard == "one two three four"
        await player.spoken()
        await asyncio.sleep(1)
        assert player.heard == "one two three four"

    play(device, script(), player)
    assert len(device.recording()) / RATE == pytest.approx(2.1, abs=0.02)


def test_a_paused_answer_goes_on_where_it_was() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        await player.say(spoken("one two", 2.0))
        player.finish()
        await asyncio.sleep(1)
        player.pause()
        await asyncio.sleep(5)
        assert player.heard == "one"
        player.resume()
        await player.spoken()
        assert player.heard == "one two"

    play(device, script(), player)
    assert len(device.recording()) / RATE == pytest.approx(7.0, abs=0.1)


def test_a_ducked_voice_is_quieter_and_comes_back_without_a_click() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        await player.say(spoken("one two three", 3.0))
        player.finish()
        await asyncio.sleep(1)
        player.duck(-12)
        await asyncio.sleep(1)
        player.duck(0)
        await player.spoken()

    play(device, script(), player)
    sound = device.recording().astype(int)
    assert sound[RATE * 3 // 2] == pytest.approx(8000 * 10 ** (-12 / 20), rel=0.01)
    assert sound[RATE // 2] == sound[RATE * 5 // 2] == 8000
    assert abs(np.diff(sound)).max() < 20


def test_speech_of_another_rate_lasts_as_long() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        for _ in range(10):
            await player.say(spoken("word ", 0.1, rate=22_050))
        player.finish()
        await player.spoken()

    play(device, script(), player)
    assert len(device.recording()) / RATE == pytest.approx(1.0, abs=0.002)


def test_who_makes_speech_much_faster_than_it_is_heard_waits() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        for _ in range(100):
            await player.say(spoken("a minute is enough ", 1.0))
        assert asyncio.get_running_loop().time() > 30

    play(device, script(), player)


def test_a_new_answer_drops_what_was_left_of_the_last() -> None:
    device = FakeAudio()
    player = Player(device)

    async def script() -> None:
        player.begin()
        await player.say(spoken("old words", 2.0))
        await asyncio.sleep(0.5)
        player.begin()
        await player.say(spoken("new", 1.0))
        player.finish()
        await player.spoken()
        assert player.heard == "new"

    play(device, script(), player)


def test_chinese_is_cut_between_characters() -> None:
    script = Script()
    script.add("你好吗，朋友。", 1.4)
    assert script.heard(0.41) == "你好"
    assert script.heard(0.85) == "你好吗，"
    assert script.heard(1.4) == "你好吗，朋友。"


texts = st.lists(st.text("ab 你好，.", max_size=12), max_size=5)


@given(texts, st.floats(0, 10), st.floats(0, 10))
def test_more_time_never_means_fewer_words_and_all_of_it_means_all(
    pieces: list[str], one: float, other: float
) -> None:
    script = Script()
    for text in pieces:
        script.add(text, 1.0)
    whole = "".join(pieces)
    less, more = sorted((one, other))
    assert script.heard(more).startswith(script.heard(less))
    assert whole.startswith(script.heard(one))
    assert script.heard(float(len(pieces))) == whole.rstrip()
