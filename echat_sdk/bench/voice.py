"""What the voice does with each emotion, measured on its sound, and whether it is understood.

Run it: `python -m echat_sdk.bench.voice` (with `--ears FOLDER` for a Whisper that is not pulled).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import soxr
import typer
from rich.console import Console
from rich.table import Table

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Hertz, Seconds, to_float
from echat_sdk.cues import ReplyEmotion
from echat_sdk.model.cascade.voice import Voice

if TYPE_CHECKING:
    from echat_sdk.model.cascade.transcriber import Transcriber

SENTENCES = (
    "Oh, I hear you. That sounds like a long and heavy day.",
    "What a wonderful surprise, you must be over the moon!",
    "I am sorry that it happened, and I am here with you.",
    "Would you like to tell me a little more about your sister?",
    "Take your time. We can go through it together, step by step.",
)


@dataclass(frozen=True, slots=True)
class Sound:
    """How speech sounds.

    Attributes:
        pitch: Median pitch, hertz.
        range: From the 10th to the 90th percentile of the pitch, semitones.
        seconds: Length of the speech without the silence around it.
        level: Level of the voiced parts, dBFS.
        brightness: Energy of 1 to 5 kHz against that below 1 kHz, decibels.
    """

    pitch: float
    range: float
    seconds: Seconds
    level: float
    brightness: float


def measure(wave: FloatWaveform, rate: Hertz) -> Sound:
    """Measure a stretch of speech. Shape [S]."""
    pitch, strength = pitch_track(wave, rate)
    voiced = strength > 0.6
    hertz = pitch[voiced] if voiced.any() else np.full(1, np.nan)
    low, high = np.percentile(hertz, [10, 90])
    size = rate // 100
    power = (wave[: len(wave) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    active = power > np.percentile(power, 95) * 1e-4
    loud = power[power > np.percentile(power, 95) * 1e-2]
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    bins = np.fft.rfftfreq(len(wave), 1 / rate)
    bright = spectrum[(bins >= 1000) & (bins < 5000)].sum() / spectrum[bins < 1000].sum()
    return Sound(
        pitch=float(np.median(hertz)),
        range=float(12 * np.log2(high / low)),
        seconds=float(active.sum() * 0.01),
        level=float(10 * np.log10(loud.mean())),
        brightness=float(10 * np.log10(bright)),
    )


def pitch_track(
    wave: FloatWaveform, rate: Hertz, *, low: float = 70.0, high: float = 450.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pitch by normalised autocorrelation: hertz and strength (0 to 1) each 10 ms. Shapes [F]."""
    wave, rate = soxr.resample(wave, rate, 12_000), 12_000
    size, hop = int(0.05 * rate), rate // 100
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, size // 2), size)[::hop]
    window = np.hanning(size)
    spectra = np.abs(np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window, 2048)) ** 2
    correlation = np.fft.irfft(spectra)[:, :size]
    power = correlation[:, 0].copy()
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, 2048)) ** 2)[:size]
    correlation /= np.maximum(power[:, None], 1e-9) * of_window / of_window[0]
    first, last = int(rate / high), int(rate / low)
    left, middle, right = (correlation[:, first + k : last + 1 + k] for k in (-1, 0, 1))
    peaks = np.where((middle >= left) & (middle > right), middle, 0.0)
    # The first peak that is nearly the best, so that twice the period is not taken for the period.
    at = np.argmax(peaks >= 0.9 * peaks.max(axis=1, keepdims=True), axis=1)[:, None]
    low_side, top, high_side = (np.take_along_axis(c, at, 1)[:, 0] for c in (left, middle, right))
    bend = np.minimum(low_side - 2 * top + high_side, -1e-9)
    lag = first + at[:, 0] + np.clip(0.5 * (low_side - high_side) / bend, -0.5, 0.5)
    return rate / lag, np.where(power > 1e-5 * size, top, 0.0)


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words that were heard wrongly (Levenshtein), and words that were said."""
    a, b = _words(said), _words(heard)
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        left, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(left[j] + 1, row[-1] + 1, left[j - 1] + (word != other)))
    return row[-1], len(a)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower().replace("’", "'"))


def run(voice: Voice, ears: Transcriber, sentences: Sequence[str] = SENTENCES) -> Table:
    """Say all sentences in all emotions, measure, and hear them back."""
    table = Table(title="The English voice in each emotion, over the same sentences")
    for column in ("emotion", "pitch Hz", "range st", "pace", "level dB", "bright dB",
                   "errors", "RTF"):  # fmt: skip
        table.add_column(column, justify="left" if column == "emotion" else "right")
    neutral_seconds, all_wrong, all_words = 0.0, 0, 0
    for emotion in sorted(ReplyEmotion, key=lambda e: e is not ReplyEmotion.NEUTRAL):
        sounds, wrong, words, spent, seconds = [], 0, 0, 0.0, 0.0
        for sentence in sentences:
            start = time.perf_counter()
            pieces = [delta.samples for delta in voice.say(sentence, emotion=emotion)]
            spent += time.perf_counter() - start
            wave = to_float(np.concatenate(pieces))
            seconds += len(wave) / voice.sample_rate
            sounds.append(measure(wave, voice.sample_rate))
            heard = ears.transcribe(soxr.resample(wave, voice.sample_rate, SAMPLE_RATE), lang="en")
            errors, count = word_errors(sentence, heard.text)
            wrong, words = wrong + errors, words + count
        length = sum(s.seconds for s in sounds)
        neutral_seconds = neutral_seconds or length
        all_wrong, all_words = all_wrong + wrong, all_words + words
        mean = {n: float(np.mean([getattr(s, n) for s in sounds])) for n in Sound.__slots__}
        table.add_row(
            emotion.word,
            f"{mean['pitch']:.0f}", f"{mean['range']:.1f}", f"{neutral_seconds / length:.2f}",
            f"{mean['level']:.1f}", f"{mean['brightness']:.1f}",
            f"{wrong}/{words}", f"{spent / seconds:.3f}",
        )  # fmt: skip
    table.caption = f"word error rate {all_wrong / all_words:.1%} of {all_words} words"
    return table


def main(
    ears: Annotated[Path | None, typer.Option(help="Folder of a Whisper model.")] = None,
) -> None:
    """Print what each emotion does to the voice, and how well it is understood."""
    from echat_sdk.model import zoo
    from echat_sdk.model.cascade.transcriber import Transcriber

    transcriber = Transcriber(ears or zoo.locate("whisper-base"), threads=1)
    Console().print(run(Voice(), transcriber))


if __name__ == "__main__":
    typer.run(main)
