"""Receipts: wherever an erasure is cut short, it is ended; who else has copies is asked."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from echat_memory import Encryption, Erased, Manifest, Recordings, Scope, SQLMemory
from echat_memory import shares as shares_module
from echat_memory.erasure import Erasures
from echat_memory.keepers import ask
from echat_sdk.consent import REMEMBERED
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.turn import Turn

sqlite_only = pytest.mark.parametrize("database", ["sqlite"])

MARKER = "Zqxwords"


class Notes:
    """A plugin's store."""

    def __init__(self, name: str = "notes") -> None:
        self.name = name
        self.works = True
        self.asked: list[Erased] = []

    def erase(self, erased: Erased) -> int:
        self.asked.append(erased)
        if not self.works:
            raise ValueError(MARKER)
        return 3


def _opened(store: Path | str, *keepers: Any, **of: Any) -> SQLMemory:
    return SQLMemory(store, unasked=REMEMBERED, on_erase=keepers, **of)


# --- receipts --------------------------------------------------------------------------------


def test_a_receipt_tells_what_went_and_nothing_of_what_it_was(
    memory: SQLMemory, clock: Any, contents: Callable[[], list[bytes]]
) -> None:
    turn = memory.remember("ada", Turn(f"My dog is called {MARKER}."))
    memory.remember("bob", Turn("hello"))
    one = memory.erase("ada", turn=turn)
    assert one.counts == {"facts": 1, "turns": 1, "sessions": 1, "users": 1}
    assert (one.requested_at, one.completed_at) == (clock.now, clock.now)
    two = memory.erase("ada")
    assert (two.counts, two.scope) == ({}, Scope())
    memory.erase("bob", purpose="train")
    assert memory.receipts("ada") == [one, two]
    assert [str(receipt.scope) for receipt in memory.receipts()] == [
        f"turn {turn}", "everything", "what was kept for train"
    ]  # fmt: skip
    data = contents()
    assert not any(MARKER.encode() in each for each in data)
    assert not any(b'"ada"' in each for each in data)


