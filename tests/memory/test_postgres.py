"""What only a server can do to a store. All else is in the suites that run on both."""

from __future__ import annotations

import functools
import itertools
import logging
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from echat_memory import SQLMemory, leftovers, postgres, recall
from echat_memory.database import open_database
from echat_memory.migrations import migrate
from echat_memory.pseudonym import create_key, pseudonym
from echat_memory.schema import Base
from echat_sdk.consent import REMEMBERED, Purpose
from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import ConfigError, StoreError
from echat_sdk.turn import Recollection, Turn
from tests.memory import bytescan

pytestmark = pytest.mark.postgres

SAD = Cue("sad", 0.8, {"sad": 0.8, "neutral": 0.2})
PASSWORD = "s3cr3t&word"
Sql = Callable[[Path | str, str], list[tuple[Any, ...]]]


@pytest.fixture
def database() -> str:
    return "postgresql"


@contextmanager
def other(postgres: Any, store: str) -> Iterator[Any]:
    """Another client of the store, in a transaction."""
    with postgres.connect(make_url(store).database) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


def backend(sql: Sql, store: str) -> int:
    """The process of the server that our only connection to a store has."""
    ((pid,),) = sql(
        store,
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'echat'",
    )
    return int(pid)


# --- erasure ---------------------------------------------------------------------------------


def _plant(
    memory: SQLMemory, sql: Sql, store: str, *, user: str = "", turns: int = 40
) -> tuple[str, list[str]]:
    """Fill a store with what a byte scan finds, for a user; gives the user and the markers.

    None of them is another test's, whose log the server may still have.
    """
    # Not compressed, else the scan would not see what is there.
    sql(store, "ALTER TABLE turns ALTER COLUMN think SET STORAGE EXTERNAL")
    token = user or secrets.token_hex(4)
    names = ("words", "think", "reply", "model", "cue", "key", "why", "long")
    words, think, reply, model, label, key, why, long = (f"zq{name}{token}x" for name in names)
    cue = Cue(label, 0.5, {key: 1.0}, why)
    for i in range(turns):
        turn = Turn(
            f"{words} {i}. My dog is called {words}.",
            think=think + secrets.token_hex(3_000) + long,  # out of line, in TOAST
            reply=reply * 20,
            model=model,
            cues=Cues(cue, cue),
        )
        memory.remember(token, turn)
        memory.remember("bob", Turn("I live in Leeds."))
    # Not the pseudonym, which a receipt keeps.
    return token, [words, think, reply, model, label, key, why, long]


def _found(postgres: Any, markers: list[str]) -> dict[str, set[str]]:
    """The folders of the server's data in which markers can be read, each with those."""
    data = postgres.folder / "data"
    found: dict[str, set[str]] = {}
    for file in postgres.files():
        if here := bytescan.found([file.read_bytes()], markers):
            found.setdefault(file.relative_to(data).parts[0], set()).update(here)
    return found


@pytest.fixture
def unrecycled(postgres: Any, postgres_server: Any, store: str) -> Iterator[None]:
    """A server that removes old segments of its log, and a role that may ask it to."""
    with postgres.connect(make_url(store).database) as admin:
        admin.execute("ALTER SYSTEM SET wal_recycle = off")
        admin.execute("GRANT pg_checkpoint TO echat")
        admin.execute("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO echat")
    postgres_server.stop()
    postgres_server.start()
    yield
    with postgres.connect() as admin:
        admin.execute("REVOKE pg_checkpoint FROM echat")
        admin.execute("ALTER SYSTEM RESET wal_recycle")
    postgres_server.stop()
    postgres_server.start()


