"""Turns out of speech flags: examples that people would draw, and laws over any schedule."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echat_sdk.audio import FRAME_LEN, AudioFrame
from echat_sdk.turn_detector import (
    Floor,
    SoftEnd,
    SpeechGoesOn,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    TurnEvent,
    Utterance,
)
from echat_sdk.turn_policy import TurnPolicy

POLICY = TurnPolicy()


def frame(number: int) -> AudioFrame:
    return AudioFrame(np.full(FRAME_LEN, number, np.int16))


def heard(
    detector: TurnDetector,
    flags: str,
    chance: float | None = None,
    *,
    read_after: int | None = None,
    hangs: bool | None = None,
) -> list[TurnEvent]:
    """Events of a schedule: `x` is a frame with speech, `.` one without.

    Every pause is judged at once; its words are expected, and told so many frames later.
    """
    events = []
    told = revision = -1
    for number, flag in enumerate(flags):
        if number == told:
            detector.read(revision, hangs)
        for event in detector.push(frame(number), flag == "x"):
            events.append(event)
            if isinstance(event, SoftEnd):
                revision = event.revision
                if chance is not None:
                    detector.judge(revision, chance)
                if read_after is not None:
                    detector.expect(revision)
                    told = number + read_after
    return events


def kinds(events: list[TurnEvent]) -> list[str]:
    return [type(e).__name__ for e in events if not isinstance(e, SpeechGoesOn)]


def test_a_sentence_begins_pauses_and_ends() -> None:
    events = heard(TurnDetector(), "." * 50 + "x" * 50 + "." * 60)
    assert kinds(events) == ["SpeechStarted", "SoftEnd", "Utterance"]
    utterance = events[-1]
    assert isinstance(utterance, Utterance)
    assert utterance.why == "pause"
    assert utterance.pause == pytest.approx(POLICY.delay, abs=0.011)
    assert utterance.seconds == pytest.approx(0.5 + 1.0 + POLICY.soft_end, abs=0.021)


def test_the_turn_begins_before_its_speech_was_sure() -> None:
    (started, *_) = heard(TurnDetector(), "." * 50 + "x" * 20)
    assert isinstance(started, SpeechStarted)
    first = int(started.frames[0].samples[0])
    assert first == 50 - round(POLICY.pre_roll / 0.02)


def test_a_pause_within_a_sentence_is_no_end_and_its_sound_is_kept() -> None:
    events = heard(TurnDetector(), "x" * 40 + "." * 20 + "x" * 40)
    assert kinds(events) == ["SpeechStarted", "SoftEnd", "SpeechResumed"]
    resumed = next(e for e in events if isinstance(e, SpeechResumed))
    assert resumed.pause == pytest.approx(20 * 0.02)
    assert len(resumed.frames) == 20 - round(POLICY.soft_end / 0.02) + 1


def test_what_sounds_complete_ends_sooner_and_what_does_not_is_waited_for() -> None:
    speech = "x" * 40 + "." * 200

    def waited(chance: float | None) -> float:
        last = heard(TurnDetector(), speech, chance)[-1]
        assert isinstance(last, Utterance)
        return last.pause

    assert waited(0.95) < waited(None) < waited(0.02)
    assert waited(0.95) == pytest.approx(POLICY.min_delay, abs=0.011)


def pause_of(flags: str, chance: float | None, **words: object) -> float:
    last = heard(TurnDetector(), flags, chance, **words)[-1]  # type: ignore[arg-type]
    assert isinstance(last, Utterance)
    return last.pause


def test_a_complete_turn_waits_for_its_words_and_ends_with_them() -> None:
    speech = "x" * 40 + "." * 200
    known = POLICY.soft_end + 15 * 0.02
    assert pause_of(speech, 1.0) == pytest.approx(POLICY.min_delay, abs=0.011)
    for hangs in (False, None):
        told = pause_of(speech, 1.0, read_after=15, hangs=hangs)
        assert told == pytest.approx(known, abs=0.021)


def test_words_that_hang_are_waited_for() -> None:
    speech = "x" * 40 + "." * 200
    hanging = POLICY.end_delay(POLICY.hanging)
    assert pause_of(speech, 1.0, read_after=15, hangs=True) == pytest.approx(hanging, abs=0.021)


def test_words_that_never_come_hold_nobody_up_for_long() -> None:
    speech = "x" * 40 + "." * 200
    assert pause_of(speech, 1.0, read_after=500) == pytest.approx(POLICY.words, abs=0.021)
    assert pause_of(speech, 0.0, read_after=500) == pytest.approx(POLICY.max_delay, abs=0.021)


def test_words_of_an_earlier_pause_are_dropped_and_not_waited_for() -> None:
    detector = TurnDetector()
    heard(detector, "x" * 40 + "." * 10 + "x" * 20 + "." * 10, 1.0)
    detector.expect(1)
    detector.read(1, True)
    assert kinds(heard(detector, "." * 5)) == ["Utterance"]
    detector.expect(2)
    detector.read(2, True)
    assert detector.floor is Floor.QUIET


def test_words_that_are_known_already_are_not_waited_for() -> None:
    detector = TurnDetector()
    heard(detector, "x" * 40 + "." * 10, 1.0)
    detector.read(1, False)
    detector.expect(1)
    assert kinds(heard(detector, "." * 5)) == ["Utterance"]


def test_a_judgement_of_an_earlier_pause_is_dropped() -> None:
    detector = TurnDetector()
    heard(detector, "x" * 40 + "." * 10 + "x" * 20 + "." * 10)
    detector.judge(1, 1.0)
    assert kinds(heard(detector, "." * 20)) == []
    detector.judge(2, 1.0)
    assert kinds(heard(detector, ".")) == ["Utterance"]


def test_a_click_is_no_turn() -> None:
    assert heard(TurnDetector(), ("xx" + "." * 20) * 20) == []


def test_a_turn_that_never_pauses_ends_at_the_longest() -> None:
    policy = TurnPolicy(longest=2)
    events = heard(TurnDetector(policy), "x" * 150)
    (utterance,) = (e for e in events if isinstance(e, Utterance))
    assert utterance.why == "longest"
    assert utterance.seconds == pytest.approx(2)


def test_closing_ends_an_open_turn_and_is_silent_otherwise() -> None:
    detector = TurnDetector()
    heard(detector, "x" * 20)
    (utterance,) = detector.close()
    assert isinstance(utterance, Utterance)
    assert utterance.why == "closed"
    assert list(detector.close()) == []


def test_a_reset_forgets_the_turn() -> None:
    detector = TurnDetector()
    heard(detector, "x" * 20)
    detector.reset()
    assert detector.floor is Floor.QUIET
    assert list(detector.close()) == []


# --- laws -----------------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn) -> str:
    runs = draw(st.lists(st.tuples(st.booleans(), st.integers(1, 150)), min_size=1, max_size=12))
    return "".join(("x" if speech else ".") * count for speech, count in runs)


def given_to_the_hearing(events: list[TurnEvent]) -> Iterator[int]:
    for event in events:
        match event:
            case SpeechStarted(frames) | SpeechResumed(frames, _):
                yield from (int(f.samples[0]) for f in frames)
            case SpeechGoesOn(f):
                yield int(f.samples[0])


@given(schedules(), st.none() | st.floats(0, 1), st.floats(1, 2))
def test_events_come_in_order_and_every_start_has_one_end(
    flags: str, chance: float | None, patience: float
) -> None:
    detector = TurnDetector(patience=patience)
    events = heard(detector, flags, chance) + list(detector.close())
    follows = {
        "": {"SpeechStarted"},
        "SpeechStarted": {"SpeechGoesOn", "Utterance"},
        "SpeechGoesOn": {"SpeechGoesOn", "SoftEnd", "Utterance"},
        "SoftEnd": {"SpeechResumed", "Utterance"},
        "SpeechResumed": {"SpeechGoesOn", "Utterance"},
        "Utterance": {"SpeechStarted"},
    }
    last = ""
    for event in events:
        name = type(event).__name__
        assert name in follows[last], f"{name} after {last or 'nothing'}"
        last = name
    assert last in ("", "Utterance")


@given(schedules(), st.none() | st.floats(0, 1))
def test_no_frame_is_given_twice_or_out_of_order_and_no_speech_within_a_turn_is_lost(
    flags: str, chance: float | None
) -> None:
    detector = TurnDetector(TurnPolicy(longest=600))
    events = heard(detector, flags, chance)
    numbers = list(given_to_the_hearing(events))
    assert numbers == sorted(set(numbers))
    for started, ended in turns(events, numbers):
        spoken = {n for n in range(started, ended + 1) if flags[n] == "x"}
        assert spoken <= set(numbers)


def turns(events: list[TurnEvent], numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last frame of each turn."""
    first = last = -1
    for event in events:
        match event:
            case SpeechStarted(frames):
                first, last = int(frames[0].samples[0]), int(frames[-1].samples[0])
            case SpeechResumed(frames, _):
                last = int(frames[-1].samples[0])
            case SpeechGoesOn(f):
                last = int(f.samples[0])
            case Utterance():
                yield first, last


words = st.none() | st.integers(1, 60)


@given(schedules(), st.none() | st.floats(0, 1), words, st.none() | st.booleans())
def test_words_change_when_a_turn_ends_and_never_leave_the_bounds(
    flags: str, chance: float | None, read_after: int | None, hangs: bool | None
) -> None:
    flags = "x" * 20 + flags + "." * 120
    events = heard(TurnDetector(), flags, chance, read_after=read_after, hangs=hangs)
    ends = [event for event in events if isinstance(event, Utterance) and event.why == "pause"]
    assert ends
    for end in ends:
        assert POLICY.min_delay - 0.011 <= end.pause <= POLICY.max_delay + 0.011


@given(schedules())
def test_a_turn_that_has_begun_ends_once_it_has_been_quiet_long_enough(flags: str) -> None:
    detector = TurnDetector()
    heard(detector, flags + "." * (round(POLICY.max_delay / 0.02) + 10))
    assert detector.floor is Floor.QUIET
