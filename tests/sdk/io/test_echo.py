"""The agent's voice is taken out of what is heard; who speaks over it is left in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Waveform, frames
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.echo import (
    EchoCancelled,
    EchoGuarded,
    Kind,
    NoiseSuppressed,
    Played,
    kind_of,
    without_echo,
)
from echat_sdk.io.timed import TimedAudio
from echat_sdk.io.wav import read_audio
from echat_sdk.overlap import Act, OverlapJudge
from echat_sdk.protocols import AudioIO
from echat_sdk.testing.virtual_time import run
from echat_sdk.vad import open_vad

AUDIO = Path(__file__).parents[3] / "examples/audio"
AGENT = np.concatenate([read_audio(AUDIO / f"{name}.wav") for name in ("news", "happy")])[:80_000]
NEAR = read_audio(AUDIO / "sad.wav")
BEGINS, NEAR_AT = 0.3, 2.6

Wrap = Callable[[AudioIO], AudioIO]


def level(samples: Any) -> float:
    return float(np.sqrt(np.mean(np.asarray(samples, float) ** 2)))


def converse(make_room: Any, wrap: Wrap, decibels: float, *, near: float | None = None) -> Any:
    """Let the agent speak, and somebody over it from `NEAR_AT`.

    Args:
        near: How much louder than the echo they are, in dB; None for nobody.

    Returns:
        The echo, and what is heard.
    """
    seconds = BEGINS + len(AGENT) / SAMPLE_RATE
    beside = np.zeros(round(seconds * SAMPLE_RATE))
    if near is not None:
        louder = 10 ** ((decibels + near) / 20) * level(AGENT) / level(NEAR)
        piece = NEAR[: len(beside) - round(NEAR_AT * SAMPLE_RATE)] * louder
        beside[round(NEAR_AT * SAMPLE_RATE) :][: len(piece)] = piece
    room = make_room(beside, seconds=seconds, decibels=decibels, delay=0.08)
    audio = wrap(room)
    heard: list[Waveform] = []

    async def speak() -> None:
        await asyncio.sleep(BEGINS)
        for start in range(0, len(AGENT), 320):
            await audio.play(AGENT[start : start + 320])

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(speak())
            async for frame in audio.frames():
                heard.append(frame.samples)

    run(main())
    return room.echo, np.concatenate(heard)


def pauses(heard: Waveform) -> list[float]:
    """When an agent that goes on speaking would have paused for somebody."""
    vad, judge, found = open_vad("silero"), OverlapJudge(), []
    for at in range(0, len(heard), 320):
        is_speech = vad.is_speech(AudioFrame(heard[at : at + 320]))
        acts = list(judge.push(is_speech)) if at / SAMPLE_RATE >= BEGINS else []
        if Act.PAUSE in acts:
            found.append(at / SAMPLE_RATE)
            judge.begin()
    return found


@pytest.mark.parametrize("decibels", [-6, -12, -20])
@pytest.mark.parametrize("wrap", [EchoCancelled, EchoGuarded])
def test_the_agent_does_not_interrupt_itself(
    echoing_room: Any, wrap: Wrap, decibels: float
) -> None:
    _, heard = converse(echoing_room, wrap, decibels)
    assert pauses(heard) == []


def test_without_either_it_would(echoing_room: Any) -> None:
    _, heard = converse(echoing_room, lambda audio: audio, -20)
    assert pauses(heard)


@pytest.mark.parametrize("wrap", [EchoCancelled, EchoGuarded])
def test_who_speaks_over_the_agent_is_heard(echoing_room: Any, wrap: Wrap) -> None:
    _, heard = converse(echoing_room, wrap, -12, near=6)
    assert NEAR_AT < pauses(heard)[0] < NEAR_AT + 1.2


def test_webrtc_takes_the_echo_down_by_20_decibels(echoing_room: Any) -> None:
    echo, heard = converse(echoing_room, EchoCancelled, -6)
    spoken = slice(round((BEGINS + 1) * SAMPLE_RATE), None)
    assert 20 * np.log10(level(echo[spoken]) / level(heard[spoken])) > 20


@pytest.mark.parametrize("wrap", [EchoCancelled, EchoGuarded])
def test_who_speaks_while_the_agent_does_not_is_left_as_they_are(wrap: Wrap) -> None:
    async def main() -> list[Waveform]:
        audio = wrap(TimedAudio(frames(NEAR)))
        return [frame.samples async for frame in audio.frames()]

    heard = np.concatenate(run(main()))[: len(NEAR)]
    # WebRTC's filters shift the phase and drop what is below 80 Hz: compared are levels over time.
    steps = len(NEAR) // 800
    before, after = (x[: steps * 800].reshape(steps, 800).astype(float) for x in (NEAR, heard))
    before, after = (np.sqrt(np.mean(x**2, axis=1)) for x in (before, after))
    assert np.corrcoef(before, after)[0, 1] > 0.97
    assert 20 * np.log10(level(heard) / level(NEAR)) == pytest.approx(0, abs=1.5)


def test_what_is_played_comes_in_step_with_what_is_heard() -> None:
    played = Played()
    assert not played.take().any()
    played.put(np.full(640, 5, np.int16), SAMPLE_RATE, 0.1)
    assert (played.take() == 5).all()
    played.flush()
    assert (played.take() == 5).all(), "these 20 ms may be on their way"
    assert not played.take().any()


def test_what_was_flushed_is_not_looked_for_in_what_is_heard() -> None:
    played = Played()
    played.put(np.full(1600, 5, np.int16), SAMPLE_RATE, 0.1)
    played.flush()
    assert np.concatenate([played.take() for _ in range(5)]).sum() == 320 * 5


def test_sound_of_any_rate_is_resampled_without_seams() -> None:
    played, rate = Played(), 24_000
    time = np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    out = []
    for start in range(0, len(tone), 480):
        played.put(tone[start : start + 480], rate, 0.1)
        out.append(played.take())
    spectrum = np.abs(np.fft.rfft(np.concatenate(out)[3200:]))
    assert spectrum.argmax() == 440 * 12_800 // SAMPLE_RATE
    assert np.sort(spectrum)[-20:].sum() > 0.9 * spectrum.sum()


def test_frames_that_were_lost_do_not_make_it_late_for_ever() -> None:
    played = Played()
    for _ in range(100):  # two seconds, and nobody listens
        played.put(np.full(320, 5, np.int16), SAMPLE_RATE, 0.1)
    waiting = 0
    while played.take().any():
        waiting += 1
    assert waiting * 0.02 <= 0.1 + 0.06


def test_without_the_package_the_echo_is_guarded_and_cancelling_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    audio = TimedAudio()
    assert kind_of(without_echo(audio)) == "guard"
    with pytest.raises(AudioDeviceError, match=r"pip install 'echat-sdk\[aec\]'"):
        without_echo(audio, "cancel")


def test_with_the_package_it_is_cancelled() -> None:
    audio = TimedAudio()
    assert kind_of(without_echo(audio)) == "cancel"
    assert kind_of(without_echo(audio, "guard")) == "guard"
    assert without_echo(audio, "off") is audio
    assert isinstance(without_echo(audio), AudioIO)


def heard_through(audio: AudioIO) -> Waveform:
    async def main() -> list[Waveform]:
        return [frame.samples async for frame in audio.frames()]

    return np.concatenate(run(main()))


@pytest.mark.parametrize("kind", ["off", "cancel", "guard"])
def test_noise_at_10_decibels_is_taken_out_and_the_voice_stays(kind: Kind) -> None:
    lead = 2 * SAMPLE_RATE  # of noise alone, before the voice
    voice = np.concatenate((np.zeros(lead, np.int16), NEAR))
    beside = np.random.default_rng(0).standard_normal(len(voice)) * level(NEAR) / 10**0.5
    loud = np.clip(voice + beside, -32768, 32767).astype(np.int16)
    heard = heard_through(without_echo(TimedAudio(frames(loud)), kind, "suppress"))[: len(loud)]
    alone = slice(SAMPLE_RATE, lead)
    assert 20 * np.log10(level(loud[alone]) / level(heard[alone])) >= 10
    assert 20 * np.log10(level(heard[lead:]) / level(NEAR)) == pytest.approx(0, abs=1.5)
    steps = len(NEAR) // 800
    before, after = (x[lead:][: steps * 800].reshape(steps, 800) for x in (voice, heard))
    before, after = (np.sqrt(np.mean(x.astype(float) ** 2, axis=1)) for x in (before, after))
    assert np.corrcoef(before, after)[0, 1] > 0.9


def test_noise_is_kept_unless_it_is_asked_for() -> None:
    audio = TimedAudio()
    assert without_echo(audio, "off", "keep") is audio
    suppressed = without_echo(audio, "off", "suppress")
    assert isinstance(suppressed, NoiseSuppressed)
    assert kind_of(suppressed) == "off"
    assert kind_of(without_echo(audio, "guard", "suppress")) == "guard"


@pytest.mark.parametrize("kind", ["auto", "cancel", "guard", "off"])
def test_without_the_package_suppressing_noise_says_what_to_install(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    with pytest.raises(
        AudioDeviceError, match=r"noise suppression needs livekit; pip install 'echat-sdk\[aec\]'"
    ):
        without_echo(TimedAudio(), kind, "suppress")
