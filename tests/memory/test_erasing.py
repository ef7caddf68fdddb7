"""Erasing a part: what is left is what would be, had the rest never been."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from echat_memory import Encryption, Scope, SQLMemory, sealing
from echat_memory.erasing import erase
from echat_memory.schema import FactRow, PlanRow, SafetyRow, SessionRow, TurnRow, UserRow
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, ConsentError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.turn import Turn

Contents = Callable[[], list[bytes]]

SAID = (
    "I live in Leeds.",
    "I live in York.",
    "I don't live in Leeds any more.",
    "I don't live in York any more.",
    "My dog is called Rex.",
    "My dog is called Max. I live in Bath.",
    "My dog is called Bo.",
    "My dog died.",
    "My dog is ill.",
    "I have an exam on Friday.",
    "I love jazz. I live in Leeds.",
    "I hate jazz.",
    "I don't want to talk about work.",
    "We can talk about work again.",
    "Nothing much happened.",
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def _fresh(folder: Path, empty: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "echat.db"
    for suffix in ("", ".key"):
        source = empty.with_name(empty.name + suffix)
        path.with_name(path.name + suffix).write_bytes(source.read_bytes())
    return path


def _opened(folder: Path, empty: Path, clock: Clock) -> SQLMemory:
    """A new store that waits for no disk."""
    memory = SQLMemory(_fresh(folder, empty), clock=clock, unasked=REMEMBERED)
    memory._database.connection.exec_driver_sql("PRAGMA synchronous = OFF")
    memory._database.connection.commit()
    return memory


def _erase(memory: SQLMemory, scope: Scope) -> None:
    """The rows alone, without receipt and bytes."""
    with memory._open(write=True) as connection:
        erase(connection, memory.pseudonym("ada"), scope, through=1_000, now=memory._clock())


def _facts(memory: SQLMemory, renamed: dict[int, int]) -> list[tuple[object, ...]]:
    """All facts in order, with the place of what superseded each; turns by their place."""
    found = select(
        FactRow.id, FactRow.turn_id, FactRow.kind, FactRow.subject, FactRow.value,
        FactRow.valid_from, FactRow.valid_to, FactRow.superseded_by, FactRow.trust,
    ).order_by(FactRow.id)  # fmt: skip
    with memory._open(write=False) as connection:
        rows = connection.execute(found).all()
    place = {row.id: number for number, row in enumerate(rows)}
    return [
        (
            row.turn_id and renamed[row.turn_id], row.kind, row.subject, row.value, row.valid_from,
            row.valid_to, row.superseded_by and place[row.superseded_by], row.trust,
        )
        for row in rows
    ]  # fmt: skip


def _sittings(memory: SQLMemory) -> list[tuple[object, ...]]:
    """Turns in order, each with its number in its session and that one's bounds."""
    found = (
        select(TurnRow.transcript, TurnRow.seq, SessionRow.started_at, SessionRow.ended_at)
        .join(SessionRow, SessionRow.id == TurnRow.session_id)
        .order_by(TurnRow.id)
    )
    with memory._open(write=False) as connection:
        return [tuple(row) for row in connection.execute(found)]


def _users(memory: SQLMemory) -> list[tuple[object, ...]]:
    found = select(UserRow.created_at, UserRow.last_seen_at)
    with memory._open(write=False) as connection:
        return [tuple(row) for row in connection.execute(found)]


def _all(memory: SQLMemory, turns: list[int]) -> list[object]:
    renamed = {turn: number for number, turn in enumerate(turns)}
    mood = memory.mood("ada")
    return [_facts(memory, renamed), _sittings(memory), _users(memory), mood.sessions, mood.days]


_told = st.lists(
    st.tuples(st.sampled_from(SAID), st.sampled_from([1, 20, 29, 45])), min_size=1, max_size=12
)


def _tell(memory: SQLMemory, clock: Clock, told: list[tuple[str, int]], without: set[int]) -> Any:
    ids, begun = [], clock.now
    for number, (said, minutes) in enumerate(told):
        clock.now += timedelta(minutes=minutes)
        if number not in without:
            cues = Cues(Cue("sad" if number % 2 else "happy", 0.8))
            ids.append(int(memory.remember("ada", Turn(said, cues=cues, seconds=2))))
        else:
            ids.append(0)
    clock.now = begun + timedelta(days=1)
    return ids


