from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echat_sdk import config
from echat_sdk.cli.doctor import _places

PASSWORD = "s3cr3t&word"


def _memory(tmp_path: Path, store: str) -> tuple[str, str]:
    """How the doctor finds a store, and what it says of it."""
    settings = config.Settings(home=tmp_path, store=store)
    (finding,) = (f for f in _places(settings) if f.what == "memory")
    return finding.state, finding.found


@pytest.mark.postgres
def test_a_store_on_a_server_is_told_without_its_password(
    tmp_path: Path, postgres: Any, postgres_store: str
) -> None:
    database = postgres_store.split("/")[3].split("?")[0]
    state, found = _memory(tmp_path, postgres.url(database, tcp=PASSWORD))
    assert state == "good"
    assert f"echat:***@127.0.0.1:{postgres.port}/{database}" in found
    state, found = _memory(tmp_path, postgres.url(database, tcp="wrong"))
    assert state == "bad"
    assert "refused the password" in found
    assert "wrong" not in found


def test_a_store_that_cannot_be_reached_is_bad(tmp_path: Path) -> None:
    state, found = _memory(tmp_path, "postgresql://ada:hidden@127.0.0.1:1/db")
    assert state == "bad"
    assert "cannot reach the server of the store postgresql://ada:***@127.0.0.1:1/db" in found
    assert "hidden" not in found