@pytest.mark.timeout(60)
def test_after_erasing_only_the_log_has_bytes_of_the_user_and_that_is_said(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    user, markers = _plant(memory, sql, store)
    sql(store, "ANALYZE")
    sql(store, "CHECKPOINT")
    assert _found(postgres, markers)["base"] == set(markers)
    assert memory.erase(user).counts["turns"] == 40
    sql(store, "CHECKPOINT")
    assert set(_found(postgres, markers)) == {"pg_wal"}
    (record,) = caplog.records
    assert "stay in the write-ahead log" in record.message
    assert memory.recall(user) == Recollection()
    assert memory.recall("bob").facts == ("they live in Leeds",)
    assert memory.erase(user).counts == {}


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("unrecycled")
def test_after_erasing_not_a_byte_is_left_where_the_log_is_not_recycled(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    user, markers = _plant(memory, sql, store)
    sql(store, "CHECKPOINT")
    assert _found(postgres, markers)["base"] == set(markers)
    memory.erase(user)
    assert caplog.records == []
    for _ in range(20):  # the server takes its old log away behind the checkpoint
        if not (found := _found(postgres, markers)):
            return
        time.sleep(0.5)
    raise AssertionError(found)


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("unrecycled")
@pytest.mark.parametrize("scope", ["turn", "since", "purpose"])
def test_not_a_byte_is_left_of_a_part_either(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, clock: Any, scope: str
) -> None:
    """Of one user's part: what was said before it stays, though another fact took its place."""
    stays = f"zqstays{secrets.token_hex(4)}x"
    token = secrets.token_hex(4)
    memory.remember(token, Turn(f"I live in {stays}."))
    clock.advance(hours=1)
    since = clock.now
    user, markers = _plant(memory, sql, store, user=token, turns=8)
    sql(store, "CHECKPOINT")
    assert _found(postgres, [stays, *markers])["base"] == {stays, *markers}
    if scope == "since":
        memory.erase(user, since=since)
    elif scope == "purpose":
        memory.erase(user, purpose=Purpose.LONG_TERM_MEMORY)
    else:
        for stored in memory.show(user, 100)[1:]:
            memory.erase(user, turn=stored.id)
    for _ in range(20):
        if not (found := _found(postgres, markers)):
            break
        time.sleep(0.5)
    assert found == {}
    assert ("base" in _found(postgres, [stays])) == (scope != "purpose")


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("unrecycled")
def test_the_byte_scan_finds_what_is_left_where_tables_are_not_written_anew(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = leftovers._run
    monkeypatch.setattr(leftovers, "_run", lambda c, s: run(c, s.replace("(FULL)", "")))
    user, markers = _plant(memory, sql, store)
    memory.erase(user)
    sql(store, "CHECKPOINT")
    assert _found(postgres, markers)["base"]


def test_the_planner_keeps_statistics_of_ids_and_codes_alone(
    memory: SQLMemory, store: str, sql: Sql
) -> None:
    user, _ = _plant(memory, sql, store)
    sql(store, "ANALYZE")
    kept = "SELECT DISTINCT attname FROM pg_stats WHERE schemaname = 'public'"
    ids = {"id", "user_id", "turn_id", "session_id", "seq", "superseded_by"}
    ids |= {"kind", "lang", "source", "status"}
    assert {name for (name,) in sql(store, kept)} <= ids
    sql(store, "ALTER TABLE turns ALTER COLUMN transcript SET STATISTICS -1")
    sql(store, "ANALYZE")
    memory.erase(user)  # what the planner would keep of what was said
    said = "SELECT count(*) FROM pg_stats WHERE histogram_bounds::text LIKE '%My dog%'"
    assert sql(store, said) == [(1,)]


def test_erasing_says_so_when_an_old_transaction_sees_the_rows(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echat_memory.postgres.OPENING", 0.3)
    user, markers = _plant(memory, sql, store)
    with other(postgres, store) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM alembic_version")
        with pytest.raises(StoreError, match=r"rows are deleted .* erase again"):
            memory.erase(user)
        assert memory.show(user) == []
    memory.erase(user)
    sql(store, "CHECKPOINT")
    assert set(_found(postgres, markers)) == {"pg_wal"}


def test_erasing_says_so_when_somebody_holds_a_table(
    memory: SQLMemory, postgres: Any, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_LOCK", 0.1)
    memory.remember("ada", Turn("hello"))
    with other(postgres, store) as reader:
        reader.execute("LOCK TABLE key_check, consents IN ACCESS SHARE MODE")
        with pytest.raises(StoreError, match=r"rows are deleted, but .* locked .* Erase again"):
            memory.erase("ada")
    assert memory.show("ada") == []
    assert memory.erase("ada").counts["turns"] == 1  # the same erasure, which has ended now
    assert memory.erase("ada").counts == {}


def test_who_does_not_own_the_tables_is_told_that_bytes_are_left(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql, key: Path
) -> None:
    memory.remember("ada", Turn("hello"))
    sql(store, "DROP ROLE IF EXISTS guest")
    sql(store, "CREATE ROLE guest LOGIN")
    sql(store, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest")
    sql(store, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO guest")
    url = postgres.url(make_url(store).database, role="guest")
    with closing(SQLMemory(url, key_file=key, unasked=REMEMBERED)) as guest:
        guest.remember("ada", Turn("hello again"))
        with pytest.raises(StoreError, match="Erase again as the owner"):
            guest.erase("ada")
    assert memory.show("ada") == []
    sql(store, "DROP OWNED BY guest")
    sql(store, "DROP ROLE guest")


def test_a_user_id_is_nowhere_in_the_servers_files(
    memory: SQLMemory, postgres: Any, store: str, sql: Sql
) -> None:
    user = f"ada.{secrets.token_hex(8)}@example.org"
    memory.remember(user, Turn("hello"))
    sql(store, "CHECKPOINT")
    assert _found(postgres, [user]) == {}


def test_the_copy_from_a_migration_brings_an_older_store_back(
    new_store: str, sql: Sql, postgres: Any
) -> None:
    """As memory/README.md says."""
    with closing(open_database(new_store, timeout=5)) as database:
        migrate(database, head="0002")
        create_key(database.key_file)
    sql(new_store, "INSERT INTO users VALUES (7, 'who', now(), now())")
    with closing(SQLMemory(new_store, unasked=REMEMBERED)):
        pass
    tables = [table.name for table in Base.metadata.sorted_tables]
    sql(new_store, f"DROP TABLE {', '.join(tables)}, alembic_version")
    with closing(open_database(new_store, timeout=5)) as database:
        migrate(database, head="0002")  # by the older program
    copied = sql(
        new_store,
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public_echat_before_0002'",
    )
    with postgres.connect(make_url(new_store).database) as admin:
        for name in tables:
            if (name,) in copied:
                admin.execute(
                    f"INSERT INTO public.{name} SELECT * FROM public_echat_before_0002.{name}"
                )
        admin.execute("SELECT setval('users_id_seq', max(id)) FROM users")
    with closing(SQLMemory(new_store, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("hello"))
    assert sql(new_store, "SELECT id FROM users ORDER BY id") == [(7,), (8,)]


def test_what_was_said_is_found_by_an_index_before_the_planner_has_counted(
    memory: SQLMemory, store: str, sql: Sql
) -> None:
    sql(store, "ALTER TABLE turn_emotions SET (autovacuum_enabled = off)")
    for i in range(200):
        memory.remember(f"user {i % 10}", Turn("hello", cues=Cues(SAD)))
    with memory._open(write=False) as connection:
        statement = select(text("*")).select_from(recall._TURNS.subquery())
        compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
        asked = str(compiled)
        values = {**compiled.params, "who": pseudonym(memory._key, "user 1"), "limit": 12}
        plan = connection.exec_driver_sql(f"EXPLAIN {asked}", values).scalars().all()
    assert [line for line in plan if "Seq Scan" in line or "Sort" in line] == []
    assert any("uq_turn_emotions_turn_id_source" in line for line in plan)


# --- a server that goes away -----------------------------------------------------------------


@pytest.mark.timeout(60)
def test_a_server_that_was_started_again_is_found_again(
    memory: SQLMemory, postgres_server: Any, store: str
) -> None:
    memory.remember("ada", Turn("before"))
    postgres_server.stop()
    try:
        with pytest.raises(StoreError, match=r"cannot reach the server .*/store_\d+"):
            memory.remember("ada", Turn("during"))
        with pytest.raises(StoreError, match="still away"):  # at once
            memory.recall("ada")
    finally:
        postgres_server.start()
    with closing(SQLMemory(store, unasked=REMEMBERED)) as second:
        second.remember("ada", Turn("by another"))
    memory._database._patience.rewarded()  # time has passed
    assert [turn.transcript for turn in memory.recall("ada").turns] == ["before", "by another"]
    postgres_server.stop()
    postgres_server.start()
    memory.remember("ada", Turn("after"))  # nobody noticed
    assert [s.turn.transcript for s in memory.show("ada")] == ["before", "by another", "after"]


def test_a_write_whose_connection_is_lost_is_told_and_not_kept(
    memory: SQLMemory, store: str, sql: Sql
) -> None:
    pid = backend(sql, store)

    def work(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE users SET last_seen_at = now()")
        sql(store, f"SELECT pg_terminate_backend({pid}, 5000)")
        connection.exec_driver_sql("UPDATE users SET last_seen_at = now()")

    with pytest.raises(StoreError, match="was lost; nothing was kept"):
        memory._write(work)
    memory._database._patience.rewarded()
    memory.remember("ada", Turn("after"))
    assert len(memory.show("ada")) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lost", ["before", "after", "with its server"])
def test_a_turn_whose_end_nobody_told_is_kept_once_or_refused(
    memory: SQLMemory, lost: str, postgres_server: Any
) -> None:
    memory.remember("ada", Turn("hello"))
    patch = pytest.MonkeyPatch()  # not the test's own, which holds where the home is
    commit, ends = postgres._Driver.commit, itertools.count(1)

    def lose(driver: Any) -> None:
        if next(ends) == 1:  # what the user agreed to is read
            commit(driver)
            return
        patch.undo()
        if lost == "after":
            commit(driver)
        if lost == "with its server":
            postgres_server.stop()
        driver.pgconn.finish()
        raise psycopg.OperationalError("lost")

    patch.setattr(postgres._Driver, "commit", lose)
    if lost == "after":
        assert memory.remember("ada", Turn("again"))
    else:
        words = "was lost; nothing was kept" if lost == "before" else "may have been kept or not"
        with pytest.raises(StoreError, match=words):
            memory.remember("ada", Turn("again"))
    if lost == "with its server":
        postgres_server.start()
    memory._database._patience.rewarded()
    said = [stored.turn.transcript for stored in memory.show("ada")]
    assert said == (["hello", "again"] if lost == "after" else ["hello"])


def test_a_server_that_answers_no_more_is_waited_for_as_long_as_a_lock(
    store: str, sql: Sql
) -> None:
    with closing(SQLMemory(store, busy_timeout=0.3, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("before"))
        pid = backend(sql, store)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match="was lost"):
                memory.remember("ada", Turn("during"))
            with pytest.raises(StoreError, match="still away"):
                memory.recall("ada")
        finally:
            os.kill(pid, signal.SIGCONT)
        memory._database._patience.rewarded()
        memory.remember("ada", Turn("after"))
        assert [turn.transcript for turn in memory.recall("ada").turns] == ["before", "after"]


# --- others at work --------------------------------------------------------------------------


def test_a_user_who_is_being_written_by_another_process_is_told(store: str, postgres: Any) -> None:
    with closing(SQLMemory(store, busy_timeout=1, unasked=REMEMBERED)) as memory:
        memory.remember("ada", Turn("before"))
        with other(postgres, store) as locking:
            locking.execute("SELECT 1 FROM users FOR UPDATE")
            for _ in range(2):
                with pytest.raises(StoreError, match="locked by another process"):
                    memory.remember("ada", Turn("during"))
            assert len(memory.recall("ada").turns) == 1  # reading does not wait for a writer
            memory.remember("bob", Turn("not concerned"))
        memory.remember("ada", Turn("after"))
        assert [turn.transcript for turn in memory.recall("ada").turns] == ["before", "after"]


def test_who_waited_in_vain_waits_a_moment_only_until_time_has_passed(
    store: str, postgres: Any
) -> None:
    now = [0.0]

    def waits() -> tuple[bool, str]:
        """Whether a user was written, and how long the server might have waited for it."""
        with database.transaction(write=True) as connection:
            found: str = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
        try:
            with database.transaction(write=True) as connection:
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        except StoreError:
            return False, found
        return True, found

    with (
        closing(postgres_database(store, timeout=0.3, clock=lambda: now[0])) as database,
        other(postgres, store) as locking,
    ):
        assert waits() == (True, "240ms")
        locking.execute("SELECT 1 FROM alembic_version FOR UPDATE")
        assert waits() == (False, "240ms")
        assert database._patience.seconds == 0.2
        now[0] += 0.3
        assert database._patience.seconds == 0.3


def postgres_database(store: str, **given: Any) -> postgres.PostgreSQL:
    return postgres.PostgreSQL(postgres.checked(make_url(store)), **given)


@pytest.mark.parametrize("code", ["40001", "40P01", "23505"])
def test_of_two_writes_at_once_the_one_that_lost_is_done_again_once(
    memory: SQLMemory, code: str
) -> None:
    calls: list[int] = []

    def work(connection: Any, *, times: int) -> str:
        calls.append(1)
        if len(calls) <= times:
            connection.exec_driver_sql(
                f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"
            )
        return "done"

    assert memory._write(functools.partial(work, times=1)) == "done"
    calls.clear()
    with pytest.raises(StoreError, match="by another process at the same time"):
        memory._write(functools.partial(work, times=2))
    assert len(calls) == 2


def _meet(store: str, name: str, users: int, begin: Any) -> None:
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for i in range(users):
            begin.wait()
            memory.remember(f"user {i}", Turn(name))


def test_processes_that_meet_new_users_at_once_lose_no_turn(store: str, sql: Sql) -> None:
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(4)
    children = [context.Process(target=_meet, args=(store, name, 10, begin)) for name in "abcd"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    turns = "SELECT count(*), count(DISTINCT (session_id, seq)), max(seq) FROM turns"
    assert sql(store, turns) == [(40, 40, 4)]
    assert sql(store, "SELECT count(*) FROM users") == [(10,)]


def test_erasing_somebody_who_is_speaking_leaves_all_or_nothing(store: str, sql: Sql) -> None:
    failed: list[StoreError] = []

    def speak() -> None:
        try:
            with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
                while not done.is_set():
                    memory.remember("ada", Turn("I live in Leeds.", cues=Cues(SAD)))
        except StoreError as error:
            failed.append(error)

    done = threading.Event()
    speaker = threading.Thread(target=speak)
    speaker.start()
    with closing(SQLMemory(store, unasked=REMEMBERED)) as memory:
        for _ in range(5):
            memory.erase("ada")
        done.set()
        speaker.join()
        assert failed == []
        memory.erase("ada")
    assert sql(store, "SELECT count(*) FROM turns") == [(0,)]


# --- what can go wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("53100", "no space is left"),
        ("53200", "out of memory"),
        ("25006", "is read-only"),
        ("42501", "may not do that"),
        ("58030", "check the server's disk"),
        ("XX001", "is damaged"),
        ("23514", "refused a statement .*23514"),
    ],
)
def test_a_fault_half_way_keeps_nothing_of_the_turn_and_says_so(
    memory: SQLMemory, store: str, sql: Sql, code: str, words: str
) -> None:
    secret = chr(0x5BC6) * 9
    turn = Turn(f"My dog is called Rex. {secret}", cues=Cues(SAD, SAD, SAD))
    memory.remember("ada", Turn("hello"))
    sql(
        store,
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION '%', NEW USING ERRCODE = '{code}', DETAIL = NEW::text; END $$",
    )
    for table in ("turns", "turn_emotions", "turn_cues", "facts"):
        sql(
            store,
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fault()",
        )
        with pytest.raises(StoreError, match=words) as caught:
            memory.remember("ada", turn)
        assert secret not in "".join(traceback.format_exception(caught.value))
        sql(store, f"DROP TRIGGER fault ON {table}")
        assert len(memory.show("ada")) == 1
    assert memory.recall("ada").facts == ()
    memory.remember("ada", turn)
    assert memory.recall("ada").turns[-1] == turn


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "wr0ng"}, "refused the password"),
        ({"username": "nobody"}, "refused the password"),  # servers do not tell who is missing
        ({"database": "nowhere"}, "no database .*createdb"),
        ({"port": 1}, "cannot reach the server"),
        ({"host": "host.invalid"}, "no host of that name"),
        ({"password": None}, "wants a password"),
    ],
)
def test_a_server_that_cannot_be_opened_is_told_without_the_password(
    postgres: Any, store: str, change: dict[str, Any], words: str
) -> None:
    whole = make_url(postgres.url(make_url(store).database, tcp=PASSWORD))
    with closing(
        SQLMemory(whole.render_as_string(hide_password=False), unasked=REMEMBERED)
    ) as memory:
        memory.remember("ada", Turn("hello"))
    wrong = whole.set(**change)
    if change == {"password": None}:
        wrong = make_url(str(whole).replace(":***@", "@"))
    with pytest.raises(StoreError, match=words) as caught:
        SQLMemory(wrong.render_as_string(hide_password=False), unasked=REMEMBERED)
    told = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in told
    assert "wr0ng" not in str(caught.value)


def test_a_role_that_is_missing_is_told(postgres: Any, store: str) -> None:
    with pytest.raises(StoreError, match=r"no such role.*createuser"):
        SQLMemory(postgres.url(make_url(store).database, role="nobody"), unasked=REMEMBERED)


def test_a_database_that_cannot_hold_every_language_is_refused(postgres: Any) -> None:
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE latin OWNER echat TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(StoreError, match="encoding LATIN1"):
        SQLMemory(postgres.url("latin"), unasked=REMEMBERED)
    postgres.drop("latin")


def test_an_older_server_is_refused(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "OLDEST", 99)
    with pytest.raises(StoreError, match="the store needs 99 or newer"):
        SQLMemory(store, unasked=REMEMBERED)


def test_another_programs_database_is_left_alone(new_store: str, sql: Sql) -> None:
    sql(new_store, "CREATE TABLE bookmarks (id integer)")
    with pytest.raises(StoreError, match="another program"):
        SQLMemory(new_store, unasked=REMEMBERED)
    assert sql(new_store, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]


def test_a_role_that_may_not_copy_an_older_store_does_not_migrate_it(
    new_store: str, sql: Sql
) -> None:
    with closing(open_database(new_store, timeout=5)) as database:
        migrate(database, head="0001")
    name = make_url(new_store).database
    sql(new_store, f"ALTER DATABASE {name} OWNER TO postgres")
    with pytest.raises(StoreError, match=r"left as it was: .* GRANT"):
        SQLMemory(new_store, unasked=REMEMBERED)
    assert sql(new_store, "SELECT version_num FROM alembic_version") == [("0001",)]


def test_a_commit_waits_for_the_disk_where_the_server_was_told_not_to(store: str, sql: Sql) -> None:
    name = make_url(store).database
    sql(store, f"ALTER DATABASE {name} SET synchronous_commit = off")
    sql(store, f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    with (
        closing(SQLMemory(store, unasked=REMEMBERED)) as memory,
        memory._open(write=True) as connection,
    ):
        found = [
            connection.exec_driver_sql(f"SHOW {setting}").scalar_one()
            for setting in ("synchronous_commit", "transaction_isolation", "fsync")
        ]
    assert found == ["on", "read committed", "on"]


def test_without_its_driver_the_package_to_install_is_told(store: str) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from echat_memory import SQLMemory\n"
        "from echat_sdk.errors import ConfigError\n"
        "try: SQLMemory(sys.argv[1])\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, store], check=True, capture_output=True, text=True
    )
    assert 'pip install "echat-sdk[postgres]"' in done.stdout


def test_what_a_call_leaves_behind_is_in_no_log(
    memory: SQLMemory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    memory.remember("ada", Turn("My dog is called Zyxwvut."))
    memory.recall("ada")
    assert "Zyxwvut" not in caplog.text
    with pytest.raises(ConfigError):
        SQLMemory("postgresql://u:hidden@h", unasked=REMEMBERED)
    assert "hidden" not in caplog.text
