from __future__ import annotations

import dataclasses
import os
import random
import sqlite3
import struct
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table

from echat_memory import SQLMemory, sqlite
from echat_memory.database import AGAIN
from echat_memory.open_store import BUSY_TIMEOUT
from echat_memory.pseudonym import KEY_BYTES
from echat_memory.schema import PERSONAL, Base
from echat_sdk.consent import REMEMBERED
from echat_sdk.cues import Age, Cue, Cues, Emotion, Gender, ReplyEmotion, Style, VocalEvent
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.pause_profile import LONGEST, MOST, PauseProfile
from echat_sdk.protocols import Memory
from echat_sdk.turn import Lang, Recollection, Timings, Turn, TurnStatus
from tests.memory import bytescan

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""Of what only a file has, or only SQLite; test_postgres.py has the counterpart."""

SAD = Cue("sad", 0.8, MappingProxyType({"sad": 0.8, "neutral": 0.2}))


Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]


def told(*transcripts: str) -> list[Turn]:
    return [Turn(transcript) for transcript in transcripts]


# --- turns -----------------------------------------------------------------------------------

_seconds = st.floats(0, 1e6)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def _cue(labels: type) -> st.SearchStrategy[Cue]:
    label = st.sampled_from([*labels, "unknown"]).map(str)
    share = st.floats(0, 1)
    return st.builds(Cue, label, share, st.dictionaries(label, share, max_size=4), _text)


_turns = st.builds(
    Turn,
    transcript=_text,
    lang=st.sampled_from(get_args(Lang)),
    cues=st.builds(Cues, _cue(Emotion), _cue(Gender), _cue(Age), _cue(VocalEvent), _cue(Style)),
    think=_text,
    reply=_text,
    reply_emotion=st.sampled_from(ReplyEmotion),
    status=st.sampled_from(TurnStatus),
    timings=st.builds(Timings, *[st.none() | _seconds] * 5),
    seconds=_seconds,
    model=_text,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(turn=_turns)
def test_a_turn_comes_back_as_it_was(memory: SQLMemory, turn: Turn) -> None:
    turn_id = memory.remember("ada", turn)
    (stored,) = memory.show("ada", 1)
    assert (stored.id, stored.turn) == (turn_id, turn)
    if turn.transcript:  # a turn without words is no conversation
        assert memory.recall("ada").turns[-1] == turn


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(heard=_turns, whole=_turns)
def test_a_turn_that_is_replaced_is_as_if_only_the_second_had_been(
    memory: SQLMemory, heard: Turn, whole: Turn
) -> None:
    turn_id = memory.remember("ada", heard)
    assert memory.remember("ada", whole, turn_id=turn_id) == turn_id
    (stored,) = memory.show("ada", 1)
    assert (stored.id, stored.turn) == (turn_id, whole)


def test_facts_follow_a_transcript_that_is_replaced(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("I live in York."))
    turn_id = memory.remember("ada", Turn("I live in Leads."))
    memory.remember("ada", Turn("I live in Leads.", reply="Leads?"), turn_id=turn_id)
    assert memory.recall("ada").facts == ("they live in Leads",)
    memory.remember("ada", Turn("I like leads."), turn_id=turn_id)
    assert memory.recall("ada").facts == ("they like leads", "they live in York")


@pytest.mark.parametrize("turn_id", ["999", "", "one", "²", "1; DROP TABLE turns", "9" * 30])
def test_a_turn_that_is_not_there_cannot_be_replaced(memory: SQLMemory, turn_id: str) -> None:
    for user in ("ada", "nobody"):
        with pytest.raises(StoreError, match="no turn with this id"):
            memory.remember(user, Turn("x"), turn_id=turn_id)
        memory.remember("ada", Turn("mine"))
    assert memory.users() == 1


def test_each_turn_has_its_own_cues(memory: SQLMemory) -> None:
    turns = tuple(
        Turn(emotion, cues=Cues(Cue(emotion, 0.5), Cue(gender, 0.5)))
        for emotion, gender in zip(Emotion, ["male", "female"] * 3, strict=False)
    )
    for turn in turns:
        memory.remember("ada", turn)
        memory.remember("bob", Turn("x", cues=Cues(SAD, SAD)))
    assert memory.recall("ada").turns == turns


def test_the_turn_that_the_law_draws_has_every_field() -> None:
    assert {f.name for f in dataclasses.fields(Turn)} == set(Turn.__slots__)


@pytest.mark.parametrize("bad", ["a\0b", "a\ud83db", "\udc00"])
def test_characters_that_no_database_holds_are_replaced(memory: SQLMemory, bad: str) -> None:
    cue = Cue(bad, float("nan"), {bad: float("inf")}, bad)
    memory.remember("ada", Turn(bad, think=bad, reply=bad, model=bad, cues=Cues(cue, cue)))
    (turn,) = memory.recall("ada").turns
    for text in (turn.transcript, turn.reply, turn.think, turn.model, turn.cues.emotion.label):
        assert "\ufffd" in text
        text.encode()
    assert turn.cues.emotion.confidence == 0


@pytest.mark.parametrize(
    "user", ["", "'; DROP TABLE turns; --", "用户 🙂", "a\0b", "\ud800", "x" * 10_000, "../../etc"]
)
def test_any_string_is_a_user_id(memory: SQLMemory, user: str) -> None:
    memory.remember(user, Turn("hello"))
    memory.remember("other", Turn("not mine"))
    assert [turn.transcript for turn in memory.recall(user).turns] == ["hello"]
    assert memory.users() == 2


@sqlite_only
def test_a_user_id_is_nowhere_in_the_files(memory: SQLMemory, store: Path) -> None:
    memory.remember("ada.lovelace@example.org", Turn("hello"))
    memory.close()
    assert all(b"lovelace" not in file.read_bytes() for file in store.parent.iterdir())


@sqlite_only
def test_two_stores_know_one_user_under_different_pseudonyms(tmp_path: Path, sql: Sql) -> None:
    pseudonyms = set()
    for name in ("a.db", "b.db"):
        with closing(SQLMemory(tmp_path / name, unasked=REMEMBERED)) as memory:
            memory.remember("ada", Turn("hello"))
        pseudonyms |= set(sql(tmp_path / name, "SELECT pseudonym FROM users"))
    assert len(pseudonyms) == 2


# --- recall ----------------------------------------------------------------------------------


def test_it_is_a_memory(memory: SQLMemory) -> None:
    assert isinstance(memory, Memory)


def test_a_user_never_met_is_not_made_by_looking(memory: SQLMemory) -> None:
    assert memory.recall("nobody", query="hello") == Recollection()
    assert memory.show("nobody") == []
    assert memory.facts("nobody") == ()
    assert memory.users() == 0


def test_recall_gives_the_last_six_turns_oldest_first(memory: SQLMemory) -> None:
    for turn in told(*"abcdefgh"):
        memory.remember("ada", turn)
        memory.remember("bob", Turn("x"))
    assert "".join(turn.transcript for turn in memory.recall("ada").turns) == "cdefgh"


def test_what_was_told_is_found_in_the_next_session(store: Path, clock: Any) -> None:
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("My dog is called Rex."))
    clock.advance(days=3)
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        assert memory.recall("ada", query="my dog").facts == ("their dog is called Rex",)
        assert memory.recall("bob", query="my dog").facts == ()


def test_a_newer_fact_takes_the_place_of_an_older_one(
    memory: SQLMemory, store: Path | str, sql: Sql
) -> None:
    for turn in told(
        "I live in Leeds.", "I live in York.", "My dog is called Rex", "I live in York"
    ):
        memory.remember("ada", turn)
    assert memory.recall("ada").facts == ("their dog is called Rex", "they live in York")
    memory.close()
    kept = sql(
        store,
        "SELECT a.value, a.valid_to IS NULL, b.value FROM facts a"
        " LEFT JOIN facts b ON a.superseded_by = b.id WHERE a.kind = 'home' ORDER BY a.id",
    )
    assert kept == [("Leeds", False, "York"), ("York", True, None)]


def test_a_fact_that_is_taken_back_is_told_no_more(memory: SQLMemory) -> None:
    for turn in told("I live in Leeds.", "I don't live in York."):
        memory.remember("ada", turn)
    assert memory.recall("ada").facts == ("they live in Leeds",)
    memory.remember("ada", Turn("I no longer live in Leeds."))
    assert memory.recall("ada").facts == ()


def test_facts_that_fit_the_query_come_first_and_others_by_age(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("My mum is ill."))
    for thing in ("tea", "jazz", "chess", "rain", "snow", "bread", "roses", "trains", "maps"):
        memory.remember("ada", Turn(f"I love {thing}."))
    facts = memory.recall("ada", query="I am worried about my mum").facts
    assert facts[:2] == ("their mother is ill", "they like maps")
    assert len(facts) == 8
    assert "their mother is ill" not in memory.recall("ada", query="music").facts


def test_facts_and_mood_are_in_the_language_of_the_last_turn(memory: SQLMemory) -> None:
    for _ in range(3):
        memory.remember("ada", Turn("My sister is ill.", cues=Cues(SAD)))
    assert memory.recall("ada").mood == "Lately they have sounded sad more often than not."
    memory.remember("ada", Turn("你好", "zh"))
    assert memory.recall("ada").mood == "最近听起来，用户多半难过。"
    assert memory.recall("ada").facts == ("用户的姐妹生病了",)


def test_a_mood_of_weeks_ago_is_not_lately(memory: SQLMemory, clock: Any) -> None:
    for _ in range(3):
        memory.remember("ada", Turn("hello", cues=Cues(SAD)))
    assert memory.recall("ada").mood
    clock.advance(days=15)
    assert memory.recall("ada").mood == ""


def test_a_silence_of_more_than_half_an_hour_begins_a_session(
    memory: SQLMemory, clock: Any
) -> None:
    for minutes in (0, 30, 31, 1, -90):  # the last: the clock was set back
        clock.advance(minutes=minutes)
        memory.remember("ada", Turn("hello"))
    sessions = [stored.session for stored in memory.show("ada")]
    assert [sessions.index(session) for session in sessions] == [0, 0, 2, 2, 4]
    assert memory.show("ada")[-1].at == datetime(2026, 3, 2, 11, 32, tzinfo=UTC)


# --- pauses ----------------------------------------------------------------------------------

_profiles = st.builds(PauseProfile, mean=st.floats(0, LONGEST), count=st.integers(0, MOST))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(profile=_profiles, other=_profiles)
def test_a_profile_of_pauses_comes_back_to_the_last_bit(
    memory: SQLMemory, profile: PauseProfile, other: PauseProfile
) -> None:
    for user in ("ada", "bob"):
        memory.remember(user, Turn("hello"))
    memory.keep_pauses("bob", other)
    memory.keep_pauses("ada", profile)
    kept = memory.pauses("ada")
    assert (kept.mean.hex(), kept.count) == (profile.mean.hex(), profile.count)
    assert memory.pauses("bob") == other


def test_pauses_are_known_in_the_next_session(store: Path, clock: Any) -> None:
    profile = PauseProfile(mean=0.1 + 0.2, count=7)
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
        memory.keep_pauses("ada", profile)
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        assert memory.pauses("ada") == profile
        assert memory.pauses("bob") == PauseProfile()


def test_pauses_of_somebody_unknown_make_no_user(memory: SQLMemory) -> None:
    memory.keep_pauses("nobody", PauseProfile(mean=1, count=1))
    assert memory.users() == 0
    memory.remember("nobody", Turn("hello"))
    assert memory.pauses("nobody") == PauseProfile()


@sqlite_only
def test_pauses_that_cannot_be_written_leave_those_kept_before(store: Path) -> None:
    before, after = PauseProfile(mean=0.6, count=2), PauseProfile(mean=0.9, count=3)
    with closing(SQLMemory(store, busy_timeout=0.05, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
        memory.keep_pauses("ada", before)
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked by another process"):
                memory.keep_pauses("ada", after)
            assert memory.pauses("ada") == before  # reading does not wait for a writer
        memory.keep_pauses("ada", after)
        assert memory.pauses("ada") == after


# --- erasure ---------------------------------------------------------------------------------

MARKERS = [f"zqx{name}marker" for name in ("words", "think", "reply", "model", "cue", "key")]
PAUSES = [PauseProfile(mean=0.8 + number / 70, count=1) for number in range(40)]


def _plant(memory: SQLMemory) -> None:
    words, think, reply, model, label, key = MARKERS
    cue = Cue(label, 0.5, {key: 1.0}, f"why {label}")
    for i in range(40):
        transcript = f"{words} {i}. My dog is called {words}. I love {words}."
        turn = Turn(transcript, think=think, reply=reply * 50, model=model, cues=Cues(cue, cue))
        memory.remember("ada", turn)
        memory.keep_pauses("ada", PAUSES[i])
        memory.remember("bob", Turn("I live in Leeds."))
    memory.keep_pauses("bob", PauseProfile(mean=0.7, count=1))


def _pauses_in(folder: Path) -> int:
    """How many of the means that were kept, each in its turn, can be read in a file's bytes."""
    files = [file.read_bytes() for file in folder.iterdir()]
    means = [struct.pack(">d", profile.mean) for profile in PAUSES]
    return sum(any(mean in data for data in files) for mean in means)