@pytest.mark.timeout(90)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(told=_told, data=st.data())
def test_an_erased_turn_leaves_the_facts_and_sittings_that_would_be_had_it_never_been(
    tmp_path: Path, empty_store: Path, told: list[tuple[str, int]], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, len(told) - 1), min_size=1, max_size=3))
    one, other = Clock(), Clock()
    with (
        closing(_opened(tmp_path, empty_store, one)) as memory,
        closing(_opened(tmp_path, empty_store, other)) as never,
    ):
        ids = _tell(memory, one, told, set())
        for number in gone:
            _erase(memory, Scope(turn=str(ids[number])))
        left = [turn for number, turn in enumerate(ids) if number not in gone]
        others = [turn for turn in _tell(never, other, told, gone) if turn]
        assert _all(memory, left) == _all(never, others)
        # And what is told from now on falls on the same ground.
        for each, clock, turns in ((memory, one, left), (never, other, others)):
            for said in SAID[:8]:
                clock.now += timedelta(minutes=2)
                turns.append(int(each.remember("ada", Turn(said))))
        assert _all(memory, left) == _all(never, others)
        assert memory.recall("ada").facts == never.recall("ada").facts


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(told=_told, data=st.data())
def test_what_was_said_since_leaves_what_had_been_told_until_then(
    tmp_path: Path, empty_store: Path, told: list[tuple[str, int]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(told) - 1))
    one, other = Clock(), Clock()
    since = one.now + timedelta(minutes=sum(minutes for _, minutes in told[: first + 1]))
    with (
        closing(_opened(tmp_path, empty_store, one)) as memory,
        closing(_opened(tmp_path, empty_store, other)) as never,
    ):
        ids = _tell(memory, one, told, set())
        _erase(memory, Scope(since=since))
        others = _tell(never, other, told, set(range(first, len(told))))
        assert _all(memory, ids[:first]) == _all(never, others[:first])


# --- on both databases -----------------------------------------------------------------------


def _tables(memory: SQLMemory, *tables: Any) -> list[int]:
    with memory._open(write=False) as connection:
        return [len(connection.execute(select(table)).all()) for table in tables]


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def each(
    request: pytest.FixtureRequest, store: Path | str, clock: Any, tmp_path: Path
) -> Iterator[SQLMemory]:
    """A plain store, and one whose words are encrypted."""
    how = Encryption(shares=tmp_path / "some.shares") if request.param else None
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED, encryption=how)) as memory:
        yield memory


def test_what_a_denial_took_back_and_a_later_turn_said_again_is_told_as_it_would_be(
    each: SQLMemory, clock: Any
) -> None:
    ids = []
    for said in ("I live in Leeds.", "I don't live in Leeds any more.", "I love jazz."):
        ids.append(each.remember("ada", Turn(said)))
        clock.advance(minutes=1)
    assert each.facts("ada") == ("they like jazz",)
    receipt = each.erase("ada", turn=ids[1])
    assert receipt.counts == {"turns": 1}
    assert each.facts("ada") == ("they like jazz", "they live in Leeds")
    again = each.remember("ada", Turn("I live in Leeds."))
    each.erase("ada", turn=ids[0])  # now it is the last turn that told it
    assert each.facts("ada") == ("they live in Leeds", "they like jazz")
    each.erase("ada", turn=again)
    assert each.facts("ada") == ("they like jazz",)
    each.erase("ada", turn=ids[2])
    assert each.users() == 0
    assert each.verify().is_whole


def test_a_fact_of_a_swept_turn_comes_back_when_what_replaced_it_goes(
    each: SQLMemory, clock: Any
) -> None:
    for said in ("I live in Leeds.", "My dog is called Rex.", "I don't love jazz."):
        each.remember("ada", Turn(said))
    clock.advance(days=80)
    later = each.remember("ada", Turn("I live in York."))
    each.remember("ada", Turn("hello"))
    clock.advance(days=11)
    each.sweep()
    assert each.facts("ada") == ("they live in York", "their dog is called Rex")
    each.erase("ada", turn=later)
    assert each.facts("ada") == ("their dog is called Rex", "they live in Leeds")
    each.erase("ada", since=clock.now - timedelta(days=92))  # swept or not, it was said since
    assert each.facts("ada") == ()
    assert each.users() == 0


