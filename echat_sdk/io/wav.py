"""Sound files in and out, under limits: a file is a stranger's bytes until it is samples.

What a header claims is checked before anything is decoded, and decoding goes block by block with a
running total: a few kilobytes of FLAC can hold hours of silence, and a header can claim anything.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import SAMPLE_RATE, Hertz, Seconds, Waveform, to_int16
from echat_sdk.errors import AudioError, AudioFormatError

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
MIN_RATE, MAX_RATE = 8_000, 192_000
MAX_CHANNELS = 8
MIN_SECONDS: Seconds = 0.1

_FORMATS = frozenset({"WAV", "WAVEX", "FLAC", "OGG", "MP3"})
_WANTED = "wanted is speech as WAV, FLAC, OGG or MP3"
_UNKNOWN_FRAMES = 2**48  # libsndfile says 2**63 - 1 where a stream does not tell its length
_HEAD_BYTES = 64 * 2**10
# What a read that meets damage loses is this much at most.
_BLOCK_FRAMES = 4096


def read_audio(path: str | Path, *, max_seconds: Seconds = 120.0) -> Waveform:
    """Read a sound file as the package hears it: mixed down to mono, resampled to 16 kHz.

    A file that is cut short or damaged further in is read as far as it goes; the log warns of it.

    Args:
        path: WAV, FLAC, OGG or MP3, at most 64 MiB, 8 to 192 kHz, at most 8 channels.
        max_seconds: The longest that is taken.

    Returns:
        int16 at 16 kHz. Shape [S].

    Raises:
        AudioFormatError: it is no such file, or not within these limits.
        AudioError: there is no such file, or it may not be read.
    """
    path = Path(path)
    size, head = _open_plain(path)
    return _read(path, path, size, head, max_seconds)


def read_audio_bytes(
    data: bytes, *, name: str = "the file", max_seconds: Seconds = 120.0
) -> Waveform:
    """As `read_audio`, of a file that came as bytes; no disk is touched.

    Args:
        data: The whole file.
        name: What messages call it.
        max_seconds: The longest that is taken.

    Returns:
        int16 at 16 kHz. Shape [S].

    Raises:
        AudioFormatError: it is no such file, or not within the limits.
    """
    if not data:
        raise AudioFormatError(f"{name} is empty; {_WANTED}")
    if len(data) > MAX_BYTES:
        raise _too_big(name, len(data))
    return _read(name, io.BytesIO(data), len(data), data[:_HEAD_BYTES], max_seconds)


def write_audio(path: str | Path, samples: Waveform, sample_rate: Hertz) -> None:
    """Write a 16-bit mono WAV. The file appears whole or not at all.

    Args:
        path: Where to; a file that is there is replaced.
        samples: int16. Shape [S].
        sample_rate: Samples a second.

    Raises:
        AudioError: the folder is not there, the disk is full, or writing is not allowed.
    """
    import soundfile

    assert samples.dtype == np.int16, f"samples of {samples.dtype}"
    assert samples.ndim == 1, f"samples of shape {samples.shape}"
    path = Path(path)
    body = io.BytesIO()
    soundfile.write(body, samples, sample_rate, format="WAV", subtype="PCM_16")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(body.getbuffer())  # a device or pipe, such as /dev/null
            return
        with part.open("wb") as file:
            file.write(body.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise AudioError(f"cannot write {path}: {_reason(error, path)}") from error


def check_writable(path: str | Path) -> None:
    """Look whether `write_audio` could write there, and leave no trace.

    Raises:
        AudioError: it could not, as far as can be told beforehand.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError
        if path.exists() and not path.is_file():
            return
        handle, scrap = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        os.close(handle)
        Path(scrap).unlink()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AudioError(f"cannot write {path}: {_reason(error, path)}") from error


@dataclass(frozen=True, slots=True)
class _WavHeader:
    """What a WAV file claims of itself.

    Attributes:
        end: Bytes that the file must have to hold what it claims.
    """

    rate: Hertz
    channels: int
    seconds: Seconds
    end: int


def _read(
    name: Path | str, source: Path | io.BytesIO, size: int, head: bytes, max_seconds: Seconds
) -> Waveform:
    _refuse_video(name, head)
    header = _wav_header(head)
    if header is not None:
        _check(name, header.rate, header.channels, header.seconds, max_seconds)
    samples, is_whole = _decode(name, source, max_seconds)
    is_whole = is_whole and (header is None or header.end <= size)
    seconds = len(samples) / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        what = "holds no sound" if seconds == 0 else f"holds only {seconds:.2f} s of sound"
        raise AudioFormatError(
            f"{name} {'' if is_whole else 'is cut short or damaged and '}{what}; "
            f"at least {MIN_SECONDS} s is wanted"
        )
    if not is_whole:
        logger.warning("%s is cut short or damaged; its first %.1f s are used", name, seconds)
    return samples


def _too_big(name: Path | str, size: int) -> AudioFormatError:
    return AudioFormatError(
        f"{name} has {size / 2**20:.0f} MiB; the limit is {MAX_BYTES >> 20} MiB"
    )


