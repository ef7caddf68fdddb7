"""Trains the head that hears emotion and gender in a voice, and prints how good it is.

python -m echat_training.voice_head --emodb DIR --whisper DIR --anchors DIR
    --out echat_sdk/model/cascade/heads

Every figure is of clips whose speaker (or sentence, or both, or whole gender) the head that judges
them never heard, neither clean nor disturbed.
"""

from __future__ import annotations

import timeit
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from echat_sdk.audio import SAMPLE_RATE
from echat_sdk.cues import Emotion
from echat_sdk.model.cascade.acoustics import MEASURES
from echat_sdk.model.cascade.fusion import SURE_OF_GENDER, emotion_cue
from echat_sdk.model.cascade.text_emotion import EMOTIONS
from echat_sdk.model.cascade.voice_cues import CORPUS_EMOTIONS, VoiceCues, as_in_talk
from echat_training.discriminant import Features, Linear, fit_discriminant
from echat_training.emodb import (
    CHANGES,
    CLASSES,
    Corpus,
    Mask,
    both_out,
    extract,
    genders_out,
    held_out,
    read_emodb,
    sentences_out,
    speakers_out,
)
from echat_training.measure import (
    Labels,
    calibration_error,
    confusion_table,
    fit_temperature,
    softmax,
    unweighted_accuracy,
)

LAYERS = (2,)
SHRINKAGE = 0.6
DISTRUST = 0.4
COPIES = 4  # disturbed copies of each clip

_NEUTRAL = CLASSES.index("neutral")
_FOUR = [CLASSES.index(name) for name in ("anger", "happy", "neutral", "sad")]
_DISTURBED = "disturbed"


@dataclass(frozen=True, slots=True)
class Heard:
    """Features of the corpus under every change, and of the anchors.

    Attributes:
        as_heard: Features of every clip after a change. Shape [N, F] each.
        copies: Disturbed copies of every clip. Shape [COPIES, N, F].
        anchors: Neutral speech from elsewhere. Shape [M, F]; M may be 0.
        anchor_female: Whether an anchor's voice is female. Shape [M].
    """

    as_heard: dict[str, Features]
    copies: Features
    anchors: Features
    anchor_female: Labels


@dataclass(frozen=True, slots=True)
class Trainer:
    """Fits heads on parts of a corpus."""

    corpus: Corpus
    heard: Heard

    def emotion(self, rows: Mask) -> Linear:
        """The emotion head of these clips."""
        x, y = self._stack(rows, self.corpus.emotion)
        anchors = self.heard.anchors if len(self.heard.anchors) else None
        neutral = self.heard.as_heard["clean"][rows & (self.corpus.emotion == _NEUTRAL)]
        return fit_discriminant(
            x, y, shrinkage=SHRINKAGE, elsewhere=anchors, here=neutral, distrust=DISTRUST
        )

    def gender(self, rows: Mask) -> Linear:
        """The gender head of these clips and the anchors."""
        x, y = self._stack(rows, self.corpus.female)
        x = np.concatenate([x, *[self.heard.anchors] * COPIES])
        y = np.concatenate([y, *[self.heard.anchor_female] * COPIES])
        return fit_discriminant(x, y, shrinkage=SHRINKAGE)

    def _stack(self, rows: Mask, labels: Labels) -> tuple[Features, Labels]:
        copies = [copy[rows] for copy in self.heard.copies]
        x = np.concatenate([self.heard.as_heard["clean"][rows], *copies])
        return x, np.tile(labels[rows], 1 + len(copies))

    def crossed(self, folds: Iterable[tuple[Mask, Mask]]) -> dict[str, Features]:
        """Scores of every clip under every change, by the head of the fold that tests it."""
        shape = (len(self.corpus.files), len(CLASSES))
        scores = {change: np.zeros(shape, np.float32) for change in self.heard.as_heard}
        for train, test in folds:
            head = self.emotion(train)
            for change, features in self.heard.as_heard.items():
                scores[change][test] = head(features[test])
        return scores

    def crossed_gender(self) -> Features:
        """Gender scores of every clean clip, its speaker held out. Shape [N, 2]."""
        scores = np.zeros((len(self.corpus.files), 2), np.float32)
        for test in held_out(self.corpus.speaker):
            scores[test] = self.gender(~test)(self.heard.as_heard["clean"][test])
        return scores


