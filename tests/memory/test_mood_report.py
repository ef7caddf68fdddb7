from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from echat_memory import SQLMemory
from echat_memory.mood import mood_line
from echat_memory.mood_home import Affect, Home, InsufficientData, Trend
from echat_memory.mood_report import MoodReport, TurnMood, days, report, sittings, split
from echat_memory.schema import PERSONAL, TurnRow
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import ANCHORS, Cue, Cues, Emotion, affect
from echat_sdk.errors import StoreError
from echat_sdk.turn import Turn, TurnStatus

NOW = datetime(2026, 3, 30, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def sounded(at: datetime, label: str = "sad", confidence: float = 0.8, seconds: float = 3) -> Any:
    place = affect(Cue(label, confidence)) or (None, None)
    why = "too noisy" if label == "unknown" else ""
    return TurnMood(at, seconds, label, confidence, {}, *place, why)


_labels = st.sampled_from([*(label.value for label in Emotion), "unknown"])
_turns = st.lists(
    st.builds(
        sounded,
        st.integers(0, 40 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes)),
        _labels,
        st.floats(0, 1),
        st.floats(0, 60),
    ),
    max_size=60,
    unique_by=lambda turn: turn.at,
)


# --- laws ------------------------------------------------------------------------------------


@given(_turns, st.randoms())
def test_the_order_in_which_turns_come_changes_not_a_bit(
    turns: list[TurnMood], random: Random
) -> None:
    shuffled = turns.copy()
    random.shuffle(shuffled)
    assert report(shuffled, now=NOW, zone=BERLIN) == report(turns, now=NOW, zone=BERLIN)


@given(_turns, st.randoms())
def test_the_order_of_turns_within_a_day_changes_nothing_of_the_day(
    turns: list[TurnMood], random: Random
) -> None:
    told = days(split(sitting, UTC) for sitting in sittings(turns))
    times = [turn.at for turn in turns]
    by_day: dict[date, list[datetime]] = {}
    for at in times:
        by_day.setdefault(at.date(), []).append(at)
    for sharing in by_day.values():
        random.shuffle(sharing)
    moved = [turn._replace(at=by_day[turn.at.date()].pop()) for turn in turns]
    assert days(split(sitting, UTC) for sitting in sittings(moved)) == told


@given(_turns)
def test_every_place_stays_within_its_bounds_and_every_turn_is_counted(
    turns: list[TurnMood],
) -> None:
    found = report(turns, now=NOW, zone=UTC)
    places = [row.affect for row in (*found.days, *found.sessions)]
    places += [place for place in (found.mood,) if isinstance(place, Affect)]
    for place in places:
        assert place is None or (-1 <= place.valence <= 1 and -1 <= place.arousal <= 1)
    for rows in (found.days, found.sessions):
        assert sum(row.turns for row in rows) == len(turns) == found.n_turns
        known = sum(row.known for row in rows)
        assert known + sum(found.unknown.values()) == len(turns)
    assert sum(day.sessions for day in found.days) >= len(found.sessions)


@given(_turns, st.integers(0, 40))
def test_since_only_hides_what_was_before(turns: list[TurnMood], ago: int) -> None:
    since = NOW.date() - timedelta(days=ago)
    whole = report(turns, now=NOW, zone=UTC)
    part = report(turns, now=NOW, zone=UTC, since=since)
    assert part.days == tuple(day for day in whole.days if day.day >= since)
    assert part.sessions == tuple(s for s in whole.sessions if s.ended.date() >= since)
    for name in ("home", "mood", "deviation", "trend"):
        assert getattr(part, name) == getattr(whole, name)


# --- what is told ----------------------------------------------------------------------------


def test_of_nobody_nothing_is_told() -> None:
    found = report([], now=NOW, zone=UTC)
    assert (found.days, found.sessions, found.n_turns, found.coverage) == ((), (), 0, None)
    for told in (found.home, found.mood, found.deviation, found.trend):
        assert isinstance(told, InsufficientData)


def test_a_long_and_sure_turn_counts_more_than_a_short_and_doubtful_one() -> None:
    long, short = sounded(NOW, "happy", 0.9, 9.0), sounded(NOW - timedelta(minutes=1), "sad", 0.3)
    (day,) = report([long, short], now=NOW, zone=UTC).days
    happy, sad = ANCHORS[Emotion.HAPPY], ANCHORS[Emotion.SAD]
    assert day.weight == pytest.approx(9 * 0.9 + 3 * 0.3)
    assert day.affect is not None
    assert day.affect.valence == pytest.approx((8.1 * happy[0] + 0.9 * sad[0]) / 9)


