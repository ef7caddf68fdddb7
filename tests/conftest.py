from __future__ import annotations

import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine breaks no law. In CI each law is tried on the same examples every time, so that no
# change falls over a history that it has nothing to do with; elsewhere the search goes on.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """Fail the test that leaves a setting of its own to all that come after it."""
    before = {name: value for name, value in os.environ.items() if name.startswith("ECHAT_")}
    yield
    after = {name: value for name, value in os.environ.items() if name.startswith("ECHAT_")}
    assert after == before


PASSWORD = "s3cr3t&word"  # of the role `echat`, on TCP; the socket asks for none

# The shell ends the server when we end, however we do: the other end of its input is ours.
_WATCHED = '"$1" -D "$2" >>"$2/log" 2>&1 & server=$!; read _; kill -INT $server; wait $server'
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = on
shared_buffers = 32MB
min_wal_size = 16MB
"""
_HBA = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


def _programs() -> Path:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    named = shutil.which("initdb")
    if named:
        return Path(named).resolve().parent
    if not found:
        pytest.fail("PostgreSQL's server is not installed; apt-get install postgresql")
    return found[-1].parent


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server of the tests' own."""

    folder: Path
    port: int

    def url(self, database: str, role: str = "echat", *, tcp: str = "") -> str:
        """The URL of a database, by the socket; by TCP with `tcp` as the password."""
        if tcp:
            return f"postgresql://{role}:{tcp}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{role}@/{database}?host={self.folder}&port={self.port}"

    def connect(self, database: str = "postgres", role: str = "postgres") -> Any:
        """A connection past our own code, each statement committed by itself."""
        import psycopg

        return psycopg.connect(
            dbname=database, user=role, host=str(self.folder), port=self.port, autocommit=True
        )

    def create(self, database: str, template: str = "template0") -> None:
        """A new database, owned by `echat`."""
        with self.connect() as admin:
            admin.execute(
                f"CREATE DATABASE {database} OWNER echat TEMPLATE {template} ENCODING 'UTF8'"
            )

    def drop(self, database: str) -> None:
        with self.connect() as admin:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def files(self) -> Iterator[Path]:
        """Every file of the server, its log aside."""
        return (p for p in (self.folder / "data").rglob("*") if p.is_file() and p.name != "log")


def _start(folder: Path, port: int, *, as_user: dict[str, Any]) -> subprocess.Popen[bytes]:
    programs, data = _programs(), folder / "data"
    if not data.exists():
        initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8"]
        initdb += ["--locale=C", "--wal-segsize=1"]  # small files, for the scans of their bytes
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {port}\nunix_socket_directories = '{folder}'\n")
        (data / "pg_hba.conf").write_text(_HBA)
    server = subprocess.Popen(
        ["sh", "-c", _WATCHED, "sh", programs / "postgres", data],
        stdin=subprocess.PIPE,
        cwd=folder,
        **as_user,
    )
    ready = [programs / "pg_isready", "-q", "-h", folder, "-p", str(port)]
    while subprocess.run(ready, check=False, **as_user).returncode:
        if server.poll() is not None:
            pytest.fail((data / "log").read_text())
        time.sleep(0.05)
    return server


def _stop(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


class Server:
    """A server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # as whom PostgreSQL refuses to run
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.postgres = Postgres(folder, port)
        self._start = functools.partial(_start, folder, port, as_user=as_user)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Postgres:
        self._process = self._start()
        return self.postgres

    def stop(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    # Not pytest's folder, which the server's user cannot enter; and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="echat-pg-"))
    server = Server(folder)
    try:
        with server.start().connect() as admin:
            admin.execute(f"CREATE ROLE echat LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(postgres_server: Server) -> Postgres:
    return postgres_server.postgres


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes the database `template_echat`, a store at the newest schema; gives its key."""
    from echat_memory import SQLMemory

    key = tmp_path_factory.mktemp("template") / "template.key"
    postgres.create("template_echat")
    SQLMemory(postgres.url("template_echat"), key_file=key).close()
    return key


@pytest.fixture
def postgres_store(
    postgres: Postgres,
    postgres_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The URL of a store of the test's own; its key is in the home folder, `tmp_path / "home"`."""
    database = f"store_{next(_numbers)}"
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("ECHAT_HOME", str(home))
    (home / f"{database}.key").write_bytes(postgres_template.read_bytes())
    postgres.create(database, "template_echat")
    yield postgres.url(database)
    postgres.drop(database)
