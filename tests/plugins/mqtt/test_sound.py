"""A device's line and speaker on virtual time, and the face that moves with them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_plugins.mqtt.affect import Face
from echat_plugins.mqtt.frame import Codec, Frame, FrameError
from echat_plugins.mqtt.line import GAP, MOST_HEARD, Line
from echat_plugins.mqtt.messages import Affect, Flush, Sound, new_id
from echat_plugins.mqtt.microphone import Microphone
from echat_plugins.mqtt.speaker import MOST_HELD, STEP, Speaker
from echat_sdk.audio import FRAME_LEN, AudioFrame, Waveform
from echat_sdk.playout import Player
from echat_sdk.protocols import AudioIO
from echat_sdk.testing import virtual_time
from echat_sdk.turn import SpeechDelta

RATE = 24_000
AHEAD, HOLD = 0.12, 0.08


def tone(seconds: float, rate: int = RATE) -> Waveform:
    return (8000 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)).astype(
        np.int16
    )


@dataclass
class Wire:
    """A line and a speaker, and a network between them that loses and delays."""

    sound: Sound = field(default_factory=Sound)
    loss: float = 0.0
    jitter: float = 0.0
    seed: int = 0
    played: list[tuple[float, Waveform]] = field(default_factory=list)
    shown: list[tuple[float, Affect]] = field(default_factory=list)
    flushed: list[tuple[int, int]] = field(default_factory=list)
    sent: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.luck = random.Random(self.seed)
        self.face, self.speaker = Face(), Speaker(self.sound)
        self.line = Line(
            self.sound,
            hears=7,
            send=self._send,
            on_play=lambda samples, at: self.face.play(samples, RATE, at),
            on_flush=self._flush,
            ahead=AHEAD,
            reorder=0.08,
        )
        self.speaker.begin(self.line.says)

    def _send(self, payload: bytes) -> None:
        self.sent.append(Frame.parse(payload))
        if self.luck.random() >= self.loss:
            self.loop.call_later(self.luck.uniform(0, self.jitter), self.speaker.take, payload)

    def _flush(self, first: int, end: int) -> None:
        self.flushed.append((first, end))
        self.face.drop(self.loop.time())
        flush = Flush(id=new_id(), stream=self.line.says, first=first, end=end)
        self.loop.call_later(self.luck.uniform(0, self.jitter), self.speaker.flush, flush)

    async def listen(self) -> None:
        """Play, look, and be told how the face is, as a robot does."""
        due = self.loop.time()
        while True:
            self.played.append((self.loop.time(), self.speaker.pull()))
            frame = self.face.frame(self.loop.time(), self.line.timestamp)
            if frame is not None:
                self.speaker.show(frame)
            if (affect := self.speaker.affect) is not None:
                self.shown.append((self.loop.time(), affect))
            due += 0.02
            await asyncio.sleep(due - self.loop.time())

    def heard(self) -> Waveform:
        return np.concatenate([samples for _, samples in self.played])

    def voiced(self) -> list[float]:
        """When something was heard."""
        return [at for at, samples in self.played if np.abs(samples).max() > 500]


def run(
    script: Callable[[Wire, Player], Coroutine[Any, Any, None]], then: float = 1.0, **more: Any
) -> Wire:
    wires: list[Wire] = []

    async def main() -> None:
        wire = Wire(**more)
        wires.append(wire)
        player = Player(wire.line)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(wire.listen(), name="robot"),
                group.create_task(player.run(), name="player"),
            ]
            await script(wire, player)
            await asyncio.sleep(then)
            for task in tasks:
                task.cancel()
        wire.speaker.close()
        await wire.line.close()
        await wire.line.close()

    virtual_time.run(main())
    return wires[0]


async def says(player: Player, *seconds: float) -> None:
    player.begin()
    for each in seconds:
        await player.say(SpeechDelta(tone(each), RATE, "word"))
    player.finish()
    await player.spoken()


@pytest.mark.parametrize("length", [20, 60])
def test_what_is_played_is_heard_whole_and_in_time(length: int) -> None:
    async def script(wire: Wire, player: Player) -> None:
        await asyncio.sleep(1.0)
        await says(player, 0.5, 0.51)
        assert asyncio.get_running_loop().time() == pytest.approx(2.01 + HOLD, abs=0.15)

    wire = run(script, sound=Sound(frame_ms=length))  # type: ignore[arg-type]
    loud = np.abs(wire.heard()) > 0
    assert loud.sum() == pytest.approx(
        (np.abs(tone(0.5)) > 0).sum() + (np.abs(tone(0.51)) > 0).sum()
    )
    voiced = wire.voiced()
    assert voiced[0] == pytest.approx(1.0 + HOLD, abs=0.03)
    assert max(np.diff(voiced)) <= 0.021
    assert wire.speaker.lost == wire.speaker.dropped == wire.speaker.faults == 0


@pytest.mark.parametrize("length", [20, 60])
def test_no_more_is_sent_ahead_than_may_be(length: int) -> None:
    async def script(wire: Wire, player: Player) -> None:
        await says(player, 3.0)

    wire = run(script, sound=Sound(frame_ms=length))  # type: ignore[arg-type]
    assert len(wire.sent) == pytest.approx(3000 / length, abs=1)
    assert [frame.sequence for frame in wire.sent] == list(range(len(wire.sent)))
    stamps = [frame.timestamp for frame in wire.sent]
    assert set(np.diff(stamps)) == {length}


@settings(max_examples=25)
@given(
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.sampled_from([0.0, 0.05]),
    st.sampled_from(["pcm16", "opus"]),
)
def test_over_a_bad_network_the_face_is_in_step_with_the_sound(
    seed: int, loss: float, jitter: float, codec: str
) -> None:
    async def script(wire: Wire, player: Player) -> None:
        for _ in range(3):
            await asyncio.sleep(0.513)
            await says(player, 0.6)

    form = Sound.model_validate({"codec": codec})
    wire = run(script, seed=seed, loss=loss, jitter=jitter, sound=form)
    # Each mouth that opens does so within 80 ms of the sound, and so does each that shuts.
    at = np.array([moment for moment, _ in wire.shown])
    opened = np.array([affect.mouth > 0.3 for _, affect in wire.shown])
    voiced = np.array(wire.voiced())
    began = at[1:][opened[1:] & ~opened[:-1]]
    ended = at[1:][~opened[1:] & opened[:-1]]
    first = voiced[np.r_[True, np.diff(voiced) > 0.3]]
    last = voiced[np.r_[np.diff(voiced) > 0.3, True]] + 0.02
    assert len(began) == len(first) == 3
    # What is lost at an edge is silence there: the mouth then moves with what was meant.
    slack = 0.08 if loss == 0 else 0.12
    assert np.abs(began - first).max() <= slack
    assert np.abs(ended - last).max() <= slack
    share = len(voiced) * 0.02 / 1.8
    assert share == pytest.approx(1 - loss, abs=0.12)


def test_who_is_interrupted_is_silent_at_once_and_speaks_again() -> None:
    at: list[float] = []

    async def script(wire: Wire, player: Player) -> None:
        player.begin()
        await player.say(SpeechDelta(tone(3.0), RATE, "word"))
        await asyncio.sleep(1.0)
        player.stop()
        at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.5)
        await says(player, 0.3)

    wire = run(script, jitter=0.03)
    first, end = wire.flushed[0]
    assert len(wire.flushed) == 1
    assert end == len([frame for frame in wire.sent if frame.timestamp < 1300])
    assert 0 < (end - first) * 0.02 <= AHEAD + HOLD + 0.02
    voiced = np.array(wire.voiced())
    before, after = voiced[voiced < at[0] + 0.45], voiced[voiced > at[0] + 0.45]
    assert before.max() <= at[0] + 0.04
    assert len(after) * 0.02 == pytest.approx(0.3, abs=0.021)
    shut = [affect.mouth for moment, affect in wire.shown if at[0] + 0.15 < moment < at[0] + 0.4]
    assert set(shut) == {0.0}


def test_a_stream_begins_anew_when_a_device_comes_back() -> None:
    async def script(wire: Wire, player: Player) -> None:
        await says(player, 0.5)
        before = wire.line.says
        wire.line.adapt(Sound(), 8)
        assert wire.line.says != before
        wire.speaker.begin(wire.line.says)
        await says(player, 0.5)

    wire = run(script)
    assert len(wire.voiced()) * 0.02 == pytest.approx(1.0, abs=0.05)
    assert [frame.sequence for frame in wire.sent].count(0) == 2


def test_a_speaker_holds_only_so_much() -> None:
    async def main() -> None:
        speaker = Speaker(Sound())
        speaker.begin(1)
        for n in range(500):
            frame = Frame(Codec.PCM16, 20, 1, n, 20 * n, tone(0.02).tobytes())
            speaker.take(frame.render())
        assert len(speaker._held) * 0.02 == MOST_HELD
        speaker.take(b"nonsense")
        speaker.take(Frame(Codec.PCM16, 20, 2, 500, 0, tone(0.02).tobytes()).render())
        speaker.take(Frame(Codec.PCM16, 20, 1, 500, 0, b"short").render())
        assert speaker.faults == 3
        assert len(speaker.pull()) == STEP

    virtual_time.run(main())


# --- from the device ------------------------------------------------------------------------------


def hears(
    wire: Wire, arrivals: list[tuple[float, bytes]], seconds: float
) -> Coroutine[Any, Any, list[AudioFrame]]:
    async def main() -> list[AudioFrame]:
        heard: list[AudioFrame] = []
        for at, payload in arrivals:
            wire.loop.call_later(at, wire.line.take, payload)

        async def listen() -> None:
            async for frame in wire.line.frames():
                heard.append(frame)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(listen(), name="agent")
            await asyncio.sleep(seconds)
            task.cancel()
        await wire.line.close()
        return heard

    return main()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([20, 60]), st.sampled_from(["pcm16", "opus"]))
def test_a_microphone_is_heard_in_order_whatever_the_network_does(
    seed: int, length: int, codec: str
) -> None:
    async def main() -> None:
        sound = Sound.model_validate({"codec": codec, "frame_ms": length})
        wire, luck = Wire(sound), random.Random(seed)
        microphone, arrivals, now = Microphone(sound, 7), [], 0.0
        ramp = np.arange(16_000, dtype=np.int16)
        for start in range(0, 16_000, 500):
            now += 500 / 16_000
            for payload in microphone.frames(ramp[start : start + 500]):
                for _ in range(luck.choice([1, 1, 1, 2])):
                    arrivals.append((now + luck.uniform(0, 0.05), payload))
        heard = await hears(wire, arrivals, 1.15)
        samples = np.concatenate([frame.samples for frame in heard])
        whole = 16_000 // (16 * length) * 16 * length
        if codec == "pcm16":
            assert (samples[:whole] == ramp[:whole]).all()
        assert wire.line.lost == 0
        assert wire.line.dropped == len(arrivals) - whole // (16 * length)

    virtual_time.run(main())


def test_a_microphone_that_pauses_is_silent_and_then_the_line_waits() -> None:
    async def main() -> None:
        wire = Wire()
        (payload,) = Microphone(Sound(), 7).frames(tone(0.02, 16_000))
        heard = await hears(wire, [(0.5, payload)], 20.0)
        assert isinstance(wire.line, AudioIO)
        assert heard[0].samples.any()
        assert not any(frame.samples.any() for frame in heard[1:])
        assert (len(heard) - 1) * 0.02 == pytest.approx(6.0, abs=GAP)

    virtual_time.run(main())


def test_frames_that_nobody_takes_are_dropped_the_oldest_first() -> None:
    async def main() -> None:
        wire, microphone = Wire(), Microphone(Sound(), 7)
        for n in range(100):
            (payload,) = microphone.frames(np.full(FRAME_LEN, n, np.int16))
            wire.line.take(payload)
        heard = await hears(wire, [], 0.1)
        assert [frame.samples[0] for frame in heard[:MOST_HEARD]] == list(range(75, 100))

    virtual_time.run(main())


def test_a_frame_of_another_stream_or_form_is_refused() -> None:
    async def main() -> None:
        wire = Wire()
        for frame in (
            Frame(Codec.PCM16, 20, 8, 0, 0, bytes(640)),
            Frame(Codec.PCM16, 60, 7, 0, 0, bytes(1920)),
            Frame(Codec.OPUS, 20, 7, 0, 0, bytes(64)),
        ):
            with pytest.raises(FrameError):
                wire.line.take(frame.render())
        wire.line.take(Frame(Codec.PCM16, 20, 7, 0, 0, b"short").render())
        assert wire.line.faults == 1
        await wire.line.close()

    virtual_time.run(main())
