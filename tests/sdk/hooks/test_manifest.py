"""What a plugin says of itself is read without running it, and granted or not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from echat_plugins.captions import Captions
from echat_plugins.journal import Journal
from echat_sdk.cli.commands import app
from echat_sdk.cues import Cues
from echat_sdk.errors import ConfigError, PluginError
from echat_sdk.hooks import Plugins, Session
from echat_sdk.hooks.grants import Grants
from echat_sdk.hooks.loading import load, registration
from echat_sdk.hooks.manifest import Manifest, installed, read
from echat_sdk.turn import Heard, Turn

FIRST_PARTY = ["captions", "clock", "disclosure", "journal", "safety"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHAT_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plugins", *arguments])


def source(tmp_path: Path, text: str) -> Manifest:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return read("mine", "1.0", "mine", "Plugin", path)


def test_it_is_read_and_not_run(tmp_path: Path) -> None:
    manifest = source(
        tmp_path,
        '''"""Mine.

More.
"""
raise SystemExit
ECHAT_PLUGIN = {"needs": ["read_transcript", "network:example.org"], "isolated": True}

class Plugin:
    async def on_turn(self): ...
    def helper(self): ...
''',
    )
    assert manifest.about == "Mine."
    assert manifest.needs == {"read_transcript", "network:example.org"}
    assert (manifest.isolated, manifest.shares, manifest.hooks) == (True, True, ("on_turn",))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ECHAT_PLUGIN = dict(needs=[])", "it is read, and not run"),
        ("ECHAT_PLUGIN = {'needs': ['everything']}", "no capability 'everything'"),
        ("ECHAT_PLUGIN = {'needs': ['tool:a b']}", "no capability"),
        ("ECHAT_PLUGIN = {'need': []}", "Extra inputs"),
        ("ECHAT_PLUGIN = 7", "valid dictionary"),
        ("def (", "is no Python"),
        ("x = '\0'", "is no Python"),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        source(tmp_path, text)


@given(text=st.text(max_size=200))
def test_any_source_is_read_or_refused(text: str) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"echat-any-{os.getpid()}.py"
    path.write_text(f"ECHAT_PLUGIN = {text}", encoding="utf-8", errors="replace")
    try:
        read("any", "", "any", "Plugin", path)
    except PluginError:
        pass
    finally:
        path.unlink()


def test_our_own_plugins_enter_by_the_same_door_and_are_not_used_unasked(home: Path) -> None:
    found = [each for each in installed() if isinstance(each, Manifest)]
    assert set(FIRST_PARTY) <= {each.name for each in found}
    plugins, troubles = load(Grants(home / "plugins.json"), {})
    assert (len(plugins), troubles) == (0, [])


def test_a_plugin_is_enabled_with_what_it_needs_and_no_more(home: Path) -> None:
    refused = run("enable", "captions")
    assert isinstance(refused.exception, PluginError)
    assert "needs keep read_transcript" in str(refused.exception)
    strange = run("enable", "captions", "--grant", "read_emotion")
    assert isinstance(strange.exception, ConfigError)
    done = run("enable", "captions", "--grant", "all")
    assert "used from the next start" in done.output
    assert "share_plugin:captions" in done.output
    options = {"captions": {"folder": str(home / "c")}}
    plugins, troubles = load(Grants(home / "plugins.json"), options)
    assert (list(plugins.health), troubles) == (["captions"], [])
    assert (home / "plugins.json").stat().st_mode & 0o077 == 0
    plugins.close()


def test_a_new_need_after_an_upgrade_has_to_be_granted_anew(home: Path) -> None:
    run("enable", "journal", "--grant", "all")
    run("grant", "journal", "keep", "--revoke")
    plugins, (trouble,) = load(Grants(home / "plugins.json"), {})
    assert len(plugins) == 0
    assert "needs keep: it is not used until echat plugins grant journal keep" in trouble
    row = json.loads(run("info", "journal", "--json").output)
    assert (row["state"], row["granted"]) == ("needs a grant", ["read_emotion"])


def test_options_that_a_plugin_does_not_take_are_told(home: Path) -> None:
    run("enable", "clock", "--grant", "all")
    _, troubles = load(Grants(home / "plugins.json"), {"clock": {"x": 1}, "gone": {}})
    assert any("clock" in each and "unexpected keyword" in each for each in troubles)
    assert "no plugin 'gone' for its options" in troubles


def test_what_was_disabled_has_nothing_left(home: Path) -> None:
    run("enable", "disclosure", "--grant", "all")
    run("disable", "disclosure")
    grant = Grants(home / "plugins.json").of("disclosure")
    assert (grant.enabled, grant.granted) == (False, frozenset())


def test_a_user_who_is_erased_or_refuses_is_erased_by_plugins_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.toml").write_text(
        f"[plugins.captions]\nfolder = '{home}/c'\n[plugins.journal]\nfolder = '{home}/j'\n"
    )
    for name in ("captions", "journal"):
        run("enable", name, "--grant", "all")

    def kept() -> list[str]:
        return sorted(path.parent.parent.name for path in home.glob("[cj]/*/*"))

    def keep() -> None:
        Captions(f"{home}/c").on_start(Session("k", "ada"))
        Journal(f"{home}/j").on_turn(Session("k", "ada"), Turn("hello"))

    memory = ["memory", "consent", "ada", "share_plugin:captions"]
    keep()
    CliRunner().invoke(app, [*memory, "grant"])
    assert kept() == ["c", "j"]
    CliRunner().invoke(app, [*memory, "withdraw"])
    assert kept() == ["j"]
    keep()
    CliRunner().invoke(app, ["memory", "erase", "ada", "--yes"])
    assert kept() == []


def test_a_file_of_grants_that_is_none_is_told(home: Path) -> None:
    (home / "plugins.json").write_text("{")
    with pytest.raises(ConfigError, match="no file of grants"):
        Grants(home / "plugins.json")


def test_a_list_of_all_is_for_people_and_for_machines() -> None:
    assert all(name in run("list").output for name in FIRST_PARTY)
    rows = {row["name"]: row for row in json.loads(run("list", "--json").output)}
    assert rows["clock"]["hooks"] == ["tools", "on_start", "on_end"]
    assert rows["captions"]["consent"] == "share_plugin:captions"


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_our_own_plugins_pass_the_suite_for_everybodys(name: str, home: Path) -> None:
    (home / "config.toml").write_text(
        f"[plugins.captions]\nfolder = '{home}/c'\n[plugins.journal]\nfolder = '{home}/j'\n"
    )
    done = run("check", name)
    assert (done.exit_code, done.output.partition(";")[0]) == (0, f"{name} is a good plugin")


def test_the_suite_finds_what_is_wrong_with_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "echat_bad.py"
    path.write_text(
        """
