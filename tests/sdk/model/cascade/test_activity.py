from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from echat_sdk.audio import SAMPLE_RATE
from echat_sdk.model.cascade.activity import Activity, analyse

Array = npt.NDArray[np.float32]
TIME = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE


def voice(seconds: float = 2.0) -> Array:
    """A voice-like sound: 150 Hz in the rhythm of syllables, which the detector takes for one."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)
    return (0.4 * np.sin(2 * np.pi * 150 * time) * swell).astype(np.float32)


def silence(seconds: float) -> Array:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def noise(name: str) -> Array:
    rng = np.random.default_rng(1)
    white = rng.normal(0, 0.1, len(TIME))
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    sounds = {
        "nothing at all": np.zeros(0),
        "silence": np.zeros(len(TIME)),
        "the last bit": rng.integers(-1, 2, len(TIME)) / 32768,
        "white": white,
        "faint white": white * 0.01,
        "pink": np.fft.irfft(spectrum, len(TIME)),
        "hum": sum(np.sin(2 * np.pi * 50 * k * TIME) / k for k in range(1, 8)) * 0.2,
        "clicks": (np.arange(len(TIME)) % 8000 < 5) * 0.9,
        "a tone": 0.4 * np.sin(2 * np.pi * 440 * TIME),
        "a chord": 0.2 * sum(np.sin(2 * np.pi * f * TIME) for f in (262, 330, 392)),
    }
    return np.asarray(sounds[name], np.float32)


@pytest.mark.parametrize(
    "name",
    ["nothing at all", "silence", "the last bit", "white", "faint white", "pink", "hum", "clicks",
     "a tone", "a chord"],
)  # fmt: skip
def test_what_is_no_voice_holds_no_speech(name: str) -> None:
    assert analyse(noise(name)) == Activity()


def test_a_voice_is_found_where_it_is() -> None:
    activity = analyse(np.concatenate([silence(1), voice(2), silence(1)]))
    assert activity.spans[0].start == pytest.approx(1.0, abs=0.35)
    assert activity.spans[-1].end == pytest.approx(3.0, abs=0.35)
    assert activity.speech_seconds == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("gain", [2.0, 0.1, 0.01, 0.003])
def test_loudness_does_not_decide(gain: float) -> None:
    sound = np.concatenate([silence(1), voice(2), silence(1)])
    plain, scaled = analyse(sound), analyse(sound * np.float32(gain))
    assert scaled.speech_seconds == pytest.approx(plain.speech_seconds, abs=0.1)


def test_a_click_does_not_hide_a_quiet_voice() -> None:
    sound = np.concatenate([silence(1), voice(2) * np.float32(0.01), silence(1)])
    sound[4000:4004] = 0.9
    assert analyse(sound).speech_seconds > 1


def test_spans_stay_inside_the_recording() -> None:
    activity = analyse(voice(2))
    assert activity.spans[0].start >= 0
    assert activity.spans[-1].end <= 2


def test_more_noise_is_less_signal() -> None:
    rng = np.random.default_rng(2)
    clean = np.concatenate([silence(1), voice(2), silence(1)])
    hiss = rng.normal(0, 1, len(clean)).astype(np.float32)
    power = float(np.mean(voice(2) ** 2))
    measured = [
        analyse(clean + hiss * np.float32(np.sqrt(power / 10 ** (snr / 10)))).snr_db
        for snr in (30, 20, 10)
    ]
    assert measured == pytest.approx([30, 20, 10], abs=3)
    assert analyse(clean).snr_db > 40
