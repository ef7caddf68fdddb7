"""Keeps a conversation in a folder as it happens; `session.py` says what is in it.

A crash loses the last second. The disk is written in a thread of its own: one that is full or hangs
ends the recording, never the conversation. Nothing here asks for consent; who opens a recorder has
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import wave
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from echat_sdk.audio import (
    FRAME_LEN,
    FRAME_SECONDS,
    SAMPLE_RATE,
    AudioFrame,
    Hertz,
    Seconds,
    Waveform,
)
from echat_sdk.bridge import Worker
from echat_sdk.errors import AudioError
from echat_sdk.io.session import (
    AGENT,
    EVENTS,
    MOST_EVENT_BYTES,
    MOST_SECONDS,
    SETTINGS,
    USER,
    SessionSettings,
)
from echat_sdk.io.wrapped import Wrapped
from echat_sdk.protocols import AudioIO

log = logging.getLogger(__name__)

_WRITE_EVERY: Seconds = 1.0
_MOST_BEHIND = 30  # writes that a slow disk may be behind; then the recording ends
_CLOSING: Seconds = 2.0  # for the last writes
_GAP: Seconds = 0.5  # frames that were dropped on the way are filled with silence from here


class SessionRecorder(Wrapped):
    """An `AudioIO` that keeps what goes through it. Use it as an `async with` block.

    Args:
        audio: Microphone and speaker.
        folder: A new or empty folder; only its owner will be able to read what is kept there.
        settings: What the conversation runs with.

    Raises:
        AudioError: the folder holds something already, or cannot be written.
    """

    def __init__(self, audio: AudioIO, folder: Path, settings: SessionSettings) -> None:
        super().__init__(audio)
        self._files = _Files(folder, audio.output_rate, settings)
        self._disk = Worker("echat-record")
        self._handed = 0  # writes handed to the disk
        self._clock = asyncio.get_running_loop().time
        self._start: Seconds | None = None
        self._written_at: Seconds = 0.0
        self._heard: list[Waveform] = []  # not handed over yet: a second of it, as of the others
        self._frames = 0
        self._said: list[tuple[int, Waveform]] = []  # with where it begins
        self._said_until = self._silent_from = 0  # samples of the speaker
        self._events: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cut()
        self._write()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._disk.call(self._files.close)
        self._disk.abandon()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What is heard, 20 ms at a time, kept.

        Raises:
            AudioDeviceError: the microphone was lost and did not come back.
        """
        self._start = self._written_at = self._clock()
        async for frame in self._audio.frames():
            missing = round(self._at / FRAME_SECONDS) - 1 - self._frames
            if missing * FRAME_SECONDS >= _GAP:
                self._heard.append(np.zeros(missing * FRAME_LEN, np.int16))
                self._frames += missing
            self._heard.append(frame.samples)
            self._frames += 1
            if self._clock() - self._written_at >= _WRITE_EVERY:
                self._write()
            yield frame

    async def play(self, samples: Waveform) -> None:
        """Give the next piece to the speaker, and keep it where it is heard.

        Raises:
            AudioDeviceError: the speaker was lost and did not come back.
        """
        begin = max(self._said_until, round(self._at * self.output_rate))
        self._said.append((begin, samples))
        self._said_until = begin + len(samples)
        await self._audio.play(samples)

    def flush(self) -> None:
        """Drop what was given but cannot be heard yet."""
        self._cut()
        self._audio.flush()

    def tell(self, event: Mapping[str, Any]) -> None:
        """Keep an event, with the time that it has now."""
        line = json.dumps({"at": round(self._at, 3), **event})
        self._events.append(line.encode() + b"\n")

    @property
    def _at(self) -> Seconds:
        return 0.0 if self._start is None else self._clock() - self._start

    def _cut(self) -> None:
        """Forget what has not been heard."""
        now = round(self._at * self.output_rate)
        self._said = [(at, samples[: now - at]) for at, samples in self._said if at < now]
        self._said_until = min(self._said_until, now)

    def _write(self) -> None:
        """Hand over what is past; the disk is not waited for."""
        self._written_at = self._clock()
        now = round(self._at * self.output_rate)
        said = []
        while self._said and self._said[0][0] + len(self._said[0][1]) <= now:
            begin, samples = self._said.pop(0)
            said += [np.zeros(begin - self._silent_from, np.int16), samples]
            self._silent_from = begin + len(samples)
        if self._handed - self._files.taken < _MOST_BEHIND:
            self._handed += 1
            self._disk.submit(self._files.write, self._heard, said, self._events)
        else:
            self._files.end("the disk is too slow")
        self._heard, self._events = [], []


class _Files:
    """The files of a session; written in the recorder's thread.

    Attributes:
        taken: Writes that are done.
    """

    def __init__(self, folder: Path, rate: Hertz, settings: SessionSettings) -> None:
        self.taken = 0
        self._is_ended = False
        self._event_room = MOST_EVENT_BYTES
        self._sounds: list[tuple[wave.Wave_write, Any, float]] = []  # with their samples left
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise AudioError(f"{folder} is not empty; name a new folder for the recording")
            with _create(folder / SETTINGS) as file:
                file.write(settings.model_dump_json(indent=2).encode() + b"\n")
            self._events = _create(folder / EVENTS)
            for name, each in ((USER, SAMPLE_RATE), (AGENT, rate)):
                file = _create(folder / name)
                sound = wave.open(file, "wb")  # noqa: SIM115 - closed by `close`
                sound.setparams((1, 2, each, 0, "NONE", ""))
                self._sounds.append((sound, file, MOST_SECONDS * each))
        except OSError as error:
            raise AudioError(f"cannot record into {folder}: {error.strerror}") from error

    def end(self, why: str) -> None:
        """Record no more, and log why."""
        if not self._is_ended:
            self._is_ended = True
            log.warning("the recording ends here: %s", why)

    def write(self, heard: list[Waveform], said: list[Waveform], events: list[bytes]) -> None:
        """Add to the files, as far as the limits and the disk allow."""
        self.taken += 1
        if self._is_ended:
            return
        try:
            for (sound, _, most), pieces in zip(self._sounds, (heard, said), strict=True):
                samples = np.concatenate([np.zeros(0, np.int16), *pieces])
                if sound.tell() + len(samples) > most:
                    self.end(f"it is {MOST_SECONDS / 60:.0f} minutes long")
                    return
                # Mends the header each time, which flushes the file as well.
                sound.writeframes(samples.astype("<i2").tobytes())
            for line in events:
                self._event_room -= len(line)
                if self._event_room >= 0:
                    self._events.write(line)
            self._events.flush()
        except OSError as error:
            self.end(error.strerror or type(error).__name__)

    def close(self) -> None:
        """Close the files."""
        for sound, file, _ in self._sounds:
            for each in (sound, file):
                with contextlib.suppress(OSError):  # it was told by `write`
                    each.close()
        with contextlib.suppress(OSError):
            self._events.close()


def _create(path: Path) -> Any:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "wb")