def test_a_day_of_unknown_turns_has_no_place_and_is_no_zero() -> None:
    turns = [sounded(NOW, "unknown"), sounded(NOW - timedelta(minutes=1), "other")]
    found = report(turns, now=NOW, zone=UTC)
    (day,), (sitting,) = found.days, found.sessions
    assert (day.affect, day.weight, day.turns, day.known) == (None, 0.0, 2, 1)
    assert sitting.affect is None
    assert (found.coverage, dict(found.unknown)) == (0.5, {"too noisy": 1})
    (sitting,) = report(turns[:1], now=NOW, zone=UTC).sessions
    assert (sitting.state.label, sitting.state.why) == ("unknown", "no emotion is known")


def test_days_begin_at_the_users_midnight() -> None:
    turns = [sounded(datetime(2026, 3, 28, hour, 30, tzinfo=UTC)) for hour in (22, 23)]
    in_berlin = report(turns, now=NOW, zone=BERLIN)
    assert [day.day for day in in_berlin.days] == [date(2026, 3, 28), date(2026, 3, 29)]
    assert in_berlin.zone == "Europe/Berlin"
    assert [day.day for day in report(turns, now=NOW, zone=UTC).days] == [date(2026, 3, 28)]


def test_a_sitting_over_midnight_is_one_and_is_of_both_days() -> None:
    turns = [
        sounded(datetime(2026, 3, 28, 23, 50, tzinfo=UTC) + timedelta(minutes=m)) for m in (0, 20)
    ]
    found = report(turns, now=NOW, zone=UTC)
    assert [day.sessions for day in found.days] == [1, 1]
    assert len(found.sessions) == 1


def test_a_lower_week_is_told_in_spreads_and_as_a_trend() -> None:
    turns = [
        sounded(NOW - timedelta(days=day), "happy" if day > 10 else "neutral" if day > 5 else "sad")
        for day in range(25)
    ]
    found = report(turns, now=NOW, zone=UTC)
    assert isinstance(found.home, Home)
    assert isinstance(found.deviation, Affect)
    assert isinstance(found.trend, Trend)
    assert found.deviation.valence < -1
    assert found.trend.valence.high < 0
    assert found.sessions[-1].state.label == "sad"


# --- in the store ----------------------------------------------------------------------------


def _erase_turn(memory: SQLMemory, turn_id: str) -> None:
    with memory._open(write=True) as connection:
        for table in PERSONAL:
            if table is not TurnRow and "turn_id" in table.__table__.c:
                connection.execute(delete(table).where(table.__table__.c.turn_id == int(turn_id)))
        connection.execute(delete(TurnRow).where(TurnRow.id == int(turn_id)))


_told = st.tuples(
    st.integers(1, 45) | st.integers(1, 60 * 30),  # minutes since the one before
    st.builds(
        Cue,
        _labels,
        st.floats(0, 1),
        st.just({}) | st.dictionaries(_labels, st.floats(0, 1), max_size=8),
        st.sampled_from(["", "too noisy"]),
    ),
    st.floats(0, 20),
    st.none() | st.sampled_from(Emotion),
)


