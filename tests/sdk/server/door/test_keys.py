from __future__ import annotations

import hmac
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from echat_sdk.errors import ConfigError
from echat_sdk.server import secret_words
from echat_sdk.server.caller import Scope
from echat_sdk.server.keys import DEFAULT_SCOPES, MOST, Keys
from tests.sdk.server.door.parts import Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "server-keys.json"


def test_a_key_is_kept_as_its_hash_alone_in_a_file_of_its_owner(path: Path) -> None:
    words, key = Keys(path).new("backend", user="ada")
    text = path.read_text()
    assert words not in text
    assert words.split("_", 2)[2] not in text
    assert key.sha256 in text
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_has_256_random_bits_and_is_made_of_what_a_header_and_a_subprotocol_take(
    path: Path,
) -> None:
    keys = Keys(path)
    made = [keys.new("k")[0] for _ in range(20)]
    assert len({words.split("_", 2)[2] for words in made}) == 20
    assert all(len(words.split("_", 2)[2]) == 43 for words in made)
    assert all(
        set(words) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        for words in made
    )


def test_a_secret_is_compared_in_constant_time_whoever_it_says_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    whole = hmac.compare_digest

    def compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return whole(a, b)

    keys = Keys(path)
    right, _ = keys.new("k")
    monkeypatch.setattr(secret_words.hmac, "compare_digest", compare)
    for words in (right, right[:-1], "echat_0123456789ab_x", "sk-other", ""):
        keys.find(words)
    assert compared == [(64, 64)] * 5


def test_a_secret_does_not_show_itself_where_it_is_printed(path: Path) -> None:
    secret = secret_words.new(secret_words.KEY)
    _, key = Keys(path).new("k")
    assert secret.words not in repr(secret)
    assert key.sha256 not in repr(key)


def test_a_key_ends_when_it_was_to_end(path: Path, clock: Clock) -> None:
    keys = Keys(path, now=clock.now)
    words, key = keys.new("k", expires=clock.at.replace(hour=13))
    clock.pass_(minutes=59, seconds=59)
    assert keys.find(words) is not None
    clock.pass_(seconds=1)
    assert keys.find(words) is None
    assert not keys.counts(key.id)


def test_a_running_server_heeds_what_another_process_does_to_the_keys(path: Path) -> None:
    server, command = Keys(path), Keys(path)
    words, key = command.new("k")
    assert server.find(words) is None
    server.refresh()
    assert server.find(words) == key
    command.revoke("k")
    server.refresh()
    assert server.find(words) is None


def test_the_day_of_the_last_use_is_kept_and_no_more_of_it(path: Path, clock: Clock) -> None:
    keys = Keys(path, now=clock.now)
    words, key = keys.new("k")
    keys.find(words)
    keys.refresh()
    written = path.stat().st_mtime_ns
    assert Keys(path).all()[0].last_used == date(2026, 3, 1)
    clock.pass_(hours=1)
    keys.find(words)
    keys.refresh()
    assert path.stat().st_mtime_ns == written  # one write a day
    clock.pass_(days=1)
    keys.find(words)
    keys.refresh()
    assert Keys(path).all()[0].last_used == date(2026, 3, 2)
    assert key.last_used is None


def test_a_key_that_was_revoked_meanwhile_does_not_come_back_by_its_last_use(path: Path) -> None:
    server, command = Keys(path), Keys(path)
    words, _ = server.new("k")
    server.find(words)
    command.refresh()
    command.revoke("k")
    server.refresh()
    assert Keys(path).all() == ()


def test_a_file_that_was_damaged_lets_nobody_in_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(path)
    words, _ = keys.new("k")
    path.write_text("{")
    keys.refresh()
    assert keys.find(words) is None
    assert "no key counts any more" in caplog.text
    with pytest.raises(ConfigError, match="no file of keys"):
        Keys(path)
    with pytest.raises(ConfigError, match="no file of keys"):
        keys.new("another")
    assert path.read_text() == "{"  # and is not written over


def test_a_file_that_others_can_read_or_write_is_refused(path: Path) -> None:
    Keys(path).new("k")
    for mode in (0o644, 0o660, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            Keys(path)


def test_only_one_key_is_revoked_and_only_one_that_is_meant(path: Path) -> None:
    keys = Keys(path)
    first = keys.new("twice")[1]
    keys.new("twice")
    with pytest.raises(ConfigError, match="2 keys"):
        keys.revoke("twice")
    assert keys.revoke(first.id) == first
    with pytest.raises(ConfigError, match="no key"):
        keys.revoke(first.id)
    assert len(keys) == 1


def test_a_key_may_do_little_unless_more_is_asked_for(path: Path) -> None:
    keys = Keys(path)
    assert keys.new("k")[1].scopes == DEFAULT_SCOPES
    assert not DEFAULT_SCOPES & {Scope.SECRETS, Scope.METRICS}
    assert keys.new("m", scopes=frozenset({Scope.METRICS}))[1].scopes == {Scope.METRICS}


def test_no_more_keys_are_made_than_can_be_read_again(path: Path) -> None:
    keys = Keys(path)
    keys.new("first")
    row = json.loads(path.read_text())["keys"][0]
    rows = [{**row, "id": f"{n:012x}"} for n in range(MOST)]
    path.write_text(json.dumps({"version": 1, "keys": rows}))
    with pytest.raises(ConfigError, match=f"{MOST} keys; revoke"):
        keys.new("one more")
    assert len(Keys(path)) == MOST


def test_of_keys_that_are_made_at_once_none_is_lost(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from echat_sdk.server.keys import Keys\n"
        "for n in range(5): Keys(Path(sys.argv[1])).new('k')"
    )
    with ThreadPoolExecutor() as pool:
        done = list(
            pool.map(
                lambda _: subprocess.run([sys.executable, "-c", code, str(path)], check=True),
                range(3),
            )
        )
    assert len(done) == 3
    assert len(Keys(path)) == 15


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the keys in"):
        Keys(tmp_path / "file" / "keys.json").new("k")


def test_a_disk_that_fails_while_a_key_is_written_leaves_the_file_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(path)
    keys.new("first")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        keys.new("second")
    assert path.read_bytes() == before
    assert [each.name for each in keys.all()] == ["first"]
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
