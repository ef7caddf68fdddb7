from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.cascade import cue_hearer
from echat_sdk.model.cascade.acoustics import MEASURES, acoustics, pitch
from echat_sdk.model.cascade.cue_hearer import CueHearer
from echat_sdk.model.cascade.text_emotion import EMOTIONS
from echat_sdk.model.cascade.voice_cues import VoiceCues, cut_to_speech

WhisperDir = Callable[..., Path]
CLIPS = Path(__file__).parents[3] / "data" / "emodb"


def voice(seconds: float = 1.5, hertz: float = 140.0, seed: int = 0) -> np.ndarray:
    """Something like a voice: harmonics, syllables, a little noise."""
    t = np.arange(int(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))) / 16_000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    syllables = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)
    hiss = 0.002 * np.random.default_rng(seed).standard_normal(len(t))
    return (0.1 * buzz * syllables + hiss).astype(np.float32)


@pytest.fixture
def voice_cues(whisper_dir: WhisperDir, tmp_path: Path) -> VoiceCues:
    """A random head on a random encoder."""
    path = tmp_path / "head.safetensors"
    write_head(path, rows=2 * 2 * 16 + len(MEASURES))
    return VoiceCues(whisper_dir(), path)


def write_head(path: Path, rows: int) -> None:
    rng = np.random.default_rng(5)
    save_file(
        {
            "layers": np.array([1, 2], np.int32),
            "emotion_weight": 0.02 * rng.standard_normal((rows, 7)).astype(np.float32),
            "emotion_bias": np.zeros(7, np.float32),
            "gender_weight": 0.02 * rng.standard_normal(rows).astype(np.float32),
            "gender_bias": np.zeros(1, np.float32),
        },
        path,
    )


def test_a_reading_is_a_distribution_over_the_eight_labels(voice_cues: VoiceCues) -> None:
    reading = voice_cues(voice())
    assert reading.emotion.shape == (8,)
    assert reading.emotion.sum() == pytest.approx(1.0, abs=1e-5)
    assert 0.0 < reading.female < 1.0
    unheard = [
        p for e, p in zip(EMOTIONS, reading.emotion, strict=True) if e in ("surprise", "other")
    ]
    assert unheard == [0.0, 0.0]  # no voice in the corpus was surprised


@pytest.mark.parametrize("gain", [0.05, 0.3, 3.0])
def test_how_loud_the_microphone_is_changes_nothing(voice_cues: VoiceCues, gain: float) -> None:
    louder = voice_cues(voice() * np.float32(gain)).emotion
    assert np.abs(louder - voice_cues(voice()).emotion).max() < 1e-3


def test_silence_around_the_speech_changes_nothing(voice_cues: VoiceCues) -> None:
    silence = np.zeros(16_000, np.float32)
    around = np.concatenate([silence, voice(), silence])
    assert np.abs(voice_cues(around).emotion - voice_cues(voice()).emotion).max() < 0.02


def test_quiet_noise_around_the_speech_is_cut_off() -> None:
    hiss = (0.001 * np.random.default_rng(1).standard_normal(16_000)).astype(np.float32)
    cut = cut_to_speech(np.concatenate([hiss, voice(), hiss]))
    assert 1.4 < len(cut) / 16_000 < 1.7


@given(
    length=st.sampled_from([0, 1, 159, 160, 400, 5_000, 33_000]),
    level=st.sampled_from([0, 1e-6, 1]),
)
@settings(max_examples=25, deadline=None)
def test_every_length_and_level_is_read_without_a_fault(length: int, level: float) -> None:
    noise = level * np.random.default_rng(length).standard_normal(length)
    cut = cut_to_speech(noise.astype(np.float32))
    assert np.isfinite(cut).all()
    assert np.isfinite(acoustics(cut)).all()


def test_short_silent_and_two_minute_utterances_are_read(voice_cues: VoiceCues) -> None:
    long = np.tile(voice(2.0), 60)
    for samples in (np.zeros(0), np.zeros(16_000), voice(0.05), voice(0.3), long):
        assert np.isfinite(voice_cues(samples.astype(np.float32)).emotion).all()


def test_pitch_is_found() -> None:
    for hertz in (90.0, 140.0, 220.0, 380.0):
        t = np.arange(16_000) / 16_000
        f0, periodicity = pitch(np.sign(np.sin(2 * np.pi * hertz * t)).astype(np.float32))
        assert np.median(f0) == pytest.approx(hertz, rel=0.03)
        assert np.median(periodicity) > 0.9


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert np.median(pitch(noise)[1]) < 0.5


def test_a_higher_voice_measures_higher() -> None:
    low, high = (dict(zip(MEASURES, acoustics(voice(hertz=h)), strict=True)) for h in (110, 220))
    assert high["f0_median"] - low["f0_median"] == pytest.approx(12.0, abs=1.0)  # semitones


def test_a_head_for_another_encoder_is_refused(whisper_dir: WhisperDir, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    write_head(path, rows=99)
    with pytest.raises(CheckpointError, match="99"):
        VoiceCues(whisper_dir(), path)
    with pytest.raises(ModelMissingError, match="voice-16"):
        VoiceCues(whisper_dir())  # no head ships for a Whisper of this width


@pytest.mark.parametrize("infer", [(), ("emotion",), ("gender",), ("emotion", "gender")])
def test_no_classifier_runs_for_a_cue_that_may_not_be_inferred(
    infer: tuple[str, ...], voice_cues: VoiceCues, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: set[str] = set()

    def noted(name: str, function: Any) -> Any:
        return lambda *given: (ran.add(name), function(*given))[1]

    monkeypatch.setattr(cue_hearer, "VoiceCues", lambda whisper: voice_cues)
    hearer = CueHearer(Path())
    for name in ("features", "emotion", "female"):
        monkeypatch.setattr(voice_cues, name, noted(name, getattr(voice_cues, name)))
    monkeypatch.setattr(hearer, "_text", noted("text", hearer._text))
    cues = hearer.hear(
        voice(), words="hello", lang="en", speech_seconds=2.0, snr_db=30.0, infer=infer
    )
    wanted = {"emotion": {"features", "emotion", "text"}, "gender": {"features", "female"}}
    assert ran == set().union(*(wanted[name] for name in infer))
    for name in ("emotion", "gender"):
        assert (getattr(cues, name).why == "switched off") == (name not in infer)


@pytest.mark.real
def test_clips_of_emo_db_get_their_labels() -> None:
    from echat_sdk.model.zoo import locate

    hearer = CueHearer(locate("whisper-base"))
    with (CLIPS / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 6
    for row in rows:
        samples, _ = soundfile.read(CLIPS / row["file"], dtype="float32")
        cues = hearer.hear(samples, words="", lang="en", speech_seconds=1.8, snr_db=30.0)
        assert (cues.emotion.label, cues.gender.label) == (row["emotion"], row["gender"])
        for cue in (cues.age, cues.events, cues.style):
            assert not cue.is_known
            assert cue.why == "no measured classifier"