def test_an_erasure_that_bytes_stopped_is_ended_by_the_next_and_counted_once(
    memory: SQLMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.remember("ada", Turn("hello"))

    def busy(*, changed: bool = False) -> None:
        raise StoreError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(memory._database, "forget_deleted", busy)
        with pytest.raises(StoreError, match="busy"):
            memory.erase("ada")
    (still,) = memory.receipts("ada")
    assert (still.completed_at, still.counts["turns"]) == (None, 1)
    ended = memory.erase("ada")
    assert (ended.id, ended.counts) == (still.id, still.counts)
    assert ended.completed_at is not None
    assert len(memory.receipts("ada")) == 1


def test_who_came_back_before_an_erasure_was_ended_loses_nothing_of_what_they_said_since(
    store: Path | str, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with closing(_opened(store, clock=clock)) as memory:
        for scope in ({}, {"since": clock.now}):
            memory.remember("ada", Turn("before"))
            with monkeypatch.context() as patch:
                # One dies when its rows are gone, the other before that.
                where = "forget_deleted" if not scope else "drop_held"
                if scope:
                    patch.setattr("echat_memory.erasing.erase", dies)
                else:
                    patch.setattr(memory._database, where, dies)
                with pytest.raises(KeyboardInterrupt):
                    memory.erase("ada", **scope)
            memory.remember("ada", Turn("after"))
    with closing(_opened(store, clock=clock)) as memory:
        said = [stored.turn.transcript for stored in memory.show("ada")]
        assert said == ["after"]
        assert all(receipt.completed_at for receipt in memory.receipts("ada"))


# --- killed ----------------------------------------------------------------------------------


def _told(memory: SQLMemory) -> object:
    # Sessions by what is in them: what is made anew may have another number.
    return [(stored.at, stored.turn) for stored in memory.show("ada", 100)], memory.facts("ada")


def _dies_at(store: Path, manifest: Path, how: dict[str, Any], step: int) -> bool:
    """Erase in a child that kills itself at its k-th statement; whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            count = itertools.count(1)
            connect, replace = sqlite3.connect, Path.replace

            def at_step(_: str = "") -> None:
                if next(count) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
                connection = connect(*arguments, **named)
                connection.set_trace_callback(at_step)
                return connection

            def renamed(*paths: Path) -> Path:
                at_step()
                found = replace(*paths)
                at_step()
                return found

            for module in (sqlite3, sqlite3.dbapi2, shares_module.sqlite3):
                module.connect = traced  # type: ignore[attr-defined]
            Path.replace = renamed  # type: ignore[method-assign, assignment]
            with closing(
                _opened(store, Manifest(manifest), encryption=how["encryption"])
            ) as memory:
                memory.erase("ada", **how["scope"])
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


_EVERY = [pytest.mark.endurance, pytest.mark.timeout(1200)]


@sqlite_only
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(19, marks=pytest.mark.timeout(90)),
        pytest.param(7, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(1, marks=_EVERY),
    ],
)
@pytest.mark.parametrize("scope", [{"turn": "2"}, {}], ids=["turn", "all"])
@pytest.mark.parametrize("encryption", [None, Encryption()], ids=["plain", "sealed"])
def test_a_kill_at_any_statement_leaves_an_erasure_that_is_ended_at_the_next_opening(
    store: Path, tmp_path: Path, step: int, scope: dict[str, str], encryption: Encryption | None
) -> None:
    manifest = tmp_path / "rows" / "rows.jsonl"
    manifest.parent.mkdir()
    with closing(_opened(store, encryption=encryption)) as memory:
        for said in ("I live in Leeds.", f"I live in {MARKER}.", "I love jazz."):
            turn = memory.remember("ada", Turn(said))
            row = {"user": memory.pseudonym("ada"), "turn": turn}
            with manifest.open("a") as file:
                file.write(json.dumps(row) + "\n")
        memory.remember("bob", Turn("I live in Bath."))
        before = _told(memory)
    files = [*(each for each in store.parent.iterdir() if each.is_file()), manifest]
    pristine = {file: file.read_bytes() for file in files}

    def restore() -> None:
        for folder in (store.parent, manifest.parent):
            for file in folder.iterdir():
                if file.is_file():
                    file.unlink()
        for file, data in pristine.items():
            file.write_bytes(data)
            file.chmod(0o600)

    def scan() -> bool:
        files = [*store.parent.iterdir(), *manifest.parent.iterdir()]
        return any(MARKER.encode() in file.read_bytes() for file in files if file.is_file())

    with closing(_opened(store, Manifest(manifest), encryption=encryption)) as memory:
        memory.erase("ada", **scope)
        wanted, rows = _told(memory), manifest.read_bytes()
    assert wanted != before
    kills = open_ones = 0
    for at in itertools.count(step, step):
        restore()
        if not _dies_at(store, manifest, {"scope": scope, "encryption": encryption}, at):
            break
        kills += 1
        with closing(_opened(store, Manifest(manifest), encryption=encryption)) as memory:
            asked = memory.receipts("ada")
            if asked:  # the next opening has ended it
                open_ones += 1
                (receipt,) = asked
                assert receipt.completed_at is not None
                assert receipt.counts["turns"] == (1 if scope else 3)
                # A file that was replaced right before is not counted again.
                assert receipt.counts.get(Manifest(manifest).name, 1 if scope else 3) == (
                    1 if scope else 3
                )
            else:
                assert _told(memory) == before
                memory.erase("ada", **scope)
            assert _told(memory) == wanted
            assert manifest.read_bytes() == rows
            assert memory.facts("bob") == ("they live in Bath",)
            assert memory.verify().is_whole
            assert [record.action for record in memory.audit("ada")] == ["erase asked", "erased"]
        assert not scan()
    assert kills > open_ones > 1


# --- others ----------------------------------------------------------------------------------


def test_a_plugins_store_is_told_whose_and_which_and_counted(store: Path | str) -> None:
    notes = Notes()
    with closing(_opened(store, notes)) as memory:
        turn = memory.remember("ada", Turn("hello"))
        assert memory.erase("ada", turn=turn).counts["notes"] == 3
        memory.erase("ada", purpose="share_plugin:other")
        memory.erase("ada", purpose="share_plugin:notes")
        memory.erase("ada")
        who = memory.pseudonym("ada")
    assert [erased.who for erased in notes.asked] == [who] * 3
    assert [erased.turns for erased in notes.asked] == [frozenset({turn}), frozenset(), None]
    assert [str(erased.scope) for erased in notes.asked] == [
        f"turn {turn}", "what was kept for share_plugin:notes", "everything"
    ]  # fmt: skip


def test_a_store_that_fails_is_told_in_the_receipt_and_asked_again(
    store: Path | str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, other = Notes(), Notes("other")
    notes.works = False
    with closing(_opened(store, notes, other)) as memory:
        memory.remember("ada", Turn("hello"))
        receipt = memory.erase("ada")
        assert receipt.failed == {"notes": "it failed: ValueError"}
        assert (receipt.completed_at, receipt.counts["turns"]) == (None, 1)
        assert memory.show("ada") == []
        memory.erase("bob")
    assert MARKER not in caplog.text
    with closing(_opened(store)) as memory:  # where it is not, it cannot be asked
        with monkeypatch.context() as patch:
            patch.setattr(Erasures, "go_on", None)  # nor is anything tried
            memory._erasures.resume()
        assert memory.receipts("ada")[0].completed_at is None
    notes.works = True
    with closing(_opened(store, notes, other)) as memory:
        (receipt,) = memory.receipts("ada")
        assert (receipt.failed, receipt.counts["notes"], receipt.counts["other"]) == ({}, 3, 3)
        assert receipt.completed_at is not None
        assert all(each.completed_at for each in memory.receipts("bob"))
    assert len([each for each in other.asked if each.turns is None]) == 2  # once for each user


@pytest.mark.parametrize("scope", [{}, {"since": datetime(2026, 1, 1, tzinfo=UTC)}])
def test_what_was_said_while_a_copy_was_left_goes_when_all_is_erased_again(
    store: Path | str, clock: Any, scope: dict[str, Any]
) -> None:
    notes, other = Notes(), Notes("other")
    notes.works = False
    with closing(_opened(store, notes, other, clock=clock)) as memory:
        first = memory.remember("ada", Turn("before"))
        still = memory.erase("ada", **scope)
        assert still.completed_at is None
        second = memory.remember("ada", Turn("after"))
        notes.works = True
        ended = memory.erase("ada", **scope)
        assert memory.show("ada") == []
        assert (ended.id, ended.counts["turns"]) == (still.id, 2)
        assert (ended.counts["notes"], ended.counts["other"]) == (3, 6)
        assert ended.completed_at == clock.now
        assert notes.asked[-1].turns == (frozenset({first, second}) if scope else None)
        assert [record.action for record in memory.audit("ada")] == [
            "erase asked", "erase asked", "erased"
        ]  # fmt: skip


def test_two_that_would_be_taken_for_each_other_are_refused(store: Path | str) -> None:
    with pytest.raises(ConfigError, match="two have the same name"):
        _opened(store, Notes(), Notes())


def test_a_store_that_hangs_is_not_waited_for() -> None:
    leave = threading.Event()

    class Stuck(Notes):
        def erase(self, erased: Erased) -> int:
            leave.wait()
            return 0

    began = time.monotonic()
    erased = Erased("who", Scope(), None, lambda _: False)
    with pytest.raises(StoreError, match=r"not done within 0\.05 s"):
        ask(Stuck(), erased, within=0.05)
    assert time.monotonic() - began < 5
    leave.set()


@pytest.fixture
def manifest(tmp_path: Path, memory: SQLMemory) -> Iterator[Path]:
    path = tmp_path / "rows.jsonl"
    rows: list[object] = [
        {"user": memory.pseudonym(user), "turn": turn, "text": user}
        for user in ("ada", "bob")
        for turn in ("1", 2, "3")
    ]
    lines = [*map(json.dumps, rows), "no json", "[1]"]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o640)
    yield path
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.glob(f".{path.name}*")) == []


@pytest.mark.parametrize(
    ("scope", "turns", "gone"),
    [
        (Scope(), None, 3),
        (Scope(turn="2"), {"2"}, 1),
        (Scope(turn="9"), {"9"}, 0),
        (Scope(purpose="train"), set(), 3),
    ],
)
def test_rows_of_training_data_go_with_their_turns(
    memory: SQLMemory, manifest: Path, scope: Scope, turns: set[str] | None, gone: int
) -> None:
    who = memory.pseudonym("ada")
    erased = Erased(who, scope, None if turns is None else frozenset(turns), lambda _: False)
    before = manifest.read_text().splitlines()
    assert Manifest(manifest).erase(erased) == gone
    left = manifest.read_text().splitlines()
    assert len(left) == len(before) - gone
    assert [line for line in before if line in left] == left
    assert left[-2:] == ["no json", "[1]"]
    assert sum(memory.pseudonym("bob") in line for line in left) == 3
    assert Manifest(manifest).erase(erased) == 0


def _record(folder: Path, *turns: tuple[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name in ("user.wav", "agent.wav", "settings.json"):
        (folder / name).write_text("x")
    events = [{"event": "user_started", "at": 0.1}]
    events += [{"event": "turn", "at": 1, "user": user, "turn_id": turn} for user, turn in turns]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def test_recordings_with_a_turn_that_goes_go_whole_and_others_stay(
    store: Path | str, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    with closing(_opened(store, Recordings(folder))) as memory:
        one, two, _ = (memory.remember("ada", Turn("hello")) for _ in range(3))
        monday = _record(folder / "monday", ("ada", one), ("ada", two))
        tuesday = _record(folder / "week" / "tuesday", ("ada", "77"))
        bobs = _record(folder / "bob", ("bob", one))
        nobodys = _record(folder / "nobody")
        assert memory.erase("ada", turn=two).counts[Recordings(folder).name] == 1
        assert not monday.exists()
        assert tuesday.exists()
        (tuesday / "notes.txt").write_text("the host's own")
        assert memory.erase("ada").counts[Recordings(folder).name] == 1
        assert [file.name for file in tuesday.iterdir()] == ["notes.txt"]
        assert bobs.exists()
        assert nobodys.exists()
