"""What users agreed to decides what is written, what is used and what is left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echat_memory import GuestMemory, SQLMemory
from echat_memory.guests import MOST_GUESTS, MOST_TURNS
from echat_sdk.consent import (
    REMEMBERED,
    RUN,
    ConsentState,
    Purpose,
    barred_in,
    permitted,
    shared_with,
)
from echat_sdk.cues import Cue, Cues, ReplyEmotion
from echat_sdk.errors import ConsentError, StoreError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.protocols import Consenting
from echat_sdk.turn import Recollection, SafetyEvent, Turn, TurnStatus
from tests.memory import bytescan

PURPOSES = [*map(str, Purpose), shared_with("captions")]
WORDS, THINK, REPLY, EMOTION, AGE, GENDER, EVENT, DANGER = (
    f"zqx{name}marker"
    for name in ("words", "think", "reply", "emotion", "age", "gender", "event", "danger")
)
CUES = Cues(*(Cue(label, 0.5, {label: 1.0}) for label in (EMOTION, GENDER, AGE, EVENT)))
TURN = Turn(
    f"My dog is called {WORDS}.",
    cues=CUES,
    think=THINK,
    reply=REPLY,
    reply_emotion=ReplyEmotion.SAD,
    seconds=2.5,
    safety=SafetyEvent(DANGER, "risk", "care rules 1", "caring reply"),
)
NEEDS = {
    WORDS: {Purpose.STORE_TRANSCRIPT},
    REPLY: {Purpose.STORE_TRANSCRIPT},
    DANGER: {Purpose.STORE_TRANSCRIPT},
    EMOTION: {Purpose.STORE_EMOTION, Purpose.INFER_EMOTION},
    EVENT: {Purpose.STORE_EMOTION, Purpose.INFER_EMOTION},
    GENDER: {Purpose.STORE_EMOTION, Purpose.INFER_GENDER},
    AGE: {Purpose.STORE_EMOTION, Purpose.INFER_AGE},
    THINK: REMEMBERED,
}
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ALWAYS = {Purpose.LONG_TERM_MEMORY, Purpose.PROCESS_VOICE}


Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]
Contents = Callable[[], list[bytes]]


def markers(contents: Contents) -> set[str]:
    """The markers that can be read in the store."""
    return bytescan.found(contents(), NEEDS)


def may_be_found(allowed: set[str]) -> set[str]:
    return {marker for marker, needs in NEEDS.items() if needs | ALWAYS <= allowed}


def bring_to(memory: SQLMemory, purpose: str, state: ConsentState, clock: Any) -> None:
    """Let ada answer until a purpose has this state."""
    match state:
        case ConsentState.DENIED:
            memory.consent("ada", purpose, state)
        case ConsentState.GRANTED:
            memory.consent("ada", purpose)
        case ConsentState.WITHDRAWN:
            memory.consent("ada", purpose)
            memory.consent("ada", purpose, state)
        case ConsentState.EXPIRED:
            memory.consent("ada", purpose, expires_at=clock.now + timedelta(days=1))
            clock.advance(days=1)
    assert memory.consents("ada").of(purpose).at(clock.now) is state


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("others", ["granted", "unknown"])
@pytest.mark.parametrize("state", ConsentState)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_nothing_is_written_that_the_table_forbids(
    store: Path | str,
    clock: Any,
    purpose: str,
    state: ConsentState,
    others: str,
    contents: Contents,
    sql: Sql,
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        bring_to(memory, purpose, state, clock)
        rest = [p for p in PURPOSES if p != purpose]
        if others == "granted":
            memory.consent("ada", rest)
        allowed = {*(rest if others == "granted" else ())}
        if state is ConsentState.GRANTED:
            allowed.add(purpose)
        assert memory.allowed("ada") == allowed
        turn_id = memory.remember("ada", Turn(WORDS, status=TurnStatus.OPEN, seconds=2.5))
        memory.remember("ada", TURN, turn_id=turn_id)
        memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
        # Whatever is kept: the conversation goes on, without what was not agreed to.
        (turn,) = memory.recall("ada").turns
        assert turn.transcript == TURN.transcript
        assert Purpose.INFER_GENDER in allowed or not turn.cues.gender.is_known
        memory.close()
        assert markers(contents) == may_be_found(allowed)
    counts = {
        table: sql(store, f"SELECT count(*) FROM {table}")[0][0]
        for table in ("turns", "facts", "turn_emotions", "pause_profiles")
    }
    keeps = allowed >= ALWAYS and allowed & {Purpose.STORE_TRANSCRIPT, Purpose.STORE_EMOTION}
    assert bool(counts["turns"]) == bool(keeps)
    assert bool(counts["facts"]) == (WORDS in may_be_found(allowed))
    assert bool(counts["turn_emotions"]) == (EMOTION in may_be_found(allowed))
    assert bool(counts["pause_profiles"]) == bool(allowed >= ALWAYS and keeps)


def test_who_was_never_asked_is_a_guest_who_leaves_nothing_behind(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    before = contents()
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.remember("ada", TURN)
        assert [t.transcript for t in memory.recall("ada").turns] == [TURN.transcript]
        assert memory.show("ada") == []
        assert memory.users() == 0
    assert contents() == before
    with closing(SQLMemory(store, clock=clock)) as memory:
        assert memory.recall("ada") == Recollection()


def test_a_memory_can_be_asked_what_its_users_agreed_to(memory: SQLMemory) -> None:
    assert isinstance(memory, Consenting)
    assert isinstance(GuestMemory(), Consenting)


def test_at_work_emotion_is_not_kept_whoever_agrees(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with closing(SQLMemory(store, barred=barred_in("workplace"), clock=clock)) as memory:
        memory.consent("ada", PURPOSES)
        memory.remember("ada", TURN)
    assert markers(contents) == {WORDS, REPLY, DANGER}


def test_a_turn_begun_before_consent_was_given_is_never_written(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        turn_id = memory.remember("ada", Turn(WORDS, status=TurnStatus.OPEN))
        memory.consent("ada", REMEMBERED)
        assert memory.remember("ada", TURN, turn_id=turn_id) == turn_id
        memory.remember("ada", Turn("hello"))
        assert [t.transcript for t in memory.recall("ada").turns] == [TURN.transcript, "hello"]
        assert [s.turn.transcript for s in memory.show("ada")] == ["hello"]
    assert markers(contents) == set()


# --- refusing --------------------------------------------------------------------------------

_refused = st.frozensets(st.sampled_from(sorted(REMEMBERED)), min_size=1)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(refused=_refused, seconds=st.sampled_from([0.0, 2.5]))
def test_to_refuse_later_leaves_what_would_have_been_kept_had_one_refused_before(
    memory: SQLMemory, refused: frozenset[str], seconds: float
) -> None:
    user = f"{memory.users()}"
    turn = replace(TURN, seconds=seconds)
    memory.remember(user, turn)
    memory.consent(user, refused, ConsentState.DENIED)
    kept = permitted(turn, REMEMBERED - refused)
    assert [stored.turn for stored in memory.show(user)] == ([] if kept is None else [kept])
    whole = kept is not None and Purpose.STORE_TRANSCRIPT not in refused
    assert bool(memory.facts(user)) == whole
    assert memory.consent(user, refused, ConsentState.DENIED) == {}  # there is no more to delete


@pytest.mark.parametrize("purpose", sorted(REMEMBERED))
def test_withdrawal_takes_what_was_kept_for_it_down_to_the_bytes(
    store: Path | str, clock: Any, purpose: str, contents: Contents
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", PURPOSES)
        for i in range(20):
            words = f"{i} {WORDS} {i}. My dog is called {WORDS}. " * 20
            memory.remember("ada", replace(TURN, transcript=words, reply=REPLY * 9))
            memory.remember("bob", Turn("I live in Leeds."))
        memory.keep_pauses("ada", PauseProfile(mean=0.8, count=3))
        assert markers(contents) == set(NEEDS)
        counts = memory.consent("ada", purpose, ConsentState.WITHDRAWN, channel="voice")
        assert counts
        assert markers(contents) == may_be_found(set(PURPOSES) - {purpose})
        withdrawn = memory.consents("ada").of(purpose)
        assert (withdrawn.state, withdrawn.channel) == (ConsentState.WITHDRAWN, "voice")
        assert memory.pauses("ada").count == (0 if purpose in ALWAYS else 3)
        assert sum(t.transcript == "I live in Leeds." for t in memory.recall("bob").turns) == 6


@sqlite_only
def test_without_secure_delete_the_scan_finds_what_was_withdrawn(
    store: Path | str, clock: Any, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        forget = memory._database.forget_deleted
        monkeypatch.setattr(memory._database, "forget_deleted", lambda changed: forget())
        memory._database.connection.exec_driver_sql("PRAGMA secure_delete = OFF")
        memory._database.connection.commit()
        memory.consent("ada", PURPOSES)
        for _ in range(20):
            memory.remember("ada", TURN)
        memory.consent("ada", Purpose.LONG_TERM_MEMORY, ConsentState.WITHDRAWN)
        assert markers(contents)


def test_withdrawal_counts_within_the_turn_and_in_every_process(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with (
        closing(SQLMemory(store, clock=clock)) as memory,
        closing(SQLMemory(store, clock=clock)) as other,
    ):
        memory.consent("ada", PURPOSES)
        turn_id = memory.remember("ada", Turn(WORDS, status=TurnStatus.OPEN, seconds=1))
        other.consent("ada", Purpose.LONG_TERM_MEMORY, ConsentState.WITHDRAWN)
        held = memory.remember("ada", TURN, turn_id=turn_id)  # goes on, and is not an error
        assert memory.remember("ada", TURN, turn_id=held) == held
        assert len(memory.recall("ada").turns) == 1
        assert other.show("ada") == []
        assert markers(contents) == set()


def test_voice_that_may_not_be_listened_to_any_more_is_forgotten_in_ram_too(
    store: Path | str, clock: Any
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", RUN)
        memory.remember("ada", TURN)
        memory.consent("ada", Purpose.PROCESS_VOICE, ConsentState.WITHDRAWN)
        assert memory.recall("ada").turns == ()


def test_what_has_expired_is_neither_written_nor_used(
    store: Path | str, clock: Any, contents: Contents
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", REMEMBERED, expires_at=clock.now + timedelta(days=30))
        memory.remember("ada", Turn("I live in Leeds.", cues=Cues(Cue("sad", 0.9))))
        clock.advance(days=29)
        assert memory.recall("ada").facts == ("they live in Leeds",)
        clock.advance(days=1)
        assert memory.recall("ada") == Recollection()
        memory.remember("ada", TURN)
        assert markers(contents) == set()
        memory.consent("ada", REMEMBERED)  # renewed in time: it was not swept yet
        assert memory.recall("ada").facts[0] == "they live in Leeds"


def test_answers_are_only_ever_added_and_the_newest_counts(
    store: Path | str, clock: Any, sql: Sql
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        for _ in range(3):
            memory.consent("ada", Purpose.TRAIN, version="2", channel="cli")
        memory.consent("ada", Purpose.TRAIN, ConsentState.WITHDRAWN)
        clock.advance(days=1)
        memory.consent("ada", Purpose.TRAIN, version="3")
        consent = memory.consents("ada").of(Purpose.TRAIN)
        assert (consent.version, consent.since) == ("3", clock.now)
        memory.consent("bob", Purpose.TRAIN, ConsentState.DENIED)
        assert memory.allowed("bob") == set()
    kept = sql(store, "SELECT state, version FROM consents ORDER BY id")
    assert kept == [("granted", "2"), ("withdrawn", ""), ("granted", "3"), ("denied", "")]


@pytest.mark.parametrize(
    ("purposes", "state", "given"),
    [
        ("sell", "granted", {}),
        (["train", "sell"], "granted", {}),
        ("train", "withdrawn", {}),
        ("train", "unknown", {}),
        ("train", "granted", {"version": "x" * 33}),
        ("train", "granted", {"channel": "x" * 33}),
    ],
)
def test_an_answer_that_cannot_be_is_told_and_nothing_is_kept(
    memory: SQLMemory, purposes: Any, state: str, given: dict[str, Any]
) -> None:
    with pytest.raises(ConsentError):
        memory.consent("ada", purposes, ConsentState(state), **given)
    assert memory.users() == 0


def test_erasing_a_user_takes_their_answers_and_what_is_held_of_them(memory: SQLMemory) -> None:
    memory.consent("ada", Purpose.STORE_TRANSCRIPT, ConsentState.DENIED)
    memory.remember("ada", Turn("hello"))
    counts = memory.erase("ada").counts
    assert (counts["consents"], counts["users"]) == (1, 1)
    assert memory.recall("ada") == Recollection()
    assert memory.consents("ada").given == {}


# --- guests ----------------------------------------------------------------------------------


def test_a_guest_is_forgotten_after_a_silence_that_ends_a_session(clock: Any) -> None:
    memory = GuestMemory(clock=clock)
    memory.remember("ada", Turn("hello"))
    memory.consent("ada", Purpose.INFER_EMOTION)
    clock.advance(minutes=29)
    assert len(memory.recall("ada").turns) == 1
    clock.advance(minutes=31)
    assert memory.recall("ada") == Recollection()
    assert memory.allowed("ada") == set()


def test_guests_hold_no_more_than_their_bound(clock: Any) -> None:
    memory = GuestMemory(turns=10**6, clock=clock)
    first = memory.remember("ada", Turn("0"))
    for i in range(1, MOST_TURNS + 1):
        memory.remember("ada", Turn(str(i)))
    said = [turn.transcript for turn in memory.recall("ada").turns]
    assert said == [str(i) for i in range(1, MOST_TURNS + 1)]
    with pytest.raises(StoreError, match="no turn with this id"):
        memory.remember("ada", Turn("0"), turn_id=first)
    for i in range(MOST_GUESTS):
        memory.remember(f"guest {i}", Turn("hello"))
    assert memory.recall("ada") == Recollection()
    assert memory.recall("guest 0").turns


def test_a_guest_is_asked_before_their_voice_is_judged(clock: Any) -> None:
    memory = GuestMemory(clock=clock)
    memory.remember("ada", TURN)
    assert memory.recall("ada").turns[0].cues.emotion == Cue(why="not consented")
    memory.consent("ada", [Purpose.PROCESS_VOICE, Purpose.INFER_EMOTION])
    memory.remember("ada", TURN)
    assert memory.recall("ada").turns[-1].cues.emotion == CUES.emotion
    memory.consent("ada", Purpose.INFER_EMOTION, ConsentState.WITHDRAWN)
    assert not memory.recall("ada").turns[-1].cues.emotion.is_known
    memory.consent("ada", Purpose.PROCESS_VOICE, ConsentState.WITHDRAWN)
    assert memory.recall("ada").turns == ()
