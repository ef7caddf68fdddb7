"""A real PortAudio on a virtual sound card: heard, spoken, unplugged and plugged in again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.echo import EchoCancelled, EchoGuarded
from echat_sdk.io.local import LocalAudio
from echat_sdk.io.portaudio import devices
from echat_sdk.io.wav import read_audio
from echat_sdk.protocols import AudioIO

SAD = Path(__file__).parents[3] / "examples/audio/sad.wav"

pytestmark = [pytest.mark.device, pytest.mark.timeout(60)]


def level(samples: Any) -> float:
    return float(np.sqrt(np.mean(np.concatenate(samples).astype(float) ** 2)))


async def hear(audio: LocalAudio, seconds: float) -> list[Any]:
    heard = []
    async for frame in audio.frames():
        heard.append(frame.samples)
        if len(heard) * 0.02 >= seconds:
            break
    return heard


async def test_what_is_played_into_the_card_is_heard_at_its_pace(sound_card: Any) -> None:
    async with LocalAudio() as audio:
        await hear(audio, 0.5)
        player = sound_card.start("paplay", "--device=question", str(SAD))
        begin = asyncio.get_running_loop().time()
        heard = await hear(audio, 4.0)
        took = asyncio.get_running_loop().time() - begin
        player.kill()
        player.wait()
    assert level(heard) > 300
    assert took == pytest.approx(4.0, abs=1.0)


async def test_what_is_said_comes_out_of_the_card_once_and_whole(
    sound_card: Any, tmp_path: Path
) -> None:
    recording = tmp_path / "answer.wav"
    recorder = sound_card.start(
        "parecord", "--device=answer.monitor", "--rate=16000", "--channels=1", str(recording)
    )
    async with LocalAudio() as audio:
        await hear(audio, 0.5)
        time = np.arange(audio.output_rate) / audio.output_rate
        tone = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
        begin = asyncio.get_running_loop().time()
        for start in range(0, len(tone), 480):
            await audio.play(tone[start : start + 480])
        took = asyncio.get_running_loop().time() - begin
        await hear(audio, 1.0)
    recorder.terminate()
    recorder.wait()
    said = np.abs(read_audio(recording).reshape(-1)) > 500
    assert said.sum() / 16_000 == pytest.approx(1.0, abs=0.1)
    assert took == pytest.approx(1.0, abs=0.5), "play returns at the pace of the device"


async def test_what_was_flushed_is_not_heard(sound_card: Any, tmp_path: Path) -> None:
    recording = tmp_path / "answer.wav"
    recorder = sound_card.start(
        "parecord", "--device=answer.monitor", "--rate=16000", "--channels=1", str(recording)
    )
    async with LocalAudio() as audio:
        await hear(audio, 0.5)
        loud = np.full(audio.output_rate // 50, 8000, np.int16)
        for _ in range(20):
            await audio.play(loud)
        audio.flush()
        await hear(audio, 1.0)
    recorder.terminate()
    recorder.wait()
    said = np.abs(read_audio(recording)) > 500
    assert said.sum() / 16_000 <= 0.42


async def test_an_unplugged_card_is_waited_for_and_conversation_goes_on(sound_card: Any) -> None:
    async with LocalAudio() as audio:
        await hear(audio, 0.5)
        sound_card.unplug()
        sound_card.plug()
        async with asyncio.timeout(30):
            assert len(await hear(audio, 1.0)) == 50
            await audio.play(np.zeros(480, np.int16))


async def test_a_card_that_does_not_come_back_is_told(sound_card: Any) -> None:
    async with asyncio.timeout(30), LocalAudio(patience=1.0) as audio:
        await hear(audio, 0.5)
        sound_card.unplug()
        with pytest.raises(AudioDeviceError, match="was lost for"):
            await hear(audio, 1.0)
        begin = asyncio.get_running_loop().time()
        with pytest.raises(AudioDeviceError, match="was lost for"):
            await audio.play(np.zeros(audio.output_rate, np.int16))
        assert asyncio.get_running_loop().time() - begin < 1.0, "nobody waits for it twice"
    sound_card.plug()


async def test_a_device_that_is_not_there_is_named_beside_those_that_are(sound_card: Any) -> None:
    assert {device.name for device in devices()} >= {"pulse"}
    with pytest.raises(AudioDeviceError, match=r"no microphone 'moon'; there are 'pulse'"):
        async with LocalAudio(microphone="moon"):
            pass


@pytest.mark.parametrize("wrap", [EchoCancelled, EchoGuarded])
async def test_the_agents_own_voice_is_taken_out_of_what_the_card_hears(
    sound_card: Any, wrap: Any
) -> None:
    sound_card.run(
        *("pactl", "load-module", "module-loopback"),
        *("source=answer.monitor", "sink=question", "latency_msec=60"),
    )
    voice = read_audio(SAD)

    async def converse(audio: AudioIO) -> list[float]:
        rate = audio.output_rate
        said = soxr.resample(voice, 16_000, rate)
        heard = []

        async def hear_it() -> None:
            async for frame in audio.frames():
                heard.append(frame.samples)

        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(hear_it(), name="hear")
            await asyncio.sleep(0.5)
            for start in range(0, len(said), rate // 50):
                await audio.play(said[start : start + rate // 50])
            hearing.cancel()
        return [level([frame]) for frame in heard[75:]]

    async def echo_of(wrap: Callable[[AudioIO], AudioIO]) -> float:
        # Half of the frames after the first second: a busy virtual card loses some sound now and
        # then, and what is lost cannot be subtracted. Where it gave hardly any it is asked again.
        for _ in range(3):
            async with LocalAudio() as audio:
                levels = await converse(wrap(audio))
            if len(levels) > 100:
                return float(np.median(levels))
        raise AssertionError("the card gave hardly any sound, three times")

    echo = await echo_of(lambda audio: audio)
    rest = await echo_of(wrap)
    assert echo > 100, "the card hears itself"
    assert 20 * np.log10(echo / (rest + 1)) > 15