def test_what_other_turns_had_been_given_of_it_is_in_no_plan_any_more(
    each: SQLMemory, clock: Any
) -> None:
    home = each.remember("ada", Turn("I live in Leeds. The garden is full of roses."))
    each.remember("ada", Turn("My dog is called Rex."))
    for _ in range(7):
        each.remember("ada", Turn("Nothing much."))
    query = "Do you remember the roses in the garden?"
    each.prefetch("ada")
    assert each.recall("ada", query=query).episodes
    asked = each.remember("ada", Turn(query, reply="Yes.", strategy="ask"))
    each.recall("ada", query="Well.")
    bare = each.remember("ada", Turn("Well.", reply="Well."))
    before = each.trace("ada", asked)
    assert (len(before.facts), len(before.episodes), before.last_turns) == (2, 1, 6)
    each.erase("ada", turn=home)
    after = each.trace("ada", asked)
    assert (after.facts, after.episodes) == (("their dog is called Rex",), ())
    for text in _remembered(each):
        assert home not in map(str, text["episodes"])
    assert each.trace("ada", bare).last_turns == 6
    each.erase("ada", turn=asked)
    assert each.trace("ada", bare).last_turns == 5
    assert not each.recall("ada", query=query).episodes  # nor in the search in RAM


def _remembered(memory: SQLMemory) -> list[dict[str, Any]]:
    found = select(PlanRow.turn_id, PlanRow.user_id, PlanRow.remembered)
    with memory._open(write=False) as connection:
        rows = connection.execute(found).all()
        texts = [
            sealing.words(connection, PlanRow, row.turn_id, row.user_id, row._mapping)["remembered"]
            for row in rows
        ]
    return [json.loads(text) for text in texts if text]


def test_a_fact_that_gets_a_new_id_is_still_told_in_the_plans_that_had_it(
    each: SQLMemory,
) -> None:
    first = each.remember("ada", Turn("I live in Leeds."))
    each.remember("ada", Turn("I love jazz. I live in Leeds."))
    each.remember("ada", Turn("My dog is called Rex."))
    each.recall("ada", query="Well.")
    asked = each.remember("ada", Turn("Well.", reply="Well.", strategy="ask"))
    assert len(each.trace("ada", asked).facts) == 3
    each.erase("ada", turn=first)
    # It is a fact of the second turn now, and no plan had been given that one.
    assert each.trace("ada", asked).facts == ("their dog is called Rex", "they like jazz")
    assert each.facts("ada")[0] == "their dog is called Rex"
    assert set(each.facts("ada")) == {
        "their dog is called Rex", "they live in Leeds", "they like jazz"
    }  # fmt: skip


def test_safety_events_of_an_erased_turn_go_and_pauses_with_the_last(
    memory: SQLMemory, clock: Any
) -> None:
    ids = [memory.remember("ada", Turn("hello", seconds=2)) for _ in range(3)]
    memory.consent("ada", Purpose.TRAIN)
    memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
    with memory._open(write=True) as connection:
        user_id = connection.execute(select(UserRow.id)).scalar_one()
        for turn in (*map(int, ids), None):
            event = {"user_id": user_id, "turn_id": turn, "category": "self-harm", "at": clock()}
            told = {"severity": "high", "detector": "words", "action": "care"}
            connection.execute(insert(SafetyRow), event | told)
    memory.erase("ada", turn=ids[0])
    assert _tables(memory, SafetyRow, TurnRow) == [3, 2]
    assert memory.pauses("ada").count == 3
    memory.erase("ada", since=clock.now - timedelta(minutes=1))
    assert _tables(memory, SafetyRow, TurnRow, SessionRow, UserRow) == [0, 0, 0, 1]
    assert memory.pauses("ada") == PauseProfile()
    assert memory.consents("ada").of(Purpose.TRAIN).state is ConsentState.GRANTED


