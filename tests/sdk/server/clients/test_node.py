"""OpenAI's JavaScript packages, as they are, and a page's own WebSocket lead the dialogue."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sdk.server.clients.dialogue import Told, check, scripted
from tests.sdk.server.clients.served import served, speech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODE = Path(__file__).parent / "node"
OLDEST = 20  # whose `--experimental-websocket` is a browser's


def node() -> str:
    """Where node is; the packages of the lock file are installed beside the scripts."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.fail("Node.js and npm are not installed; apt-get install nodejs npm")
    version = subprocess.run([found, "--version"], check=True, capture_output=True, text=True)
    if int(version.stdout[1:].split(".")[0]) < OLDEST:
        pytest.fail(f"Node.js {OLDEST} or newer is needed, got {version.stdout.strip()}")
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules/.installed"
    if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
        done = subprocess.run([npm, "ci"], cwd=NODE, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"npm ci: {done.stderr[-2000:]}")
        installed.write_bytes(wanted.read_bytes())
    return found


def run(script: str, folder: Path, *, tls: bool = False) -> Told:
    """Have a script lead the dialogue; what it found out, of which it told an object a line."""
    sounds = [folder / f"{name}.pcm" for name in ("happy", "news")]
    for path in sounds:
        path.write_bytes(speech(path.stem))
    model = scripted()
    with served(folder, model, tls=tls) as server:
        command = [node(), "--experimental-websocket", "--no-warnings", NODE / script]
        done = subprocess.run(
            [*command, server.http, server.key, *sounds],
            env=os.environ | {"NODE_EXTRA_CA_CERTS": str(server.pem or "")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        told = map(json.loads, done.stdout.splitlines())
        found = {name: value for each in told for name, value in each.items()}
        check(found, model, server)
    return found


def test_the_package_openai_which_insists_on_tls(tmp_path: Path) -> None:
    run("openai.mjs", tmp_path, tls=True)


def test_a_session_of_the_agents_package(tmp_path: Path) -> None:
    found = run("agents.mjs", tmp_path)
    assert found["interruptions"] == 1


def test_a_page_with_a_client_secret_and_subprotocols(tmp_path: Path) -> None:
    assert run("browser.mjs", tmp_path)["protocol"] == "realtime"
