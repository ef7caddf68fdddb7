"""Speech as the bytes of a sound file: as it is made where the format lets it, else at its end.

24 kHz mono whatever the model makes, since raw PCM has no header to say otherwise.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import numpy as np
import soundfile
import soxr

from echat_sdk.audio import Hertz, Waveform
from echat_sdk.server.rest.refusal import Refusal
from echat_sdk.turn import SpeechDelta

Format = Literal["wav", "pcm", "flac", "opus", "mp3"]

RATE: Hertz = 24_000
MEDIA_TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "mp3": "audio/mpeg",
}

_AT_ONCE: dict[Format, tuple[str, str]] = {  # as libsndfile calls them
    "flac": ("FLAC", "PCM_16"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
_UNTIL_THE_END = 2**32 - 1
_BLOCK = 2**16  # what is sent at once holds nobody else up


def check(name: Format) -> None:
    """Whether this format can be written here.

    Raises:
        Refusal: it cannot; says which can.
    """
    if not _can(name):
        able = ", ".join(each for each in get_args(Format) if _can(each))
        raise Refusal(
            400,
            f"{name} cannot be written here, libsndfile lacks it; there are {able}",
            param="response_format",
            code="unsupported",
        )


def _can(name: Format) -> bool:
    return name not in _AT_ONCE or bool(soundfile.check_format(*_AT_ONCE[name]))


def encoded(deltas: Iterable[SpeechDelta], name: Format) -> Iterator[bytes]:
    """The file, block by block; nothing where there is no speech. Runs in a worker's thread."""
    pieces = _at_24_khz(deltas)
    if name in _AT_ONCE:
        made = _whole(pieces, *_AT_ONCE[name])
    else:
        made = _as_it_comes(pieces, _wav_head() if name == "wav" else b"")
    for piece in made:
        for start in range(0, len(piece), _BLOCK):
            yield piece[start : start + _BLOCK]


def _at_24_khz(deltas: Iterable[SpeechDelta]) -> Iterator[Waveform]:
    resampler: Any = None
    for delta in deltas:
        if delta.sample_rate == RATE:
            yield delta.samples
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(delta.sample_rate, RATE, 1, dtype="int16")
        yield resampler.resample_chunk(delta.samples)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.int16), last=True)


def _as_it_comes(pieces: Iterable[Waveform], head: bytes) -> Iterator[bytes]:
    for samples in pieces:
        if len(samples):
            yield head + samples.astype("<i2").tobytes()
            head = b""


def _whole(pieces: Iterable[Waveform], kind: str, subtype: str) -> Iterator[bytes]:
    # FLAC and MP3 write their length into the head when all is there; without, players guess it.
    body, count = io.BytesIO(), 0
    with soundfile.SoundFile(
        body, "w", samplerate=RATE, channels=1, format=kind, subtype=subtype
    ) as file:
        for samples in pieces:
            file.write(samples)
            count += len(samples)
    if count:
        yield body.getvalue()


def _wav_head() -> bytes:
    """The head of a WAV that goes on until its stream ends."""
    size, width = _UNTIL_THE_END, 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * width, width, 8 * width)
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