@pytest.mark.parametrize("purpose", sorted(REMEMBERED))
def test_a_purpose_is_erased_as_by_a_refusal_that_nobody_gave(
    store: Path | str, clock: Any, purpose: Purpose
) -> None:
    turn = Turn(
        "My dog is called Rex.", think="t", reply="r", seconds=2, cues=Cues(Cue("sad", 0.8))
    )
    with closing(SQLMemory(store, clock=clock)) as memory:
        for user in ("ada", "eve"):
            memory.consent(user, REMEMBERED)
            memory.remember(user, turn)
            memory.remember(user, Turn("I live in Leeds."))
        memory.erase("ada", purpose=purpose)
        memory.consent("eve", purpose, ConsentState.WITHDRAWN)
        assert [each.turn for each in memory.show("ada")] == [
            each.turn for each in memory.show("eve")
        ]
        assert memory.facts("ada") == memory.facts("eve")
        assert memory.allowed("ada") >= REMEMBERED
        memory.remember("ada", turn)
        assert memory.show("ada")[-1].turn == turn


def test_a_turn_that_is_held_in_ram_is_dropped(store: Path | str, clock: Any) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        turns = [memory.remember("ada", Turn(said)) for said in ("one", "two")]
        assert memory.erase("ada", turn=turns[0]).counts == {}
        assert [turn.transcript for turn in memory.recall("ada").turns] == ["two"]
        memory.erase("ada", since=clock.now)
        assert memory.recall("ada").turns == ()


def test_of_another_user_nothing_is_erased(memory: SQLMemory, clock: Any) -> None:
    ada = memory.remember("ada", Turn("I live in Leeds."))
    memory.remember("bob", Turn("I live in York."))
    assert memory.erase("bob", turn=ada).counts == {}
    memory.erase("ada", since=clock.now)
    assert memory.facts("bob") == ("they live in York",)
    assert memory.users() == 1


def test_what_makes_no_scope_is_refused(memory: SQLMemory) -> None:
    with pytest.raises(ConfigError, match="got turn and purpose; name one"):
        memory.erase("ada", turn="1", purpose="train")
    with pytest.raises(ConfigError, match="without a zone"):
        memory.erase("ada", since=datetime(2026, 3, 2))
    with pytest.raises(ConfigError, match="no turn's id"):
        memory.erase("ada", turn="that one")
    with pytest.raises(ConsentError, match="no purpose"):
        memory.erase("ada", purpose="fun")
    assert memory.receipts() == []


# --- bytes -----------------------------------------------------------------------------------

GONE = ("Zqxgone", "zqxthought", "zqxreply", "zqxlabel")
STAYS = "Zqxstays"


def _markers(contents: Contents) -> set[str]:
    codes = ("utf-8", "utf-16-le", "utf-16-be")
    data = contents()
    return {
        marker
        for marker in (*GONE, STAYS)
        if any(marker.encode(code) in each for each in data for code in codes)
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scope", ["turn", "since", "purpose"])
def test_not_a_byte_is_left_of_a_part_that_is_erased(
    memory: SQLMemory, contents: Contents, clock: Any, scope: str
) -> None:
    words, think, reply, label = GONE
    cues = Cues(Cue(label, 0.5, {label: 1.0}, f"why {label}"))
    said = Turn(
        f"{words}. My dog is called {words}.", think=think, reply=reply * 40, cues=cues, seconds=2
    )
    memory.remember("ada", Turn(f"My dog is called {STAYS}."))
    clock.advance(minutes=40)
    since, ids = clock.now, []
    for _ in range(6):
        ids.append(memory.remember("ada", said))
        memory.remember("bob", Turn("I live in Leeds."))
    assert _markers(contents) == {*GONE, STAYS}
    if scope == "turn":
        for turn in ids:
            memory.erase("ada", turn=turn)
    elif scope == "since":
        memory.erase("ada", since=since)
    else:
        memory.erase("ada", purpose=Purpose.PROCESS_VOICE)
    assert _markers(contents) == {STAYS}
    assert memory.facts("ada") == (f"their dog is called {STAYS}",)