def hear(
    corpus: Corpus, whisper: Path, anchors: Path | None, kept: Path | None, console: Console
) -> Heard:
    """Extract all features, with a progress bar; those of the corpus can be kept in a file."""

    def of(files: list[Path], change: str, seed: int) -> Features:
        watch = partial(track, description=change, total=len(files), console=console)
        return extract(files, change, whisper=whisper, layers=LAYERS, seed=seed, watch=watch)

    changes = [change for change in CHANGES if change != _DISTURBED]
    if kept and kept.exists():
        stored = load_file(kept)
        copies = stored.pop(_DISTURBED)
        as_heard = {change: stored[change] for change in changes}
    else:
        as_heard = {
            change: of(corpus.files, change, 10_000 * i) for i, change in enumerate(changes)
        }
        seeds = [1_000_000 * (i + 1) for i in range(COPIES)]
        copies = np.stack([of(corpus.files, _DISTURBED, seed) for seed in seeds])
        if kept:
            save_file({**as_heard, _DISTURBED: copies}, kept)
    voices = sorted(anchors.glob("*.wav")) if anchors else []
    others = of(voices, "clean", 0) if voices else np.zeros((0, copies.shape[2]), np.float32)
    female = np.array([int(path.name[1] == "f") for path in voices], dtype=np.int64)
    return Heard(as_heard, copies, others, female)


def crossed_temperature(
    scores: Iterable[Features], calibration: Features, corpus: Corpus
) -> Features:
    """Probabilities of every clip at the temperature that suits all other speakers best.

    Args:
        scores: Of every clip. Shape [N, C] each.
        calibration: Scores that temperatures are fitted to. Shape [K, N, C].
        corpus: Whose clips they are.
    """
    everything = np.stack(list(scores))
    out = np.zeros_like(everything)
    for test in held_out(corpus.speaker):
        others = calibration[:, ~test].reshape(-1, len(CLASSES))
        labels = np.tile(corpus.emotion[~test], len(calibration))
        out[:, test] = softmax(everything[:, test] / np.float32(fit_temperature(others, labels)))
    return out


def four_recall(probabilities: Features, labels: Labels) -> tuple[float, float, float]:
    """On anger, happy, neutral, sad: UA of the best of four, UA and unknowns as the SDK answers.

    As the SDK answers: the label out of all eight, after abstention; unknown counts as a miss.
    """
    mine = np.isin(labels, _FOUR)
    best = np.array(_FOUR)[probabilities[mine][:, _FOUR].argmax(axis=1)]
    of = list(CORPUS_EMOTIONS.values())
    silent = np.eye(len(EMOTIONS), dtype=np.float32)[EMOTIONS.index(Emotion.NEUTRAL)]
    answers = [
        emotion_cue(row, silent, speech_seconds=2.0, snr_db=None).label
        for row in as_in_talk(probabilities[mine])
    ]
    right = np.array([a == of[label].value for a, label in zip(answers, labels[mine], strict=True)])
    recall = np.mean([right[labels[mine] == c].mean() for c in _FOUR])
    unknown = np.mean([answer == "unknown" for answer in answers])
    return unweighted_accuracy(labels[mine], best), float(recall), float(unknown)


