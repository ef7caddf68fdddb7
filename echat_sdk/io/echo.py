"""What does not belong to the user's voice, taken out of what the microphone hears.

With WebRTC's audio processing (package livekit) the agent's echo is subtracted, and who speaks over
it is heard as if it were silent; steady noise can be taken out too. Without livekit a guard mutes
what is no louder than the echo.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import numpy as np
import soxr

from echat_sdk.audio import (
    FRAME_LEN,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.errors import AudioDeviceError
from echat_sdk.io.echo_guard import EchoGuard
from echat_sdk.io.wrapped import Wrapped
from echat_sdk.protocols import AudioIO

log = logging.getLogger(__name__)

Kind = Literal["auto", "cancel", "guard", "off"]
Noise = Literal["keep", "suppress"]

_STEP = SAMPLE_RATE // 100  # samples that WebRTC takes at once
_SLACK: Seconds = 0.06  # by which a device may take more than its latency before time


class EchoRemover(Protocol):
    """Takes an echo out of a sound, 20 ms at a time."""

    def clean(self, heard: Waveform, played: Waveform) -> Waveform:
        """What is heard without what is played.

        Args:
            heard: 20 ms, int16 at 16 kHz. Shape [S], S = 320.
            played: What began to be played at that time, the same form.
        """
        ...


def without_echo(audio: AudioIO, kind: Kind = "auto", noise: Noise = "keep") -> AudioIO:
    """The audio with the agent's voice, and steady noise if that is asked for, taken out.

    Suppression helps in a loud room. It also takes a little of the voice that cues are heard in.

    Args:
        audio: Microphone and speaker.
        kind: `cancel` subtracts the echo, `guard` mutes it; `auto` cancels where livekit is
            installed and guards where it is not; `off` leaves it in.
        noise: `suppress` takes steady noise out of what is heard; it needs livekit.

    Raises:
        AudioDeviceError: `cancel` or `suppress`, and livekit is not installed.
    """
    suppresses = noise == "suppress"
    if kind == "off":
        return NoiseSuppressed(audio) if suppresses else audio
    if kind == "guard":
        return EchoGuarded(audio, noise_suppression=suppresses)
    try:
        return EchoCancelled(audio, noise_suppression=suppresses)
    except AudioDeviceError:
        if kind == "cancel" or suppresses:
            raise
        log.info("livekit is not installed; the echo is muted, not cancelled")
        return EchoGuarded(audio)


def kind_of(audio: AudioIO) -> Literal["cancel", "guard", "off"]:
    """What is done about the echo in this audio."""
    match audio:
        case EchoCancelled():
            return "cancel"
        case EchoGuarded():
            return "guard"
        case _:
            return "off"


class _Cleaned(Wrapped):
    """An `AudioIO` whose frames go through removers, one after the other."""

    def __init__(self, audio: AudioIO, *removers: EchoRemover) -> None:
        super().__init__(audio)
        self._removers = removers
        self._played = Played()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, cleaned, 20 ms at a time.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        async for frame in self._audio.frames():
            samples, played = frame.samples, self._played.take()
            for remover in self._removers:
                samples = remover.clean(samples, played)
            yield AudioFrame(samples)

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the speaker; returns once it has room for more.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        self._played.put(samples, self._audio.output_rate, self._audio.latency)
        await self._audio.play(samples)

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        self._played.flush()
        self._audio.flush()


class EchoCancelled(_Cleaned):
    """An `AudioIO` in which the agent's voice is subtracted by WebRTC's canceller (AEC3).

    Args:
        audio: Microphone and speaker.
        noise_suppression: Whether steady noise is taken out as well.

    Raises:
        AudioDeviceError: the package livekit is not installed.
    """

    def __init__(self, audio: AudioIO, *, noise_suppression: bool = False) -> None:
        super().__init__(audio, WebRTCProcessing(noise_suppression=noise_suppression))


class EchoGuarded(_Cleaned):
    """An `AudioIO` in which nothing is heard while there is nothing but the agent's voice.

    Args:
        audio: Microphone and speaker.
        noise_suppression: Whether steady noise is taken out as well, behind the guard.

    Raises:
        AudioDeviceError: noise is to be suppressed, and livekit is not installed.
    """

    def __init__(self, audio: AudioIO, *, noise_suppression: bool = False) -> None:
        super().__init__(audio, EchoGuard(), *([_suppressor()] if noise_suppression else []))


class NoiseSuppressed(_Cleaned):
    """An `AudioIO` without steady noise; the agent's voice is left in.

    Args:
        audio: Microphone and speaker.

    Raises:
        AudioDeviceError: the package livekit is not installed.
    """

    def __init__(self, audio: AudioIO) -> None:
        super().__init__(audio, _suppressor())


class Played:
    """What the speaker has begun to play, at 16 kHz, in step with the microphone.

    The device takes a little ahead; here that waits as well, and goes on 20 ms with each frame that
    is heard. What comes out is therefore never later than its echo.
    """

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.int16)
        self._rate: Hertz = 0
        self._resampler: soxr.ResampleStream | None = None

    def put(self, samples: Waveform, rate: Hertz, latency: Seconds) -> None:
        """What the device is given; more than it can hold was heard already."""
        if rate != self._rate:
            self._rate = rate
            self._resampler = (
                None if rate == SAMPLE_RATE
                else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16", quality="LQ")
            )  # fmt: skip
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        most = round((latency + _SLACK) * SAMPLE_RATE)
        self._waiting = np.concatenate((self._waiting, samples))[-most:]

    def take(self) -> Waveform:
        """The next 20 ms; silence where nothing is played. Shape [S], S = 320."""
        piece, self._waiting = self._waiting[:FRAME_LEN], self._waiting[FRAME_LEN:]
        return np.pad(piece, (0, FRAME_LEN - len(piece)))

    def flush(self) -> None:
        """Drop what will not be heard; the next 20 ms may be on their way."""
        self._waiting = self._waiting[:FRAME_LEN]


class WebRTCProcessing:
    """WebRTC's audio processing, by the package livekit (Apache-2.0).

    Args:
        echo_cancellation: Whether what is played is subtracted.
        noise_suppression: Whether steady noise is taken out.

    Raises:
        AudioDeviceError: the package is not installed, or does not run here.
    """

    def __init__(self, *, echo_cancellation: bool = True, noise_suppression: bool = False) -> None:
        try:
            from livekit.rtc import AudioFrame as Buffer
            from livekit.rtc import AudioProcessingModule
        except (ImportError, OSError) as error:  # OSError: its library does not fit this system
            what, instead = (
                ("noise suppression", "--noise keep")
                if noise_suppression
                else ("echo cancellation", "--echo guard")
            )
            raise AudioDeviceError(
                f"{what} needs livekit; pip install 'echat-sdk[aec]', or use {instead}"
            ) from error
        self._buffer: Any = Buffer
        self._cancels = echo_cancellation
        self._processing: Any = AudioProcessingModule(
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            high_pass_filter=True,
        )

    def clean(self, heard: Waveform, played: Waveform) -> Waveform:
        """What is heard without what is played. Shapes [S], S = 320."""
        out = []
        try:
            for start in range(0, FRAME_LEN, _STEP):
                step = slice(start, start + _STEP)
                if self._cancels:
                    self._processing.process_reverse_stream(self._as_buffer(played[step]))
                near = self._as_buffer(heard[step])
                self._processing.process_stream(near)
                out.append(np.frombuffer(near.data, np.int16))
        except RuntimeError as error:
            raise AudioDeviceError(f"WebRTC's audio processing failed: {error}") from error
        return np.concatenate(out)

    def _as_buffer(self, samples: Waveform) -> Any:
        return self._buffer(bytearray(samples.tobytes()), SAMPLE_RATE, 1, _STEP)


def _suppressor() -> WebRTCProcessing:
    return WebRTCProcessing(echo_cancellation=False, noise_suppression=True)