def _open_plain(path: Path) -> tuple[int, bytes]:
    """Size and first bytes of a plain file; anything else is refused, unopened."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioFormatError(f"{path} is a directory; {_WANTED}")
        if not stat.S_ISREG(status.st_mode):
            raise AudioFormatError(f"{path} is a device or pipe, not a file; {_WANTED}")
        if status.st_size == 0:
            raise AudioFormatError(f"{path} is empty; {_WANTED}")
        if status.st_size > MAX_BYTES:
            raise _too_big(path, status.st_size)
        with path.open("rb") as file:
            return status.st_size, file.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AudioError(f"cannot read {path}: {_reason(error, path)}") from error


def _reason(error: OSError | ValueError, path: Path) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError() if not path.parent.is_dir():
            return f"there is no folder {path.parent}"
        case FileNotFoundError():
            return "there is no such file"
        case PermissionError():
            return "no permission; check who owns it"
        case IsADirectoryError():
            return "it is a directory; give the name of a file"
        case OSError(strerror=str(why)):
            return why[:1].lower() + why[1:]
        case _:
            return str(error)


def _refuse_video(name: Path | str, head: bytes) -> None:
    brand = head[8:12]
    if head[4:8] == b"ftyp" and brand in (b"M4A ", b"M4B "):
        raise AudioFormatError(f"{name} is AAC sound in an MP4 file; convert it: {_WANTED}")
    starts = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
    is_avi = head[:4] == b"RIFF" and brand == b"AVI "
    if head[4:8] == b"ftyp" or is_avi or head.startswith(starts):
        raise AudioFormatError(f"{name} is a video file; take its sound out first: {_WANTED}")


def _wav_header(head: bytes) -> _WavHeader | None:
    """What a RIFF/WAVE header claims; None if the file is none, or its header is no use.

    libsndfile mends what it can and does not tell, so that a file that was cut short or forged
    would look whole.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, found = 12, None
    while at + 8 <= len(head):
        kind, length = struct.unpack_from("<4sI", head, at)
        if kind == b"fmt " and at + 24 <= len(head):
            found = struct.unpack_from("<HHII", head, at + 8)
        elif kind == b"data" and found is not None:
            _, channels, rate, bytes_a_second = found
            if length >= 2**32 - 2**16 or length == 0:  # "until the end", of a stream
                length = 0
            seconds = length / bytes_a_second if bytes_a_second else 0.0
            return _WavHeader(rate, channels, seconds, at + 8 + length)
        at += 8 + length + length % 2
    if found is None:
        return None
    return _WavHeader(found[2], found[1], 0.0, 0)


def _check(
    name: Path | str, rate: Hertz, channels: int, seconds: Seconds, max_seconds: Seconds
) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioFormatError(
            f"{name} claims {rate:,} samples a second; wanted are {MIN_RATE:,} to {MAX_RATE:,}"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioFormatError(f"{name} claims {channels} channels; wanted are 1 to {MAX_CHANNELS}")
    if seconds > max_seconds:
        raise AudioFormatError(
            f"{name} is {_clock(seconds)} long; the limit is {_clock(max_seconds)}"
        )


def _clock(seconds: Seconds) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,}:{rest:02}"


def _decode(
    name: Path | str, source: Path | io.BytesIO, max_seconds: Seconds
) -> tuple[Waveform, bool]:
    """The samples, and whether the file could be read to its end."""
    import soundfile
    import soxr

    try:
        file = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        raise AudioFormatError(
            f"{name} is not a sound file, or a damaged one; {_WANTED}"
        ) from error
    with file:
        if file.format not in _FORMATS:
            raise AudioFormatError(f"{name} is a file of the kind {file.format}; {_WANTED}")
        claimed = file.frames if file.frames < _UNKNOWN_FRAMES else 0
        _check(name, file.samplerate, file.channels, claimed / max(file.samplerate, 1), max_seconds)
        # Else a seek follows each block, and an MP3 decoder loses what it holds.
        file.seekable = lambda: False
        resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, dtype="float32")
        pieces: list[Waveform] = []
        frames, is_whole = 0, True
        while True:
            block, is_readable = _next_block(file)
            frames += len(block)
            if frames > max_seconds * file.samplerate:
                raise AudioFormatError(
                    f"{name} is longer than its header says; the limit is {_clock(max_seconds)}"
                )
            if not np.isfinite(block).all():
                raise AudioFormatError(
                    f"{name} holds samples that are no numbers (NaN, infinity); {_WANTED}"
                )
            mono = block.mean(axis=1) if file.channels > 1 else block[:, 0]
            is_last = not is_readable or len(block) == 0
            if file.samplerate != SAMPLE_RATE:
                mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=is_last)
            pieces.append(to_int16(mono))
            if is_last:
                is_whole = is_readable and frames >= claimed
                return np.concatenate(pieces), is_whole


def _next_block(file: Any) -> tuple[npt.NDArray[np.float32], bool]:
    """The next frames as float32 in [frames, channels], and whether reading on makes sense."""
    import soundfile

    try:
        block: npt.NDArray[np.float32] = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:  # damaged from here on
        return np.zeros((0, file.channels), np.float32), False
    return block, True