def report(trainer: Trainer, console: Console) -> float:
    """Print every figure; returns the temperature for the head of all clips."""
    corpus = trainer.corpus
    scores = trainer.crossed(speakers_out(corpus))
    # Real speakers say other sentences too: the temperature has to suit both kinds of strangeness.
    strange = trainer.crossed(both_out(corpus))["clean"]
    calibration = np.stack([scores["clean"], strange])
    probabilities = crossed_temperature(scores.values(), calibration, corpus)
    console.print(f"\nleave one speaker out, {len(CLASSES)} classes, {len(corpus.files)} clips")
    for change, p in zip(scores, probabilities, strict=True):
        ua = unweighted_accuracy(corpus.emotion, p.argmax(axis=1))
        ece = calibration_error(p, corpus.emotion)
        _, recall, unknown = four_recall(p, corpus.emotion)
        console.print(
            f"  {change:13} UA {ua:.3f}  ECE {ece:.3f}"
            f"  | as the SDK answers, 4 classes: UA {recall:.3f}, unknown {unknown:.3f}"
        )
    console.print(confusion_table(corpus.emotion, probabilities[0].argmax(axis=1), CLASSES))
    temperature = fit_temperature(np.concatenate(calibration), np.tile(corpus.emotion, 2))
    for name, folds in (
        ("one sentence out", sentences_out(corpus)),
        ("five speakers and two sentences out", both_out(corpus)),
        ("other gender and other five sentences", genders_out(corpus)),
    ):
        clean = softmax(trainer.crossed(folds)["clean"] / np.float32(temperature))
        ua = unweighted_accuracy(corpus.emotion, clean.argmax(axis=1))
        best, recall, unknown = four_recall(clean, corpus.emotion)
        console.print(
            f"{name}: UA {ua:.3f}, ECE {calibration_error(clean, corpus.emotion):.3f}; "
            f"4 classes: UA {best:.3f}, as the SDK answers {recall:.3f}, unknown {unknown:.3f}"
        )
    female = softmax(trainer.crossed_gender())
    unsure = female.max(axis=1) < SURE_OF_GENDER
    wrong = (female.argmax(axis=1) != corpus.female) & ~unsure
    console.print(
        f"gender, one speaker out: right {(female.argmax(axis=1) == corpus.female).mean():.3f}, "
        f"wrong and sure {wrong.mean():.3f}, unknown {unsure.mean():.3f}"
    )
    return temperature


def save(trainer: Trainer, temperature: float, folder: Path) -> Path:
    """Train on all clips and write the head; its name tells the width of its Whisper."""
    everyone = np.ones(len(trainer.corpus.files), bool)
    emotion = trainer.emotion(everyone).cooled(temperature)
    gender = trainer.gender(everyone)
    scores = trainer.crossed_gender()
    gender = gender.cooled(fit_temperature(scores, trainer.corpus.female))
    width = (emotion.weight.shape[0] - len(MEASURES)) // (2 * len(LAYERS))
    path = folder / f"voice-{width}.safetensors"
    save_file(
        {
            "layers": np.array(LAYERS, np.int32),
            "emotion_weight": emotion.weight,
            "emotion_bias": emotion.bias,
            "gender_weight": np.ascontiguousarray(gender.weight[:, 1] - gender.weight[:, 0]),
            "gender_bias": gender.bias[1:] - gender.bias[:1],
        },
        path,
    )
    return path


def seconds_to_hear(whisper: Path, head: Path) -> float:
    """Processor time of the best of ten readings of three seconds, on one thread."""
    voice = VoiceCues(whisper, head)
    samples = np.random.default_rng(0).normal(0.0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    with threadpool_limits(1):
        return min(timeit.repeat(lambda: voice(samples), number=1, repeat=10, timer=process_time))


def main(
    emodb: Annotated[Path, typer.Option(help="Folder with labels.csv and the clips.")],
    whisper: Annotated[Path, typer.Option(help="Folder of a CTranslate2 Whisper.")],
    anchors: Annotated[Path | None, typer.Option(help="Folder that `anchors` made.")] = None,
    out: Annotated[Path, typer.Option(help="Where the head goes.")] = Path(),
    features: Annotated[Path | None, typer.Option(help="File to keep features in.")] = None,
    evaluate: Annotated[bool, typer.Option(help="Only print.")] = False,
) -> None:
    """Train the voice head, print its figures and write it."""
    console = Console(soft_wrap=True)
    corpus = read_emodb(emodb)
    trainer = Trainer(corpus, hear(corpus, whisper, anchors, features, console))
    temperature = report(trainer, console)
    if not evaluate:
        path = save(trainer, temperature, out)
        console.print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        took = 1000 * seconds_to_hear(whisper, path)
        console.print(f"three seconds of speech are heard in {took:.0f} ms on one processor")


if __name__ == "__main__":
    typer.run(main)
