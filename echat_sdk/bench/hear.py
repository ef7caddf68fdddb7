"""Whisper as we run it (the sound and a short silence) beside Whisper as it was trained (30 s).

Same weights, same machine, alternating in one run; the answer is a ratio, and the words of both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, FloatWaveform, Seconds

if TYPE_CHECKING:
    from echat_sdk.model.cascade.transcriber import Transcriber

REPEATS = 5
WINDOW: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class HearBench:
    """What one run found.

    Attributes:
        ours: Seconds for all utterances, one value a repeat.
        padded: The same with every utterance filled up to 30 s.
        same_words: Share of the utterances that both wrote down alike.
    """

    ours: list[Seconds]
    padded: list[Seconds]
    same_words: float

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours was, one value a repeat."""
        return [p / o for p, o in zip(self.padded, self.ours, strict=True)]

    def line(self) -> str:
        """The result in a line."""
        ratios = self.ratios
        return (
            f"unpadded hearing is {statistics.median(ratios):.1f} times as fast as padded to 30 s "
            f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} repeats); "
            f"same words in {self.same_words:.0%} of the utterances"
        )


def run(transcriber: Transcriber, utterances: Sequence[FloatWaveform]) -> HearBench:
    """Hear every utterance both ways, `REPEATS` times in turn, after one round that warms up."""
    from echat_sdk.model.cascade.activity import Span

    window = int(WINDOW * SAMPLE_RATE)
    filled = [np.pad(u, (0, window - len(u))) for u in utterances]
    whole = (Span(0.0, WINDOW),)

    def hear_ours() -> list[str]:
        spans = [(Span(0.0, len(u) / SAMPLE_RATE),) for u in utterances]
        return [
            transcriber.transcribe(u, lang="en", spans=s).text
            for u, s in zip(utterances, spans, strict=True)
        ]

    def hear_padded() -> list[str]:
        return [transcriber.transcribe(u, lang="en", spans=whole).text for u in filled]

    words = hear_ours(), hear_padded()
    ours: list[Seconds] = []
    padded: list[Seconds] = []
    for _ in range(REPEATS):
        for hear, times in ((hear_ours, ours), (hear_padded, padded)):
            start = time.perf_counter()
            hear()
            times.append(time.perf_counter() - start)
    same = sum(a.lower() == b.lower() for a, b in zip(*words, strict=True)) / len(utterances)
    return HearBench(ours, padded, same)
