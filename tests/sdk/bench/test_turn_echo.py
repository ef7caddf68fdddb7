"""What is taken out of an echo, in decibels: removers whose figure can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from echat_sdk.audio import SAMPLE_RATE, Waveform
from echat_sdk.bench.turn_clips import Clip
from echat_sdk.bench.turn_echo import erle, measure_echo, noise_suppressor, remedies
from echat_sdk.bench.turn_scripts import Plan


def echo_of(seconds: float, level: int = -12) -> Clip:
    rng = np.random.default_rng(0)
    agent = (rng.standard_normal(round(seconds * SAMPLE_RATE)) * 4000).astype(np.int16)
    echo = (agent * 10 ** (level / 20)).astype(np.int16)
    silence = np.zeros(len(agent), np.int16)
    return Clip(Plan("echo", "en", "", 0, None, level), silence, echo=echo, agent=agent)


class Softener:
    """Takes out so many decibels, after so many frames."""

    def __init__(self, decibels: float, after: int = 0) -> None:
        self.gain, self.after = 10 ** (-decibels / 20), after

    def clean(self, heard: Waveform, played: Waveform) -> Waveform:
        self.after -= 1
        return heard if self.after >= 0 else (heard * self.gain).astype(np.int16)


@pytest.mark.parametrize("decibels", [0, 6, 20])
def test_what_is_taken_out_is_told(decibels: float) -> None:
    assert erle(echo_of(3), Softener(decibels)) == pytest.approx(decibels, abs=0.2)


def test_the_first_second_is_for_learning() -> None:
    assert erle(echo_of(3), Softener(20, after=50)) == pytest.approx(20, abs=0.2)
    assert erle(echo_of(3), Softener(20, after=100)) < 5


def test_an_answer_of_less_than_a_second_tells_nothing() -> None:
    assert erle(echo_of(0.8), Softener(20)) == 0


def test_every_remedy_has_a_row_a_level_and_only_echoes_count() -> None:
    other = Clip(Plan("stop", "en", "Stop.", 0, None, -12), np.zeros(0, np.int16))
    rows = measure_echo([echo_of(2, -12), echo_of(2, -12), echo_of(2, -6), other])
    tried = set(remedies()) - {"off"} | ({"suppress"} if noise_suppressor() else set())
    assert {(row.level, row.echo) for row in rows} == {(n, e) for n in (-12, -6) for e in tried}
    assert {row.clips for row in rows if row.level == -12} == {2}
    assert all(row.least <= row.erle for row in rows)
