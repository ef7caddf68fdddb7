from __future__ import annotations

import errno
import io
import logging
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.audio import SAMPLE_RATE, Waveform
from echat_sdk.errors import AudioError, AudioFormatError
from echat_sdk.io.wav import read_audio, read_audio_bytes, write_audio

AUDIO = Path(__file__).parents[3] / "examples/audio"


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> Waveform:
    time = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hertz * time) * 10_000).astype(np.int16)


def file_bytes(samples: Waveform, rate: int = SAMPLE_RATE, kind: str = "WAV") -> bytearray:
    body = io.BytesIO()
    soundfile.write(body, samples, rate, format=kind)
    return bytearray(body.getvalue())


def with_field(at: int, layout: str, value: int) -> bytes:
    """A good WAV with one field of its header overwritten."""
    body = file_bytes(tone(1.0))
    struct.pack_into(layout, body, at, value)
    return bytes(body)


def refusal(path: Path) -> str:
    with pytest.raises(AudioError) as raised:
        read_audio(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@given(st.binary(min_size=2, max_size=600).filter(lambda body: len(body) % 2 == 0))
@settings(max_examples=50, deadline=None)
def test_what_is_written_at_16_khz_is_read_back_sample_for_sample(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "law.wav"
    samples = np.resize(np.frombuffer(body, np.int16), 1600 + len(body))
    write_audio(path, samples, SAMPLE_RATE)
    assert np.array_equal(read_audio(path), samples)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_any_rate_and_kind_comes_out_at_16_khz_with_its_tone(
    tmp_path: Path, kind: str, rate: int
) -> None:
    (tmp_path / "in").write_bytes(file_bytes(tone(1.0, rate), rate, kind))
    samples = read_audio(tmp_path / "in")
    assert samples.dtype == np.int16
    assert abs(len(samples) - SAMPLE_RATE) <= 2
    spectrum = np.abs(np.fft.rfft(samples[:SAMPLE_RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert np.abs(samples).max() == pytest.approx(10_000, rel=0.05)


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    left, silent = tone(0.5), np.zeros(8000, np.int16)
    soundfile.write(tmp_path / "st.wav", np.stack([left, silent], axis=1), SAMPLE_RATE)
    assert np.abs(read_audio(tmp_path / "st.wav") - left / 2).max() <= 1


def test_sound_louder_than_full_scale_is_clipped_not_wrapped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "f.wav", np.full(4000, 1.7, np.float32), SAMPLE_RATE, "FLOAT")
    assert np.all(read_audio(tmp_path / "f.wav") == 32767)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"hello, this is a letter" * 50, "not a sound file"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "not a sound file"),
        (np.random.default_rng(0).bytes(20_000), "not a sound file"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(200), "is a video file"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "is a video file"),
        (b"\x00\x00\x00\x18ftypM4A " + bytes(200), "AAC"),
        (with_field(24, "<I", 0), "claims 0 samples a second; wanted are 8,000 to 192,000"),
        (with_field(24, "<I", 1), "claims 1 samples a second"),
        (with_field(24, "<I", 2**31), "claims 2,147,483,648 samples a second"),
        (with_field(22, "<H", 64), "claims 64 channels; wanted are 1 to 8"),
        (with_field(22, "<H", 0), "claims 0 channels"),
        (bytes(file_bytes(tone(0.0))), "holds no sound"),
        (bytes(file_bytes(tone(0.05))), "holds only 0.05 s of sound; at least 0.1 s"),
        (bytes(file_bytes(tone(1.0))[:2000]), "cut short or damaged and holds only 0.06 s"),
        (bytes(file_bytes(tone(1800.0, 8000), 8000)), "is 30:00 long; the limit is 2:00"),
        (bytes(file_bytes(tone(1.0), kind="AIFF")), "of the kind AIFF"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_bad_file_is_refused_in_one_plain_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(content)
    assert told in refusal(path)


def test_no_file_no_folder_a_folder_and_a_pipe_are_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no such file" in refusal(tmp_path / "none.wav")
    assert "no folder" in refusal(tmp_path / "none" / "in.wav")
    assert "is a directory" in refusal(tmp_path)
    assert "device or pipe" in refusal(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.wav").write_bytes(file_bytes(tone(1.0)))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, who runs many tests, may read anything
    assert "no permission" in refusal(tmp_path / "in.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    samples = np.zeros(16_000, np.float32)
    samples[-1] = value
    soundfile.write(tmp_path / "in.wav", samples, SAMPLE_RATE, "FLOAT")
    assert "NaN" in refusal(tmp_path / "in.wav")


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_file_cut_short_is_read_as_far_as_it_goes_and_the_log_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    whole = np.random.default_rng(2).integers(-9000, 9000, 32_000).astype(np.int16)
    body = file_bytes(whole, kind=kind)
    (tmp_path / "in").write_bytes(body[: len(body) // 2])
    with caplog.at_level(logging.WARNING):
        samples = read_audio(tmp_path / "in")
    assert 7_000 < len(samples) <= 16_000
    assert np.array_equal(samples, whole[: len(samples)])
    assert "cut short" in caplog.text


def test_two_minutes_are_taken_and_a_second_more_is_not(tmp_path: Path) -> None:
    write_audio(tmp_path / "in.wav", tone(120.0), SAMPLE_RATE)
    assert len(read_audio(tmp_path / "in.wav")) == 120 * SAMPLE_RATE
    write_audio(tmp_path / "in.wav", tone(121.0), SAMPLE_RATE)
    assert "is 2:01 long" in refusal(tmp_path / "in.wav")


def flac_of_silence(seconds: int, claimed: int) -> bytes:
    """FLAC whose header claims a number of samples; 0 is "not known"."""
    body = file_bytes(np.zeros(seconds * 8000, np.int16), 8000, "FLAC")
    body[21] = body[21] & 0xF0 | claimed >> 32
    struct.pack_into(">I", body, 22, claimed & 0xFFFFFFFF)
    return bytes(body)


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        (3600 * 8000, "is 60:00 long"),
        (2**36 - 1, "the limit is 2:00"),
        (0, "longer than its header says; the limit is 2:00"),
        (8000, ""),
    ],
)
def test_an_hour_of_silence_in_few_bytes_fills_no_memory(
    tmp_path: Path, claimed: int, told: str
) -> None:
    path = tmp_path / "bomb.flac"
    path.write_bytes(flac_of_silence(3600, claimed))
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if told:
        assert told in refusal(path)
    else:  # libsndfile reads no further than the header says
        assert len(read_audio(path)) <= 2 * SAMPLE_RATE
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB


def test_a_file_of_more_than_64_mib_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "big.wav"
    path.write_bytes(b"RIFF")
    os.truncate(path, 65 * 2**20)
    assert "has 65 MiB; the limit is 64 MiB" in refusal(path)


@given(
    kind=st.sampled_from(["WAV", "FLAC"]),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    length=st.floats(0.0, 1.0),
    near_head=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_mangled_file_gives_samples_or_an_audio_error(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    edits: list[tuple[int, int]],
    length: float,
    near_head: bool,
) -> None:
    body = file_bytes(tone(0.3), kind=kind)
    for at, value in edits:
        body[at % (60 if near_head else len(body))] = value
    path = tmp_path_factory.getbasetemp() / "mangled"
    path.write_bytes(body[: int(len(body) * length)] if length < 0.5 else body)
    try:
        samples = read_audio(path)
    except AudioError:
        return
    assert samples.dtype == np.int16
    assert samples.size >= SAMPLE_RATE // 10


def test_a_file_is_replaced_whole_and_leaves_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_text("old")
    write_audio(path, tone(0.2, 24_000), 24_000)
    assert soundfile.info(path).samplerate == 24_000
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]


def test_a_full_disk_leaves_the_old_file_and_no_scrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.wav"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match=r"cannot write .*out\.wav: no space left on device"):
        write_audio(path, tone(0.2), SAMPLE_RATE)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]


def test_where_nothing_can_be_written_it_is_said_why(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="there is no folder"):
        write_audio(tmp_path / "none" / "out.wav", tone(0.2), SAMPLE_RATE)
    with pytest.raises(AudioError, match="it is a directory"):
        write_audio(tmp_path, tone(0.2), SAMPLE_RATE)
    with pytest.raises(AudioError, match="no space left"):
        write_audio("/dev/full", tone(0.2), SAMPLE_RATE)


def test_a_format_error_is_an_audio_error() -> None:
    assert issubclass(AudioFormatError, AudioError)


@given(st.integers(0, 400), st.binary(max_size=8), st.integers(0, 2000))
@settings(max_examples=100)
def test_bytes_are_read_as_a_file_of_them_is(
    tmp_path_factory: pytest.TempPathFactory, at: int, damage: bytes, cut: int
) -> None:
    body = file_bytes(tone(0.2))
    body[at : at + len(damage)] = damage
    body = body[: len(body) - cut]
    path = tmp_path_factory.getbasetemp() / "law.bin"
    path.write_bytes(body)

    def outcome(read: Callable[[], Waveform]) -> bytes | str:
        try:
            return read().tobytes()
        except AudioFormatError as error:
            return str(error).replace(str(path), "the file")

    assert outcome(lambda: read_audio_bytes(bytes(body))) == outcome(lambda: read_audio(path))


def test_no_bytes_and_too_many_are_refused() -> None:
    with pytest.raises(AudioFormatError, match="the file is empty"):
        read_audio_bytes(b"")
    with pytest.raises(AudioFormatError, match="x has 64 MiB"):
        read_audio_bytes(bytes(64 * 2**20 + 1), name="x")


def test_an_mp3_is_read_in_blocks_as_it_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    soundfile.write(path, read_audio(AUDIO / "sad.wav"), SAMPLE_RATE)
    whole, _ = soundfile.read(path, dtype="float32")
    assert np.abs(read_audio(path) - whole * 32768).max() <= 1
