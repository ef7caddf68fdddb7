"""Two replicas on Ray Serve and one store in PostgreSQL; `make ray` installs it and runs this."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from echat_sdk.config import home_dir
from echat_sdk.consent import REMEMBERED
from echat_sdk.server.caller import EVERYTHING
from echat_sdk.server.keys import Keys

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("RAY_PYTHON") or Path(sys.prefix) / "ray/bin/python")
FULL = 180.0  # seconds in which two replicas have opened a model each


@dataclass
class Cluster:
    """Replicas behind one port."""

    port: int
    key: str

    def headers(self, session: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "x-session-id": session}

    def get(self, path: str, session: str) -> httpx2.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx2.get(url, headers=self.headers(session), timeout=20)

    def begun(self, session: str) -> float:
        """How many sessions the replica of this id has had."""
        text = self.get("/metrics", session).text
        (line,) = [each for each in text.splitlines() if each.startswith("echat_sessions_begun_t")]
        return float(line.split()[1])

    def ask(self, session: str, *events: dict[str, Any], until: str) -> dict[str, Any]:
        """Open a session, say this, and give the first event of this kind."""
        with connect(
            f"ws://127.0.0.1:{self.port}/v1/realtime",
            additional_headers=self.headers(session),
            open_timeout=30,
        ) as socket_:
            for event in events:
                socket_.send(json.dumps(event))
            while True:
                told: dict[str, Any] = json.loads(socket_.recv(timeout=60))
                assert told["type"] != "error", told
                if told["type"] == until:
                    return told


@pytest.fixture
def cluster(postgres_store: str, tmp_path: Path) -> Iterator[Cluster]:
    assert PYTHON.exists(), "Ray is not installed; run: make ray"
    home = tmp_path / "home"
    models = home_dir({name: text for name, text in os.environ.items() if name != "ECHAT_HOME"})
    for name in ("blobs", "derived", "locks", "parts"):
        (home / name).symlink_to(models / name)
    key, _ = Keys(home / "server-keys.json").new("test", scopes=EVERYTHING, user="ada")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    environment = {**os.environ, "ECHAT_STORE": postgres_store, "ECHAT_MODEL": "echat-mini"}
    environment.pop("RAY_ADDRESS", None)
    with log.open("w") as file:
        process = subprocess.Popen(
            [PYTHON, ROOT / "examples/deploy/ray_serve.py", str(port)],
            env=environment,
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        made = Cluster(port, key)
        deadline = time.monotonic() + FULL
        while not _is_ready(made):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield made
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_ready(cluster: Cluster) -> bool:
    """Whether both replicas answer."""
    try:
        if cluster.get("/readyz", "x").status_code != 200:
            return False
        started = {_began(cluster, f"id-{n}") for n in range(16)}
    except httpx2.HTTPError:
        return False
    return len(started) == 2


def _began(cluster: Cluster, session: str) -> str:
    """What tells the replica of an id from the other: when its counters were made."""
    text = cluster.get("/metrics", session).text
    return next(
        (each for each in text.splitlines() if each.startswith("echat_sessions_begun_created")), ""
    )


def test_who_spoke_at_one_replica_is_remembered_at_the_other(cluster: Cluster) -> None:
    first = "id-0"
    consent = {"type": "echat.consent.update", "purposes": sorted(REMEMBERED), "state": "granted"}
    cluster.ask(first, consent, until="echat.consent.updated")
    said = [{"type": "input_text", "text": "My dog Rex died yesterday."}]
    item = {"type": "message", "role": "user", "content": said}
    answered = cluster.ask(
        first,
        {"type": "conversation.item.create", "item": item},
        {"type": "response.create", "response": {"output_modalities": ["text"]}},
        until="response.done",
    )
    assert answered["response"]["status"] == "completed"
    # A session's id names its replica, every time; other ids name the other one.
    assert [cluster.begun(first) for _ in range(5)] == [2.0] * 5
    other = next(f"id-{n}" for n in range(16) if cluster.begun(f"id-{n}") == 0)
    known = cluster.ask(other, {"type": "echat.memory.retrieve"}, until="echat.memory.retrieved")
    assert known["turns"] == 1
    assert "Rex" in json.dumps(known["facts"])
    assert cluster.begun(other) == 1
    # A client secret counts where it was made: its holder names the same id.
    url = f"http://127.0.0.1:{cluster.port}/v1/realtime/client_secrets"
    made = httpx2.post(url, headers=cluster.headers(other), json={}).json()["value"]
    holder = Cluster(cluster.port, made)
    assert holder.ask(other, until="session.created")["session"]["echat"]["user"] is True