def _markers_in(folder: Path) -> set[str]:
    return bytescan.found(bytescan.under(folder), MARKERS)


@sqlite_only
def test_after_erasing_not_a_byte_of_the_user_is_left(memory: SQLMemory, store: Path) -> None:
    _plant(memory)
    backup = store.with_name(f"{store.name}.before-0000.bak")
    backup.write_bytes(MARKERS[0].encode())
    assert _markers_in(store.parent) == set(MARKERS)
    assert _pauses_in(store.parent) > 0
    counts = memory.erase("ada").counts
    assert {table: count for table, count in counts.items() if count} == {
        "facts": 2,
        "turn_cues": 40,
        "turn_emotions": 40,
        "turns": 40,
        "sessions": 1,
        "pause_profiles": 1,
        "users": 1,
    }
    assert _markers_in(store.parent) == set()
    assert _pauses_in(store.parent) == 0
    assert memory.pauses("ada") == PauseProfile()
    assert memory.pauses("bob") == PauseProfile(mean=0.7, count=1)
    assert memory.recall("ada") == Recollection()
    assert memory.recall("bob").facts == ("they live in Leeds",)
    assert memory.erase("ada").counts == {}


@sqlite_only
def test_the_byte_scan_finds_what_is_left_without_secure_delete(
    memory: SQLMemory, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_writing_anew(memory, monkeypatch)
    memory._database.connection.exec_driver_sql("PRAGMA secure_delete = OFF")
    memory._database.connection.commit()
    _plant(memory)
    memory.erase("ada")
    assert _markers_in(store.parent)
    assert _pauses_in(store.parent) > 0


def _without_writing_anew(memory: SQLMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    real = memory._database.forget_deleted
    monkeypatch.setattr(memory._database, "forget_deleted", lambda changed: real())


@sqlite_only
@pytest.mark.parametrize("is_written_anew", [True, False])
def test_rows_that_moved_left_bytes_in_gaps_until_the_file_is_written_anew(
    memory: SQLMemory, store: Path, monkeypatch: pytest.MonkeyPatch, is_written_anew: bool
) -> None:
    if not is_written_anew:
        _without_writing_anew(memory, monkeypatch)
    generator = random.Random(3)
    for _ in range(600):
        user = generator.choice(["ada", "bob", "cem"])
        words = MARKERS[0] if user == "ada" else "other"
        memory.remember(user, Turn(f"{words} " * generator.choice([0, 1, 3, 10, 50, 200])))
    memory.erase("ada")
    assert bool(_markers_in(store.parent)) != is_written_anew


@sqlite_only
def test_erasing_says_so_when_a_reader_keeps_old_pages_alive(store: Path, clock: Any) -> None:
    with closing(SQLMemory(store, busy_timeout=0.05, unasked=REMEMBERED)) as memory:
        _plant(memory)
        with closing(sqlite3.connect(store, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM turns").fetchone()
            with pytest.raises(StoreError, match="erase again"):
                memory.erase("ada")
        assert memory.show("ada") == []
        memory.erase("ada")
        assert _markers_in(store.parent) == set()
        assert _pauses_in(store.parent) == 0


def _unregistered(metadata: MetaData) -> set[str]:
    registered = {table.__tablename__ for table in PERSONAL}
    personal = {name for name, table in metadata.tables.items() if "user_id" in table.columns}
    return personal - registered


def test_every_table_with_a_users_rows_is_erased() -> None:
    assert _unregistered(Base.metadata) == set()
    forgotten = MetaData()
    Table("diary", forgotten, Column("user_id", Integer))
    assert _unregistered(forgotten) == {"diary"}


def test_an_erased_turns_id_is_never_given_again(memory: SQLMemory) -> None:
    first = memory.remember("ada", Turn("hello"))
    memory.erase("ada")
    assert memory.remember("ada", Turn("hello")) != first


# --- what can go wrong -----------------------------------------------------------------------


@sqlite_only
def test_a_full_disk_keeps_nothing_of_the_turn_and_says_so(memory: SQLMemory) -> None:
    memory.remember("ada", Turn("before"))
    pages = memory._database.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    memory._database.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
    memory._database.connection.commit()
    secret = chr(0x5BC6) * 9_000  # not spelt out here: a traceback shows this line
    with pytest.raises(StoreError, match="no space") as caught:
        memory.remember("bob", Turn(secret, cues=Cues(SAD)))
    assert secret[:9] not in "".join(traceback.format_exception(caught.value))
    assert memory.users() == 1
    memory._database.connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    memory._database.connection.commit()
    memory.remember("bob", Turn("after"))
    assert [turn.transcript for turn in memory.recall("bob").turns] == ["after"]


@sqlite_only
def test_a_store_locked_by_another_process_is_told(store: Path) -> None:
    with closing(SQLMemory(store, busy_timeout=0.05, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("before"))
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked by another process"):
                memory.remember("ada", Turn("during"))
            assert len(memory.recall("ada").turns) == 1  # reading does not wait for a writer
        memory.remember("ada", Turn("after"))
        assert [turn.transcript for turn in memory.recall("ada").turns] == ["before", "after"]


@sqlite_only
def test_who_waited_in_vain_for_the_lock_waits_a_moment_only_until_time_has_passed(
    store: Path,
) -> None:
    now, timeout = [0.0], 0.3

    def write() -> tuple[bool, int]:
        """Whether it was written, and for how many milliseconds it might have waited."""
        try:
            with database.transaction(write=True):
                pass
            wrote = True
        except StoreError:
            wrote = False
        waits: int = database.connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        database.connection.rollback()
        return wrote, waits

    with (
        closing(sqlite.SQLite(store, timeout=timeout, clock=lambda: now[0])) as database,
        closing(sqlite3.connect(store, isolation_level=None)) as other,
    ):
        assert write() == (True, 300)
        other.execute("BEGIN IMMEDIATE")
        assert [write() for _ in range(3)] == [(False, 300), (False, 200), (False, 200)]
        now[0] += timeout
        assert write() == (False, 300)
        other.execute("ROLLBACK")
        assert write() == (True, 200)
        assert write() == (True, 300)


def test_what_a_conversation_leaves_to_be_written_is_waited_for_less_than_three_seconds() -> None:
    """The open turn or the whole one, and the pauses twice."""
    assert BUSY_TIMEOUT + 3 * AGAIN < 3


@sqlite_only
def test_a_fault_half_way_keeps_nothing_of_the_turn(memory: SQLMemory) -> None:
    turn = Turn("My dog is called Rex. I live in Leeds.", cues=Cues(SAD, SAD, SAD))
    memory.remember("ada", Turn("hello"))
    for table in ("turns", "turn_emotions", "turn_cues", "facts"):
        memory._database.connection.exec_driver_sql(
            f"CREATE TEMP TRIGGER fault BEFORE INSERT ON main.{table}"
            " BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
        memory._database.connection.commit()
        with pytest.raises(StoreError):
            memory.remember("ada", turn)
        memory._database.connection.exec_driver_sql("DROP TRIGGER fault")
        memory._database.connection.commit()
        assert len(memory.show("ada")) == 1
    assert memory.recall("ada").facts == ()
    memory.remember("ada", turn)
    assert memory.recall("ada").turns[-1] == turn


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a directory"):
        SQLMemory(tmp_path, unasked=REMEMBERED)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 500)
    with pytest.raises(StoreError, match="not a database"):
        SQLMemory(path, unasked=REMEMBERED)
    assert path.read_text() == "dear diary " * 500
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SQLMemory(path, unasked=REMEMBERED)
    assert path.read_bytes() == before


@sqlite_only
def test_a_damaged_store_is_told(store: Path) -> None:
    data = bytearray(store.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    store.write_bytes(data)
    with (
        pytest.raises(StoreError, match="damaged"),
        closing(SQLMemory(store, unasked=REMEMBERED)) as memory,
    ):
        memory.remember("ada", Turn("hello"))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/db",
        "postgresql+asyncpg://u:secret@h/db",
        "postgresql://u:secret@h",
        "postgresql://u:secret@h:port/db",
        "postgresql://u@h/db?password=secret",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///.",
        "nonsense",
        "nonsense:secret@",
    ],
)
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="store: got") as caught:
        SQLMemory(url, unasked=REMEMBERED)
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace(url, "")


def test_a_missing_or_damaged_key_is_told(memory: SQLMemory, store: Path | str, key: Path) -> None:
    memory.remember("ada", Turn("hello"))
    memory.close()
    whole = key.read_bytes()
    key.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match="31 bytes"):
        SQLMemory(store, unasked=REMEMBERED)
    key.write_bytes(bytes(KEY_BYTES))
    with pytest.raises(StoreError, match="key of another store"):
        SQLMemory(store, unasked=REMEMBERED)
    key.unlink()
    with pytest.raises(StoreError, match="is missing"):
        SQLMemory(store, unasked=REMEMBERED)
    key.write_bytes(whole)
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        assert len(memory.show("ada")) == 1


def test_new_files_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "echat.db"
    with closing(SQLMemory(f"sqlite:///{path}", unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 4


@sqlite_only
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_store_that_must_not_be_written_is_told(store: Path, locked: str) -> None:
    """As an ordinary user: root may write anything, so a child gives that up."""
    path = store if locked == "file" else store.with_name("new.db")
    for folder in [store.parent, *store.parent.parents][:4]:
        folder.chmod(0o755)
    (store if locked == "file" else store.parent).chmod(0o444 if locked == "file" else 0o555)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            SQLMemory(path, unasked=REMEMBERED)
            said = "opened"
        except StoreError as error:
            said = str(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    store.parent.chmod(0o755)
    assert f"cannot open the store {path} for writing: Permission denied" in said


def test_a_closed_store_says_that_it_is(memory: SQLMemory) -> None:
    memory.close()
    memory.close()
    with pytest.raises(StoreError, match="is closed"):
        memory.recall("ada")


def test_threads_wait_for_each_other(memory: SQLMemory) -> None:
    def talk(user: str) -> None:
        for i in range(10):
            memory.remember(user, Turn(str(i)))
            memory.recall(user)

    threads = [threading.Thread(target=talk, args=(f"user {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert [s.turn.transcript for s in memory.show(f"user {i}")] == [str(j) for j in range(10)]