def _history(
    folder: Path, empty: Path, told: list[Any], *, without: int | None = None
) -> tuple[SQLMemory, list[str]]:
    """A store in which all this was said; its clock stands still afterwards.

    In a folder of its own: beside a file that is written over, an old log would be read again.
    """
    path = Path(tempfile.mkdtemp(dir=folder)) / "echat.db"
    for suffix in ("", ".key"):
        source = empty.with_name(empty.name + suffix)
        path.with_name(path.name + suffix).write_bytes(source.read_bytes())
    at = [NOW - timedelta(days=30)]
    memory, ids = SQLMemory(path, clock=lambda: at[0], unasked=REMEMBERED), []
    for number, (minutes, emotion, seconds, felt) in enumerate(told):
        at[0] += timedelta(minutes=minutes)
        if number != without:
            ids.append(memory.remember("ada", Turn("x", cues=Cues(emotion), seconds=seconds)))
            if felt is not None:
                memory.report("ada", ids[-1], felt)
    at[0] = max(at[0], NOW)
    return memory, ids


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(told=st.lists(_told, min_size=1, max_size=14), data=st.data())
def test_an_erased_turn_leaves_exactly_what_would_be_had_it_never_been(
    tmp_path: Path, empty_store: Path, told: list[Any], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(0, len(told) - 1))
    since = data.draw(st.none() | st.integers(0, 30).map(lambda n: NOW.date() - timedelta(days=n)))
    memory, ids = _history(tmp_path, empty_store, told)
    never, _ = _history(tmp_path, empty_store, told, without=gone)
    with closing(memory), closing(never):
        _erase_turn(memory, ids[gone])
        for zone in (UTC, BERLIN):
            left = memory.mood("ada", since=since, zone=zone)
            assert left == never.mood("ada", since=since, zone=zone)
        assert memory.recall("ada").mood == never.recall("ada").mood


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)
@given(told=st.lists(_told, min_size=1, max_size=14), ago=st.integers(-1, 32))
def test_what_is_read_since_a_day_is_enough(
    tmp_path: Path, empty_store: Path, told: list[Any], ago: int
) -> None:
    since = NOW.date() - timedelta(days=ago)
    memory, _ = _history(tmp_path, empty_store, told)
    with closing(memory):
        for zone in (UTC, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago")):
            whole, part = memory.mood("ada", zone=zone), memory.mood("ada", since=since, zone=zone)
            assert part.days == tuple(day for day in whole.days if day.day >= since)
            assert part.home == whole.home
            last = len(part.sessions)
            assert part.sessions == whole.sessions[len(whole.sessions) - last :]


@pytest.fixture
def talked(memory: SQLMemory, clock: Any) -> Iterator[list[str]]:
    """Six happy days, then a sad one; the ids of the turns."""
    ids = []
    for label in [*["happy"] * 6, "sad"]:
        for _ in range(3):
            cue = Cue(label, 0.8, {label: 0.8, "neutral": 0.2})
            ids.append(memory.remember("ada", Turn("x", cues=Cues(cue), seconds=3)))
            clock.advance(minutes=1)
        clock.advance(days=1)
    clock.advance(days=-1)
    memory.remember("bob", Turn("x", cues=Cues(Cue("fear", 0.9))))
    return ids


def test_the_store_tells_of_one_user_only(memory: SQLMemory, talked: list[str]) -> None:
    found = memory.mood("ada")
    assert isinstance(found, MoodReport)
    assert (found.n_turns, found.coverage, len(found.days)) == (21, 1.0, 7)
    assert found.sessions[-1].state.label == "sad"
    assert memory.mood("bob").n_turns == 1
    assert memory.mood("nobody").n_turns == 0
    assert memory.users() == 2


def test_sittings_of_long_ago_are_listed_when_asked_for(memory: SQLMemory, clock: Any) -> None:
    first = clock.now.date()
    memory.remember("ada", Turn("x", cues=Cues(Cue("sad", 0.6, {"sad": 0.6, "fear": 0.4}))))
    clock.advance(days=100)
    memory.remember("ada", Turn("x"))
    assert (len(memory.mood("ada").days), len(memory.mood("ada").sessions)) == (2, 1)
    old, _ = memory.mood("ada", since=first).sessions
    assert old.state.distribution["fear"] == pytest.approx(0.4)
    assert memory.mood("ada", since=date.min).sessions[0] == old


def test_a_turn_whose_emotion_was_not_kept_says_so(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("x"))
    assert dict(memory.mood("ada").unknown) == {"not kept": 1}


def test_the_users_own_word_outranks_what_was_heard(memory: SQLMemory, talked: list[str]) -> None:
    for turn_id in talked[-3:]:
        memory.report("ada", turn_id, Emotion.NEUTRAL)
        memory.report("ada", turn_id, Emotion.HAPPY)  # the later counts
    last = memory.mood("ada").days[-1]
    assert last.affect is not None
    assert last.affect.valence == pytest.approx(ANCHORS[Emotion.HAPPY][0])
    assert memory.mood("ada").sessions[-1].state.label == "happy"
    stored = memory.show("ada", 4)
    assert [turn.felt for turn in stored] == [None, *["happy"] * 3]
    assert stored[-1].turn.cues.emotion.label == "sad"  # what was heard is still kept


def test_the_users_own_word_on_a_turn_that_nobody_heard_counts(memory: SQLMemory) -> None:
    turn_id = memory.remember("ada", Turn("x"))
    memory.report("ada", turn_id, Emotion.FEAR)
    found = memory.mood("ada")
    assert (found.coverage, found.sessions[0].state.label) == (1.0, "fear")


def test_the_users_own_word_stays_when_the_turn_is_written_whole(memory: SQLMemory) -> None:
    heard = Turn("x", cues=Cues(Cue("sad", 0.7)), status=TurnStatus.OPEN)
    turn_id = memory.remember("ada", heard)
    memory.report("ada", turn_id, Emotion.HAPPY)
    memory.remember("ada", replace(heard, reply="y"), turn_id=turn_id)
    assert memory.show("ada")[0].felt == "happy"


def test_the_users_own_word_is_erased_with_the_user(memory: SQLMemory, talked: list[str]) -> None:
    memory.report("ada", talked[0], Emotion.FEAR)
    assert memory.erase("ada").counts["turn_emotions"] == 22
    assert memory.mood("ada").n_turns == 0


@pytest.mark.parametrize("turn_id", ["999", "", "one", "1; DROP TABLE turns"])
def test_a_word_on_a_turn_that_is_not_there_is_refused(memory: SQLMemory, turn_id: str) -> None:
    memory.remember("ada", Turn("x"))
    with pytest.raises(StoreError, match="no turn with this id"):
        memory.report("ada", turn_id, Emotion.SAD)


def test_a_word_on_anothers_turn_is_refused(memory: SQLMemory) -> None:
    turn_id = memory.remember("ada", Turn("x"))
    memory.remember("bob", Turn("x"))
    for user in ("bob", "nobody"):
        with pytest.raises(StoreError, match="no turn with this id"):
            memory.report(user, turn_id, Emotion.SAD)
    assert memory.show("ada")[0].felt is None


def test_turns_of_a_day_that_has_not_come_change_no_mood(
    memory: SQLMemory, clock: Any, talked: list[str]
) -> None:
    before = memory.mood("ada")
    clock.advance(days=30)
    memory.remember("ada", Turn("x", cues=Cues(Cue("anger", 0.9))))
    clock.advance(days=-30)  # the clock was wrong, and was set right
    after = memory.mood("ada")
    assert (after.home, after.mood, after.trend) == (before.home, before.mood, before.trend)


# --- what a reply is told ------------------------------------------------------------------------


def test_a_reply_is_told_what_is_lower_than_usual(memory: SQLMemory, clock: Any) -> None:
    for label in [*["happy"] * 5, "neutral", *["sad"] * 2]:
        memory.remember("ada", Turn("x", cues=Cues(Cue(label, 0.9)), seconds=9))
        clock.advance(days=1)
    clock.advance(days=-1)
    assert memory.recall("ada").mood == (
        "Lately they have sounded a little lower than is usual for them."
    )
    memory.remember("ada", Turn("你好", "zh"))
    assert memory.recall("ada").mood == "最近听起来，用户似乎比平时低落一些。"


@pytest.mark.parametrize(
    ("labels", "than_usual", "told"),
    [
        ("sad sad sad", -1, "sad more often than not, lower than is usual for them."),
        ("sad sad sad", 1, "Lately they have sounded a little brighter than is usual for them."),
        ("happy happy happy", 1, "happy more often than not, brighter than is usual for them."),
        (
            "happy happy happy",
            -1,
            "Lately they have sounded a little lower than is usual for them.",
        ),
        ("sad sad", -1, ""),
    ],
)
def test_a_feeling_and_what_is_usual_are_told_in_one_breath_or_the_newer_alone(
    labels: str, than_usual: int, told: str
) -> None:
    line = mood_line(labels.split(), "en", than_usual=than_usual)
    assert line.endswith(told)
    assert bool(line) == bool(told)


def test_one_odd_label_in_a_sitting_is_not_held_against_the_rest(memory: SQLMemory) -> None:
    for label, sure in [("sad", 0.8), ("neutral", 0.4), ("sad", 0.8), ("happy", 0.4)]:
        memory.remember("ada", Turn("x", cues=Cues(Cue(label, sure))))
    assert memory.recall("ada").mood == "Lately they have sounded sad more often than not."


def test_a_reply_is_told_the_users_own_word(memory: SQLMemory) -> None:
    for _ in range(3):
        turn_id = memory.remember("ada", Turn("x", cues=Cues(Cue("sad", 0.8))))
        memory.report("ada", turn_id, Emotion.HAPPY)
    assert memory.recall("ada").mood == "Lately they have sounded happy more often than not."


def test_recall_takes_no_more_statements_for_it(
    memory: SQLMemory, talked: list[str], statements: Callable[[], int]
) -> None:
    memory.prefetch("ada")
    memory._ready.drop()  # as where another process has written
    before = statements()
    memory.recall("ada")
    assert statements() - before == 4  # consents, turns, cues, facts
    before = statements()
    memory.mood("ada")
    assert statements() - before == 1


@pytest.fixture
def statements(memory: SQLMemory) -> Callable[[], int]:
    """How many statements the store has been given so far, transactions aside."""
    from sqlalchemy import event

    seen: list[str] = []

    @event.listens_for(memory._database.connection, "before_cursor_execute")
    def count(_: object, __: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    return lambda: len(seen)
