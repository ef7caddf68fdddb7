"""Both detectors, on a real voice, on silence and on noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echat_sdk.audio import SAMPLE_RATE, Waveform, frames
from echat_sdk.errors import CheckpointError
from echat_sdk.io.wav import read_audio
from echat_sdk.model import zoo
from echat_sdk.protocols import VAD
from echat_sdk.vad import Kind, SileroVAD, WebRTCVAD, open_vad

SAD = Path(__file__).parents[2] / "examples/audio/sad.wav"


@pytest.fixture(params=[SileroVAD, WebRTCVAD])
def vad(request: pytest.FixtureRequest) -> VAD:
    made: VAD = request.param()
    return made


def flags(vad: VAD, samples: Waveform) -> list[bool]:
    return [vad.is_speech(frame) for frame in frames(samples)]


def test_a_voice_is_speech_and_silence_is_none(vad: VAD) -> None:
    speech = flags(vad, read_audio(SAD))
    assert np.mean(speech[10:-10]) > 0.7
    vad.reset()
    assert not any(flags(vad, np.zeros(SAMPLE_RATE, np.int16)))


def test_soft_noise_is_no_speech(vad: VAD) -> None:
    noise = (np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE) * 20).astype(np.int16)
    assert np.mean(flags(vad, noise)) < 0.05


def test_a_reset_forgets(vad: VAD) -> None:
    voice = read_audio(SAD)
    first = flags(vad, voice)
    vad.reset()
    assert flags(vad, voice) == first


@pytest.mark.real
def test_silero_on_one_thread_hears_as_it_does_in_its_package() -> None:
    pulled = zoo.find_file("silero-vad")
    assert pulled is not None, "echat models pull silero-vad"
    noise = np.random.default_rng(0).standard_normal(len(read_audio(SAD)))
    for level in (0, 100, 1000):
        sound = np.clip(read_audio(SAD) + noise * level, -32768, 32767).astype(np.int16)
        one, other = flags(SileroVAD(pulled), sound), flags(SileroVAD(), sound)
        assert np.mean(np.array(one) != other) < 0.03
    vad = SileroVAD(pulled)
    first = flags(vad, sound)
    vad.reset()
    assert flags(vad, sound) == first


def test_a_file_that_is_not_silero_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(CheckpointError, match="echat models verify silero-vad"):
        open_vad(silero=tmp_path / "x.onnx")


def test_silero_tells_loud_noise_from_a_voice() -> None:
    noise = (np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE) * 3000).astype(np.int16)
    assert np.mean(flags(SileroVAD(), noise)) < 0.05


@pytest.mark.parametrize(("kind", "detector"), [("auto", SileroVAD), ("webrtc", WebRTCVAD)])
def test_the_best_that_is_installed_is_opened_and_hears_a_voice_as_it_does(
    kind: Kind, detector: type[VAD]
) -> None:
    voice = np.tile(read_audio(SAD), 4)
    assert flags(open_vad(kind), voice) == flags(detector(), voice)
