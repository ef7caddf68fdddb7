from __future__ import annotations

import re
from typing import Any

import pytest

from echat_sdk.cli.replay import ReplayedTurn, _show, differing, side_by_side, turns_of
from echat_sdk.io.session import SessionSettings


def turn(ended: float, transcript: str = "hello", reply: str = "Hi.") -> ReplayedTurn:
    return ReplayedTurn(ended, transcript, "happy", reply, "happy", "complete", ended + 0.1, 0.4)


EVENTS: tuple[dict[str, Any], ...] = (
    {"at": 1.0, "event": "user_started"},
    {"at": 2.0, "event": "user_stopped", "pause": 0.3},
    {"at": 2.4, "event": "state", "state": "speaking"},
    {"at": 2.9, "event": "state", "state": "overlapped"},
    {"at": 3.1, "event": "state", "state": "speaking"},
    {
        "at": 4.0,
        "event": "turn",
        "status": "complete",
        "transcript": "hello",
        "cues": {"emotion": {"label": "happy"}},
        "reply": "Hi.",
        "reply_emotion": "happy",
        "timings": {"first_audio": 0.5},
    },
    {"at": 6.0, "event": "user_stopped", "pause": 0.3},
    {"at": 7.0, "event": "turn", "status": "failed", "transcript": "bye"},
)


def test_turns_are_read_from_events_with_when_the_agent_began_to_speak() -> None:
    assert turns_of(EVENTS) == [
        ReplayedTurn(2.0, "hello", "happy", "Hi.", "happy", "complete", 2.4, 0.5),
        ReplayedTurn(6.0, "bye", "", "", "", "failed", None, None),
    ]


def test_a_typed_turn_ended_when_it_was_typed_and_the_one_it_cut_off_keeps_its_time() -> None:
    typed: tuple[dict[str, Any], ...] = (
        {"at": 2.0, "event": "user_stopped", "pause": 0.3},
        {"at": 2.4, "event": "state", "state": "speaking"},
        {"at": 3.0, "event": "typed", "text": "wait", "cues": {}},
        {"at": 3.0, "event": "turn", "status": "interrupted", "transcript": "hello"},
        {"at": 3.1, "event": "heard", "transcript": "wait"},
        {"at": 3.2, "event": "state", "state": "speaking"},
        {"at": 4.0, "event": "turn", "status": "complete", "transcript": "wait"},
    )
    assert [(each.transcript, each.ended, each.spoke) for each in turns_of(typed)] == [
        ("hello", 2.0, 2.4),
        ("wait", 3.0, 3.2),
    ]


@pytest.mark.parametrize("value", [None, 7, [], {"emotion": []}, {"emotion": {"label": 7}}])
def test_fields_that_are_not_as_they_should_be_count_as_empty(value: object) -> None:
    forged = {"at": 1.0, "event": "turn", "cues": value, "timings": value, "reply": value}
    (read,) = turns_of((forged,))
    assert (read.emotion, read.reply, read.first_audio) == ("", "", None)


def test_turns_stand_beside_those_that_ended_at_the_same_time() -> None:
    recorded = [turn(2.0), turn(5.0), turn(9.0)]
    replayed = [turn(2.4), turn(7.0), turn(9.1), turn(12.0)]
    assert [(a and a.ended, b and b.ended) for a, b in side_by_side(recorded, replayed)] == [
        (2.0, 2.4),
        (5.0, None),
        (None, 7.0),
        (9.0, 9.1),
        (None, 12.0),
    ]


def test_a_turn_differs_in_what_was_said_and_not_in_its_times() -> None:
    assert differing((turn(2.0), turn(2.3))) == []
    assert differing((turn(2.0), turn(2.0, reply="Hello."))) == ["reply"]
    assert "transcript" in differing((turn(2.0), None))


def test_the_two_are_shown_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    before = SessionSettings(
        started="", consent="flag", model="old", lang="en", think="tag", policy="brisk", echo="off"
    )
    after = before.model_copy(update={"model": "new"})
    pairs = [(turn(2.0, "a [b]\x1b"), turn(2.3, "a [b]\x1b")), (turn(5.0), None)]
    _show(before, after, pairs)
    told = capsys.readouterr().out
    assert re.search(r"recorded: old, brisk +replayed: new, brisk", told)
    assert re.search(r"transcript +a \[b\]  +a \[b\] ", told)
    assert re.search(r"transcript +hello +no such turn", told)
    assert "1 of 2 turns differ" in told
    assert "\x1b" not in told
