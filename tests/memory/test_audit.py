"""The audit log: nothing can be altered in it unseen, and it outlives its own beginning."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from echat_memory import Encryption, SQLMemory, audit
from echat_memory.schema import AuditRow
from echat_sdk.consent import REMEMBERED, ConsentState, Purpose
from echat_sdk.cues import Cue, Cues, Emotion
from echat_sdk.errors import UnknownUserError
from echat_sdk.turn import Turn

Sql = Callable[..., list[tuple[Any, ...]]]

sqlite_only = pytest.mark.parametrize("database", ["sqlite"])


def _add(memory: SQLMemory, *actions: str) -> str:
    head = ""
    for action in actions:
        with memory._open(write=True) as connection:
            head = audit.append(
                connection, who="", actor="test", action=action, detail={}, at=memory._clock()
            )
    return head


def _actions(memory: SQLMemory, user: str | None = None) -> list[str]:
    return [record.action for record in memory.audit(user)]


# --- what is written -------------------------------------------------------------------------


def test_what_is_done_with_somebodys_data_is_written_down_and_talking_is_not(
    store: Path | str, clock: Any
) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", REMEMBERED, version="1", channel="paper")
        memory.consent("ada", REMEMBERED, version="1", channel="paper")  # adds nothing
        cues = Cues(Cue("sad", 0.8))
        turn = memory.remember("ada", Turn("My dog is called Rex.", cues=cues))
        memory.recall("ada", query="Zqx")
        memory.prefetch("ada")
        memory.remember("ada", Turn("My dog is called Rex.", cues=cues), turn_id=turn)
        memory.report("ada", turn, Emotion.HAPPY)
        memory.consent("ada", Purpose.INFER_AGE, ConsentState.WITHDRAWN)
        memory.erase("ada", turn=turn, channel="voice")
        clock.advance(days=4000)
        assert memory.sweep()
        records = memory.audit()
        assert _actions(memory, "ada") == []  # they have had their time
        assert memory.verify().is_whole
    assert [record.action for record in records] == ["audit swept", "swept"]


def test_a_record_tells_who_what_and_when_and_no_content(store: Path | str, clock: Any) -> None:
    with closing(SQLMemory(store, clock=clock)) as memory:
        memory.consent("ada", REMEMBERED, version="1", channel="paper")
        turn = memory.remember("ada", Turn("Zqx", cues=Cues(Cue("sad", 0.8))))
        memory.report("ada", turn, Emotion.HAPPY)
        memory.consent("ada", Purpose.INFER_AGE, ConsentState.WITHDRAWN)
        memory.erase("ada", turn=turn, channel="voice")
        memory.erase("bob")
        told = [(r.actor, r.action, dict(r.detail)) for r in memory.audit("ada")]
        assert {record.who for record in memory.audit("ada")} == {memory.pseudonym("ada")}
        assert {record.at for record in memory.audit("ada")} == {clock.now}
        assert "'ada'" not in str([record.to_json() for record in memory.audit()])
    assert told == [
        ("paper", "consent granted", {
            "purposes": sorted(REMEMBERED), "version": "1", "deleted": {}
        }),
        ("user", "own word", {"turn": turn}),
        ("host", "consent withdrawn", {"purposes": ["infer_age"], "version": "", "deleted": {}}),
        ("voice", "erase asked", {"receipt": 1, "scope": {"turn": turn}}),
        ("store", "erased", {
            "receipt": 1, "counts": {"turns": 1, "turn_emotions": 2, "sessions": 1}
        }),
    ]  # fmt: skip


def test_what_was_given_out_and_taken_in_is_written_down(
    store: Path | str, tmp_path: Path, clock: Any
) -> None:
    file = tmp_path / "ada.json"
    with closing(SQLMemory(store, clock=clock, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("My dog is called Rex."))
        file.write_text("".join(memory.export("ada", channel="cli")))
        list(memory.emotionml("ada"))
        memory.import_document(file, user="ada", replace=True, agreed=True)
        assert _actions(memory, "ada") == ["export", "export emotions", "import"]
        assert memory.verify().is_whole
        with pytest.raises(UnknownUserError):
            memory.export("bob")
        assert _actions(memory, "bob") == []


def test_new_keys_and_encryption_are_written_down(store: Path | str, tmp_path: Path) -> None:
    how = Encryption(shares=tmp_path / "some.shares")
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    with closing(SQLMemory(store, unasked=REMEMBERED, encryption=how)) as memory:
        memory.rotate("ada")
        memory.rotate_key()
        assert _actions(memory) == ["log begins", "encryption on", "key rotated", "KEK rotated"]
        assert _actions(memory, "ada") == ["key rotated"]
        assert memory.verify().is_whole


def test_a_record_is_kept_with_what_it_tells_of_or_not_at_all(
    memory: SQLMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("echat_memory.store.audit.append", dies)
    with pytest.raises(KeyboardInterrupt):
        memory.consent("ada", REMEMBERED)
    assert memory.consents("ada").given == {}
    assert memory.users() == 0


# --- what is found ---------------------------------------------------------------------------


def test_a_whole_chain_is_whole_and_its_head_is_in_it(memory: SQLMemory) -> None:
    begun = memory.verify()
    assert (begun.records, begun.is_whole) == (1, True)
    head = _add(memory, "one", "two")
    found = memory.verify(head=begun.head)
    assert (found.records, found.head, found.has_anchor, found.is_whole) == (3, head, True, True)
    assert not memory.verify(head="0" * 63 + "1").is_whole


def _rows(memory: SQLMemory) -> list[dict[str, Any]]:
    with memory._open(write=False) as connection:
        found = connection.execute(select(*audit._COLUMNS).order_by(AuditRow.id))
        return [dict(row._mapping) for row in found]


def _put(memory: SQLMemory, rows: list[dict[str, Any]]) -> None:
    with memory._open(write=True) as connection:
        connection.execute(delete(AuditRow))
        if rows:
            connection.execute(insert(AuditRow), rows)


_ALTERED = {
    "at": lambda value: value + timedelta(microseconds=1),
    "who": lambda value: value[:-1] + "x" if value else "x",
    "actor": lambda value: value + "x",
    "action": lambda value: value.upper(),
    "detail": lambda value: {**value, "x": 1},
    "digest": lambda value: ("0" if value[0] != "0" else "1") + value[1:],
    "previous": lambda value: ("0" if value[0] != "0" else "1") + value[1:],
}


def _tampered(rows: list[dict[str, Any]], kind: str, generator: random.Random) -> Any:
    """The rows with one thing done to them that a chain must show; None where there is none."""
    rows = [dict(row) for row in rows]
    at = generator.randrange(len(rows))
    if kind in _ALTERED:
        rows[at][kind] = _ALTERED[kind](rows[at][kind])
        return rows
    if kind == "renumbered":  # all from one on, so that the order is as it was
        for row in rows[at:]:
            row["id"] += 1
        return rows if at else None
    if kind == "removed":
        return rows[:at] + rows[at + 1 :] if at < len(rows) - 1 else None
    if kind == "beginning removed":
        return rows[at:] if at else None
    if kind == "closed up":  # removed, and the rest numbered and linked as if it had not been
        rest = rows[:at] + rows[at + 1 :]
        if at == len(rows) - 1 or not at:
            return None
        for number, row in enumerate(rest, 1):
            row["id"] = number
        rest[at]["previous"] = rest[at - 1]["digest"]
        return rest
    other = generator.randrange(len(rows))
    if kind == "swapped":
        if at == other:
            return None
        rows[at]["id"], rows[other]["id"] = rows[other]["id"], rows[at]["id"]
        return rows
    # Inserted: a copy of a record, or one of somebody without the key.
    new = dict(rows[other], id=0, action=generator.choice([rows[other]["action"], "forged"]))
    rows.insert(at + 1, new)
    for number, row in enumerate(rows, 1):
        row["id"] = number
    new["previous"] = rows[at]["digest"]
    new["digest"] = f"{generator.getrandbits(256):064x}"
    if at + 2 < len(rows):
        rows[at + 2]["previous"] = new["digest"]
    return rows


@sqlite_only
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@given(
    kind=st.sampled_from(
        [
            *_ALTERED,
            "renumbered",
            "removed",
            "beginning removed",
            "closed up",
            "swapped",
            "inserted",
        ]
    ),
    seed=st.integers(0, 2**32),
    swept=st.booleans(),
)
def test_whatever_is_altered_removed_inserted_or_moved_is_found(
    kept: tuple[SQLMemory, list[dict[str, Any]], list[dict[str, Any]]],
    kind: str,
    seed: int,
    swept: bool,
) -> None:
    memory, whole, rest = kept
    rows = rest if swept else whole
    _put(memory, rows)
    assert memory.verify().is_whole
    changed = _tampered(rows, kind, random.Random(seed))
    if changed is None or sorted(changed, key=lambda row: row["id"]) == rows:
        return
    _put(memory, changed)
    found = memory.verify()
    assert not found.is_whole
    assert found.why


@pytest.fixture
def kept(memory: SQLMemory, clock: Any) -> tuple[SQLMemory, Any, Any]:
    """A store with a chain; that chain, and what is left of it after a sweep."""
    for number in range(6):
        _add(memory, f"action {number}")
        clock.advance(days=300)
    whole = _rows(memory)
    memory.sweep()
    rest = _rows(memory)
    assert 3 < len(rest) < len(whole)
    return memory, whole, rest


def test_a_lost_end_is_found_by_a_head_that_was_kept_and_only_so(
    memory: SQLMemory, sql: Sql, store: Path | str
) -> None:
    head = _add(memory, "one", "two", "three")
    sql(store, "DELETE FROM audit_log WHERE action = 'three'")
    assert memory.verify().is_whole
    found = memory.verify(head=head)
    assert (found.is_whole, found.has_anchor, found.broken_at) == (False, False, None)
    sql(store, "DELETE FROM audit_log")
    assert not memory.verify().is_whole  # for a log has begun with its store


def test_what_another_copy_of_the_store_wrote_does_not_follow(memory: SQLMemory) -> None:
    """Its records are genuine, and have the right numbers."""
    _add(memory, "one")
    common = _rows(memory)
    _add(memory, "two", "three")
    here = _rows(memory)
    _put(memory, common)
    _add(memory, "other two", "other three")
    there = _rows(memory)
    assert memory.verify().is_whole
    _put(memory, [*here[:-1], there[-1]])
    found = memory.verify()
    assert (found.broken_at, found.why) == (4, "it does not follow the one before")


def test_who_has_the_rows_and_another_key_forges_nothing(
    memory: SQLMemory, store: Path | str
) -> None:
    _add(memory, "one")
    with memory._open(write=True) as connection:
        audit.use(connection, b"x" * 32)
        audit.append(
            connection, who="", actor="test", action="two", detail={}, at=datetime.now(UTC)
        )
    found = memory.verify()
    assert (found.broken_at, found.why) == (3, "it was altered")


# --- sweeping --------------------------------------------------------------------------------


def test_a_chain_goes_on_when_its_beginning_was_swept_again_and_again(
    memory: SQLMemory, clock: Any
) -> None:
    for day in range(0, 3000, 100):
        _add(memory, f"day {day}")
        memory.sweep()
        assert memory.verify().is_whole
        clock.advance(days=100)
    found = memory.audit()
    assert found[0].id > 10
    assert _actions(memory)[-1] != "day 0"
    assert len(found) < 40  # of 1096 days: one record each 100, and two of a sweep
    _add(memory, "after")
    assert memory.verify().is_whole


def test_a_store_that_nobody_uses_does_not_sweep_its_own_sweeps_for_ever(
    memory: SQLMemory, clock: Any
) -> None:
    _add(memory, "one")
    for _ in range(6):
        clock.advance(days=4 * 365)
        memory.sweep()
    before = memory.verify()
    assert before.is_whole
    assert before.records <= 2


# --- at once ---------------------------------------------------------------------------------


def test_writers_at_once_never_fork_the_chain(store: Path | str, memory: SQLMemory) -> None:
    failed: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with closing(SQLMemory(store, unasked=REMEMBERED, busy_timeout=15)) as mine:
                for number in range(10):
                    mine.consent(
                        name, f"share_plugin:p{number}", ConsentState.GRANTED, channel=name
                    )
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    writers = [threading.Thread(target=write, args=(f"user {n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    found = memory.verify()
    assert (found.is_whole, found.records) == (True, 41)


@pytest.mark.postgres
@pytest.mark.parametrize("database", ["postgresql"])
def test_without_the_lock_two_would_follow_the_same_record_and_one_is_refused(
    store: str, memory: SQLMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as other:
        monkeypatch.setattr(audit, "_LOCK", select(AuditRow.id).where(AuditRow.id < 0))
        with memory._open(write=True) as connection:
            told = {"who": "", "actor": "test", "detail": {}, "at": datetime.now(UTC)}
            audit.append(connection, action="one", **told)
            thread = threading.Thread(target=lambda: _add_or_not(other))
            thread.start()
            thread.join(0.2)
        thread.join()
        assert _actions(memory) == ["log begins", "one"]
        assert memory.verify().is_whole


def _add_or_not(memory: SQLMemory) -> None:
    try:
        _add(memory, "two")
    except Exception:  # noqa: BLE001 - that it is refused is the point
        return


def test_a_record_that_was_altered_in_the_file_is_named(
    memory: SQLMemory, store: Path | str, sql: Sql
) -> None:
    memory.consent("ada", REMEMBERED, channel="paper")
    _add(memory, "after")
    sql(store, "UPDATE audit_log SET actor = 'cli' WHERE actor = 'paper'")
    found = memory.verify()
    assert (found.broken_at, found.why) == (2, "it was altered")
    with memory._open(write=True) as connection:
        connection.execute(update(AuditRow).where(AuditRow.id == 2).values(actor="paper"))
    assert memory.verify().is_whole