class Plugin:
    def on_cues(self, heard):
        if "Ignore" in heard.transcript:
            raise ValueError("no")
    def shape_voice(self):
        return 7
    def on_turn(self, turn):
        1 / 0
"""
    )
    done = run("check", str(path), "--json")
    assert done.exit_code == 1
    told = json.loads(done.output)["troubles"]
    assert "on_cues raised ValueError: no" in told
    assert "shape_voice gave int; expected str or None" in told
    assert "in a conversation it failed: on_turn: ZeroDivisionError" in told


def test_a_new_plugin_works_and_its_test_passes(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    done = run("new", "my-weather", "--folder", str(folder))
    assert done.exit_code == 0
    files = sorted(path.name for path in folder.iterdir())
    module = "echat_my_weather.py"
    assert files == ["README.md", module, "pyproject.toml", f"test_{module}"]
    paths = os.pathsep.join([str(folder), *sys.path])
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        cwd=folder,
    )
    assert "2 passed" in tested.stdout, tested.stdout
    checked = run("check", str(folder / module))
    assert "my-weather is a good plugin; hooks: tools, on_cues, on_erase" in checked.output
    assert isinstance(run("new", "my-weather", "--folder", str(folder)).exception, ConfigError)
    assert isinstance(run("new", "Bad Name").exception, ConfigError)


@pytest.mark.slow
def test_a_new_plugin_is_installed_and_found(tmp_path: Path) -> None:
    folder, into = tmp_path / "p", tmp_path / "into"
    run("new", "weather", "--folder", str(folder))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(into), str(folder)], check=True)
    paths = os.pathsep.join([str(into), *sys.path])
    command = [sys.executable, "-m", "echat_sdk", "plugins", "info", "weather", "--json"]
    environment = {**os.environ, "PYTHONPATH": paths, "ECHAT_HOME": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, check=True, env=environment)
    row = json.loads(told.stdout)
    assert (row["version"], row["needs"]) == ("0.1.0", ["read_emotion", "tool:how_often_sad"])


def test_a_plugin_that_nobody_installed_is_told_with_those_there_are() -> None:
    told = run("info", "nothing")
    assert isinstance(told.exception, PluginError)
    assert "there are captions, clock" in str(told.exception)


@pytest.mark.slow
def test_a_plugin_that_wants_it_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = source(
        tmp_path,
        """
import os
ECHAT_PLUGIN = {"isolated": True}

class Plugin:
    def __init__(self, word="hm"):
        self.word = word
    def shape_context(self):
        return [f"{self.word} {os.getpid()}"]
""",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    granted = replace(registration(manifest, {"word": "here"}), may=frozenset({"shape"}))

    async def asked() -> tuple[str, ...]:
        plugins = Plugins([granted])
        try:
            heard = Heard("hi", "en", Cues())
            return (await plugins.before(Session("k", "ada"), heard, None, None)).context
        finally:
            await plugins.closed(5)

    (line,) = asyncio.run(asked())
    word, pid = line.split()
    assert (word, int(pid) == os.getpid()) == ("here", False)
    assert not Path(f"/proc/{pid}").exists()
