"""A turn whose words told of a danger leaves an event without words, in the turn's transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echat_memory import SQLMemory, rows
from echat_memory.trace import in_words
from echat_sdk.consent import ConsentState, Purpose
from echat_sdk.errors import StoreError
from echat_sdk.turn import SafetyEvent, Turn, TurnStatus

EVENT = SafetyEvent("self", "risk", "care rules 1", "caring reply")
TURN = Turn("I want to die.", reply="I'm here.", safety=EVENT, seconds=2.0)

Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]


@pytest.fixture
def events(store: Path | str, sql: Sql) -> Callable[[], list[tuple[Any, ...]]]:
    asked = "SELECT turn_id, category, severity, detector, action FROM safety_events"
    return lambda: sql(store, asked)


Events = Callable[[], list[tuple[Any, ...]]]


def test_the_event_is_kept_with_the_turn_and_once(memory: SQLMemory, events: Events) -> None:
    opened = memory.remember("ada", replace(TURN, status=TurnStatus.OPEN, reply="", safety=None))
    assert events() == []
    memory.remember("ada", TURN, turn_id=opened)
    memory.remember("ada", TURN, turn_id=opened)
    memory.remember("ada", Turn("hello"))
    assert events() == [(int(opened), "self", "risk", "care rules 1", "caring reply")]
    assert [stored.turn.safety for stored in memory.show("ada")] == [EVENT, None]


def test_a_turn_that_could_not_be_written_has_no_event(
    memory: SQLMemory, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"category": None, "severity": "", "detector": "", "action": ""}  # none is refused
    monkeypatch.setattr(rows, "safety_columns", lambda event: columns)
    with pytest.raises(StoreError):
        memory.remember("ada", TURN)
    assert events() == []
    assert memory.show("ada") == []


def test_the_trace_tells_of_it_in_both_languages(memory: SQLMemory) -> None:
    memory.remember("ada", TURN)
    found = memory.trace("ada")
    assert found.to_json()["safety"] == {
        "category": "self",
        "severity": "risk",
        "detector": "care rules 1",
        "action": "caring reply",
    }
    assert dict(in_words(found))["danger"] == (
        "the words told of a danger (self, risk, by care rules 1): caring reply."
    )
    assert "self" in dict(in_words(found, "zh"))["危险"]
    memory.remember("ada", Turn("hello"))
    assert memory.trace("ada").to_json()["safety"] is None
    assert "danger" not in dict(in_words(memory.trace("ada")))


def test_who_forgets_a_turn_forgets_its_event(memory: SQLMemory, events: Events) -> None:
    turn_id = memory.remember("ada", TURN)
    memory.remember("ada", TURN)
    assert memory.forget("ada", turn=turn_id) == 1
    assert len(events()) == 1
    memory.forget("ada")
    assert events() == []


@pytest.mark.parametrize(
    "purpose", [Purpose.STORE_TRANSCRIPT, Purpose.LONG_TERM_MEMORY, Purpose.PROCESS_VOICE]
)
def test_a_refusal_takes_events_too_those_whose_turn_was_swept_among_them(
    memory: SQLMemory, events: Events, clock: Any, purpose: Purpose
) -> None:
    memory.remember("ada", TURN)
    memory.remember("bob", TURN)
    clock.advance(days=91)
    memory.sweep()
    memory.remember("ada", TURN)
    assert [event[0] for event in events()][:2] == [None, None]
    memory.consent("ada", purpose, ConsentState.DENIED)
    assert len(events()) == 1  # bob's


def test_without_feelings_it_stays_for_it_was_read_in_the_words(
    memory: SQLMemory, events: Events
) -> None:
    memory.remember("ada", TURN)
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.DENIED)
    assert len(events()) == 1


def test_a_host_s_own_words_are_cut_to_what_the_columns_hold(
    memory: SQLMemory, events: Events
) -> None:
    memory.remember("ada", replace(TURN, safety=SafetyEvent("a\0" * 60, "b" * 60, "", "")))
    ((_, category, severity, _, _),) = events()
    assert (len(category), severity) == (32, "b" * 16)
