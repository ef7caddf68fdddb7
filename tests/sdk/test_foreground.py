"""A crowd of tones at known levels, and a scripted detector: what is the user's and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.audio import FRAME_LEN, AudioFrame
from echat_sdk.foreground import Foreground
from echat_sdk.protocols import VAD

LOUD, CROWD, QUIET = -20.0, -32.0, -62.0
Piece = tuple[float, float, bool]  # seconds, dBFS, what the detector says


class Scripted:
    """Says what it was told to."""

    def __init__(self, flags: Sequence[bool]) -> None:
        self.flags = flags
        self.reset()

    def is_speech(self, frame: AudioFrame) -> bool:
        return next(self.rest)

    def reset(self) -> None:
        self.rest: Iterator[bool] = iter(self.flags)


def sound(pieces: Sequence[Piece], seed: int = 0) -> tuple[list[AudioFrame], list[bool]]:
    """Noise at the levels of the pieces, which waver by a decibel or two as voices do."""
    rng = np.random.default_rng(seed)
    frames, flags = [], []
    for seconds, decibels, flag in pieces:
        for _ in range(round(seconds * 50)):
            level = decibels + rng.normal(0, 1.2)
            samples = rng.standard_normal(FRAME_LEN) * 32768 * 10 ** (level / 20)
            frames.append(AudioFrame(np.clip(samples, -32768, 32767).astype(np.int16)))
            flags.append(flag)
    return frames, flags


def sentence(seconds: float, loud: float = LOUD, soft: float = QUIET) -> list[Piece]:
    """Syllables, with what is heard between them; the detector bridges the gaps."""
    count = round(seconds / 0.3)
    return [piece for _ in range(count) for piece in ((0.22, loud, True), (0.08, soft, True))]


def heard(pieces: Sequence[Piece], seed: int = 0) -> list[bool]:
    frames, flags = sound(pieces, seed)
    vad = Foreground(Scripted(flags))
    return [vad.is_speech(frame) for frame in frames]


def share(flags: Sequence[bool], start: float, end: float) -> float:
    return float(np.mean(flags[round(start * 50) : round(end * 50)]))


CAFE: Piece = (3.0, CROWD, True)


@pytest.mark.parametrize("seed", range(5))
def test_in_a_crowd_the_user_is_heard_and_the_crowd_is_not(seed: int) -> None:
    found = heard([CAFE, *sentence(3, soft=CROWD), CAFE], seed)
    assert share(found, 3.1, 6) > 0.95
    assert share(found, 6.3, 9) < 0.1


def test_a_turn_that_began_with_the_crowd_ends_as_well() -> None:
    found = heard([(0.6, CROWD, True), *sentence(3, soft=CROWD), CAFE])
    assert share(found, 4.6, 6.6) < 0.1


def test_words_that_trail_off_are_the_users_until_the_crowd_is_louder() -> None:
    trailing = [(0.2, LOUD, True), (0.2, LOUD - 8, True), (0.2, LOUD - 10, True)]
    found = heard([CAFE, *sentence(2.1, soft=CROWD), *trailing, CAFE])
    assert share(found, 5.1, 5.5) == 1


def test_somebody_who_goes_away_or_comes_nearer_is_heard_still() -> None:
    farther, nearer = sentence(3, loud=LOUD - 4, soft=CROWD), sentence(3, loud=-12, soft=CROWD)
    found = heard([CAFE, *sentence(3, soft=CROWD), CAFE, *farther, CAFE, *nearer, CAFE])
    assert share(found, 9.1, 12) > 0.9
    assert share(found, 15.1, 18) > 0.9
    assert share(found, 18.3, 21) < 0.1


def test_a_slam_before_speech_makes_nobody_deaf() -> None:
    slam = (0.3, -8.0, True)
    found = heard([CAFE, slam, (0.5, CROWD, True), *sentence(3, soft=CROWD), CAFE])
    assert share(found, 3.9, 6.8) > 0.9


def test_the_crowd_is_known_still_after_the_agent_has_spoken_over_it() -> None:
    answer = (6.0, -55.0, False)  # the canceller takes the crowd out as well
    found = heard([CAFE, *sentence(3, soft=CROWD), CAFE, answer, CAFE])
    assert share(found, 15.1, 18) < 0.1


def test_a_crowd_that_grows_louder_is_learnt_and_one_that_has_left_is_forgotten() -> None:
    louder = heard([CAFE, (10.0, CROWD + 8, True)])
    assert share(louder, 9, 13) < 0.1
    left = heard([CAFE, (3.0, QUIET, False), *sentence(3, loud=-34)])
    assert share(left, 7.5, 9) > 0.95


def test_noise_that_the_detector_knows_for_noise_changes_nothing() -> None:
    noise = (1.0, CROWD, False)
    frames, flags = sound([noise, *sentence(4, soft=CROWD), noise, *sentence(4, soft=CROWD), noise])
    vad = Foreground(Scripted(flags))
    assert [vad.is_speech(frame) for frame in frames] == flags


def test_a_reset_forgets_the_crowd_and_what_was_under_it() -> None:
    frames, flags = sound([CAFE, CAFE])
    vad = Foreground(Scripted(flags))
    first = [vad.is_speech(frame) for frame in frames]
    vad.reset()
    assert [vad.is_speech(frame) for frame in frames] == first
    assert all(first[:95])
    assert isinstance(vad, VAD)


# --- laws -----------------------------------------------------------------------------------------

quiet_rooms = st.lists(
    st.tuples(st.floats(0.3, 6), st.floats(-45, -12), st.floats(0.1, 2)), min_size=1, max_size=6
)


@given(quiet_rooms, st.integers(0, 10))
def test_in_a_quiet_room_the_flags_are_the_detectors(
    turns: list[tuple[float, float, float]], seed: int
) -> None:
    pieces = [
        piece
        for seconds, loud, pause in turns
        for piece in (*sentence(seconds, loud=loud, soft=-75), (pause, -75.0, False))
    ]
    frames, flags = sound(pieces, seed)
    vad = Foreground(Scripted(flags))
    assert [vad.is_speech(frame) for frame in frames] == flags


@given(
    st.lists(st.tuples(st.floats(0.02, 3), st.floats(-70, -5), st.booleans()), max_size=12),
    st.integers(0, 10),
)
def test_what_the_detector_takes_for_silence_is_never_speech(
    pieces: list[Piece], seed: int
) -> None:
    frames, flags = sound(pieces, seed)
    vad = Foreground(Scripted(flags))
    found = [vad.is_speech(frame) for frame in frames]
    assert not any(mine and not theirs for mine, theirs in zip(found, flags, strict=True))
