from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.agent.live import Live
from echat_sdk.audio import FRAME_LEN, SAMPLE_RATE, Waveform, frames
from echat_sdk.bridge import Worker
from echat_sdk.io.callback import CallbackAudio
from echat_sdk.io.framing import Framer
from echat_sdk.io.timed import TimedAudio
from echat_sdk.protocols import AudioIO
from echat_sdk.testing import FakeModel, Line, RAMMemory, virtual_time
from echat_sdk.testing.audio import ScriptedVAD, loopback
from echat_sdk.testing.live import ALONE
from echat_sdk.turn import Turn, TurnStatus


def tone(seconds: float, rate: int) -> Waveform:
    return (8000 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)).astype(
        np.int16
    )


@given(st.lists(st.integers(0, 2000), max_size=30), st.sampled_from([8000, 16_000, 44_100, 48_000]))
def test_frames_are_the_same_however_the_sound_was_cut(lengths: list[int], rate: int) -> None:
    sound = tone(sum(lengths) / rate, rate)
    whole = [frame.samples for frame in Framer(rate).push(sound)]
    framer, cut = Framer(rate), []
    for piece in np.split(sound, np.cumsum(lengths)[:-1]) if lengths else []:
        cut += [frame.samples for frame in framer.push(piece)]
    for one, other in zip(whole, cut, strict=False):  # the resampler rounds with dither
        assert np.abs(one.astype(int) - other).max() <= 3
    # A resampler may hold a little more or less back at each call.
    assert abs(len(whole) - len(cut)) <= 6


def test_what_a_host_pushes_from_any_thread_is_heard_at_sixteen_kilohertz() -> None:
    async def main() -> list[Waveform]:
        audio = CallbackAudio(lambda _: None, input_rate=8000)
        assert isinstance(audio, AudioIO)

        def push() -> None:
            for piece in np.array_split(tone(0.3, 8000), 7):
                audio.hear(piece)
            audio.end()

        async with asyncio.timeout(5):
            reader = audio.frames()
            first = asyncio.TaskGroup()
            async with first:
                task = first.create_task(anext(reader), name="first")
                await asyncio.sleep(0)
                threading.Thread(target=push).start()
            return [task.result().samples, *[frame.samples async for frame in reader]]

    heard = np.concatenate(asyncio.run(main()))
    assert 0.15 * SAMPLE_RATE < len(heard) <= 0.3 * SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * SAMPLE_RATE / len(heard) == pytest.approx(300, abs=10)


def test_a_reader_that_sleeps_hears_the_latest_half_second() -> None:
    async def main() -> list[int]:
        audio = CallbackAudio(lambda _: None)
        reader = audio.frames()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(anext(reader), name="first")
            await asyncio.sleep(0)
            audio.hear(np.full(FRAME_LEN, 0, np.int16))
        assert task.result().samples[0] == 0
        for number in range(100):
            audio.hear(np.full(FRAME_LEN, number, np.int16))
        audio.end()
        await asyncio.sleep(0.01)
        return [int(frame.samples[0]) async for frame in reader]

    heard = virtual_time.run(main())
    assert heard[-1] == 99
    assert len(heard) == 24


def test_a_host_is_called_at_the_pace_of_time_and_told_to_drop_what_was_not_heard() -> None:
    given: list[tuple[float, int]] = []
    dropped: list[float] = []

    async def main() -> None:
        now = asyncio.get_running_loop().time
        audio = CallbackAudio(
            lambda samples: given.append((now(), len(samples))),
            on_flush=lambda: dropped.append(now()),
            latency=0.06,
        )
        for _ in range(50):
            await audio.play(np.zeros(480, np.int16))
        audio.flush()

    virtual_time.run(main())
    assert [at for at, _ in given[:4]] == pytest.approx([0, 0, 0, 0])
    assert given[-1][0] == pytest.approx(50 * 0.02 - 0.06 - 0.02, abs=0.001)
    assert dropped == pytest.approx([50 * 0.02 - 0.06])


def conversation(audio: AudioIO, store: Worker, memory: RAMMemory, *lines: Line) -> Live:
    return Live(
        FakeModel(*lines), memory, audio, vad=ScriptedVAD(), turn_end=None, policy=ALONE,
        user="other", key="k", think="off", lang="en", store=store,
    )  # fmt: skip


def test_two_agents_hear_and_answer_each_other_over_a_line() -> None:
    memories = RAMMemory(), RAMMemory()

    async def main() -> None:
        store = Worker("echat-memory")
        ends = loopback()
        ada = conversation(ends[0], store, memories[0], Line("hi you", ("And how are you today?",)))
        bob = conversation(ends[1], store, memories[1], Line("hello bob", ("Hi Ada, I am fine.",)))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(ada.run("Hello Bob, it is me, Ada."), name="ada")
            group.create_task(bob.run(), name="bob")
            await asyncio.sleep(20)
            ada.end()
            bob.end()
        store.close()

    virtual_time.run(main())

    def replies(memory: RAMMemory) -> Iterator[str]:
        turns: tuple[Turn, ...] = memory.recall("other").turns
        return (turn.reply for turn in turns if turn.status is TurnStatus.COMPLETE)

    assert set(replies(memories[0])) == {"And how are you today?"}
    assert set(replies(memories[1])) == {"Hi Ada, I am fine."}
    assert len(list(replies(memories[0]))) >= 3


def test_a_recording_can_be_heard_faster_than_it_was_spoken() -> None:
    async def main() -> tuple[float, int]:
        now = asyncio.get_running_loop().time
        audio = TimedAudio(frames(tone(4, SAMPLE_RATE)), speed=4, tail=1)
        count = len([frame async for frame in audio.frames()])
        for _ in range(50):
            await audio.play(np.ones(480, np.int16))
        assert len(audio.recording()) == pytest.approx((4 + 1) * 24_000 + 50 * 480, abs=960)
        return now(), count

    seconds, count = virtual_time.run(main())
    assert count == 250
    assert seconds == pytest.approx((5 + 1) / 4, abs=0.05)
