"""EMO-DB (Burkhardt et al. 2005; CC0-1.0) as clips with labels, and as features for the head."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from threadpoolctl import threadpool_limits

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform
from echat_sdk.errors import ConfigError
from echat_sdk.model.cascade.encoder import WhisperEncoder
from echat_sdk.model.cascade.voice_cues import CORPUS_EMOTIONS, VoiceFeatures
from echat_training import augment

CLASSES = tuple(CORPUS_EMOTIONS)

Features = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Change = Callable[[FloatWaveform, np.random.Generator], FloatWaveform]


def _unchanged(samples: FloatWaveform, rng: np.random.Generator) -> FloatWaveform:
    return samples


def _telephone(samples: FloatWaveform, rng: np.random.Generator) -> FloatWaveform:
    return augment.telephone(samples)


# What a recording went through before it was heard: the last is for training, the others measure.
CHANGES: dict[str, Change] = {
    "clean": _unchanged,
    "noise 10 dB": partial(augment.noise, snr_db=10.0),
    "noise 0 dB": partial(augment.noise, snr_db=0.0),
    "telephone": _telephone,
    "reverb 0.4 s": partial(augment.reverb, seconds=0.4),
    "disturbed": augment.disturb,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips and what is known of them, one entry a clip.

    Attributes:
        emotion: Index into `CLASSES`.
        female: 1 for a woman, 0 for a man.
    """

    files: list[Path]
    speaker: npt.NDArray[np.str_]
    sentence: npt.NDArray[np.str_]
    emotion: npt.NDArray[np.int64]
    female: npt.NDArray[np.int64]


def read_emodb(folder: Path) -> Corpus:
    """The corpus from a folder with `labels.csv`.

    Raises:
        ConfigError: there is none.
    """
    try:
        with (folder / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(f"--emodb: no labels.csv in {folder}") from error
    return Corpus(
        files=[folder / row["file"] for row in rows],
        speaker=np.array([row["speaker"] for row in rows]),
        sentence=np.array([row["sentence"] for row in rows]),
        emotion=np.array([CLASSES.index(row["emotion"]) for row in rows]),
        female=np.array([int(row["gender"] == "female") for row in rows]),
    )


def extract(
    files: list[Path],
    change: str,
    *,
    whisper: Path,
    layers: tuple[int, ...],
    seed: int,
    watch: Callable[[Iterable[Features]], Iterable[Features]],
) -> Features:
    """Features of clips that went through a change; on all processors. Shape [N, F]."""
    jobs = [(path, change, seed + i) for i, path in enumerate(files)]
    with ProcessPoolExecutor(os.cpu_count(), initializer=_open, initargs=(whisper, layers)) as pool:
        return np.stack(list(watch(pool.map(_features, jobs, chunksize=8))))


_OPENED: list[VoiceFeatures] = []


def _open(whisper: Path, layers: tuple[int, ...]) -> None:
    threadpool_limits(1)  # one process a processor already: more threads would only wait
    _OPENED[:] = [VoiceFeatures(WhisperEncoder.load(whisper, n_layers=max(layers)), layers)]


def _features(job: tuple[Path, str, int]) -> Features:
    path, change, seed = job
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ConfigError(f"{path.name} is not 16 kHz mono")
    samples = CHANGES[change](samples, rng=np.random.default_rng(seed))  # type: ignore[call-arg]
    return _OPENED[0](samples)


def held_out(groups: npt.NDArray[np.str_]) -> Iterator[Mask]:
    """For each group, the mask of its clips."""
    for group in np.unique(groups):
        yield groups == group


def speakers_out(corpus: Corpus) -> Iterator[tuple[Mask, Mask]]:
    """Leave one speaker out."""
    for test in held_out(corpus.speaker):
        yield ~test, test


def sentences_out(corpus: Corpus) -> Iterator[tuple[Mask, Mask]]:
    """Leave one sentence out."""
    for test in held_out(corpus.sentence):
        yield ~test, test


def both_out(corpus: Corpus) -> Iterator[tuple[Mask, Mask]]:
    """Leave half of the speakers and a fifth of the sentences out, both at once."""
    speakers, sentences = np.unique(corpus.speaker), np.unique(corpus.sentence)
    for half in (speakers[:5], speakers[5:]):
        for i in range(5):
            speaker = np.isin(corpus.speaker, half)
            sentence = np.isin(corpus.sentence, sentences[2 * i : 2 * i + 2])
            yield ~speaker & ~sentence, speaker & sentence


def genders_out(corpus: Corpus) -> Iterator[tuple[Mask, Mask]]:
    """Train on men and five sentences, test on women and the other five; and the three others."""
    sentences = np.unique(corpus.sentence)
    for female in (0, 1):
        for part in (0, 1):
            gender = corpus.female == female
            sentence = np.isin(corpus.sentence, sentences[part::2])
            yield ~gender & ~sentence, gender & sentence
