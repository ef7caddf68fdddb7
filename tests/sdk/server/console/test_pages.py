from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from echat_sdk.consent import IN_WORDS
from echat_sdk.server import console

PAGE = Path(console.__file__).parent / "page"
FILES = sorted(f"{p.relative_to(PAGE)}" for p in PAGE.rglob("*") if p.is_file())
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=console.routes()))


def _path(name: str) -> str:
    return {"index.html": "/", "kiosk.html": "/kiosk"}.get(name, f"/console/{name}")


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_what_it_is(client: TestClient, name: str) -> None:
    answer = client.get(_path(name))
    assert answer.content == (PAGE / name).read_bytes()
    assert answer.headers["content-type"].split(";")[0] == TYPES[name.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_is_known_already_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/").headers["etag"]
    for told in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get("/", headers={"If-None-Match": told})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/",
        "/console/pages.py",
        "/console/../pages.py",
        "/console/%2e%2e/pages.py",
        "/console/js/../../pages.py",
        "/console/js/..%2f..%2fpages.py",
        "/console/index.html",
        "/console//etc/passwd",
        "/console/js/console.js/",
    ],
)
def test_nothing_but_the_pages_own_files_is_served(client: TestClient, path: str) -> None:
    assert client.get(path, follow_redirects=False).status_code in (404, 307)
    assert b"Starlette" not in client.get(path).content


def test_the_pages_are_only_read(client: TestClient) -> None:
    assert client.post("/").status_code == 405


def test_the_purposes_are_told_in_the_words_of_the_consents(client: TestClient) -> None:
    answer = client.get("/console/purposes.json")
    assert answer.json() == dict(IN_WORDS)
    assert answer.headers["content-type"] == "application/json"


def test_the_pages_are_told_whether_a_key_is_needed(client: TestClient) -> None:
    assert client.get("/console/door.json").json() == {"needs_key": True}
    open_ = TestClient(Starlette(routes=console.routes(needs_key=False)))
    assert open_.get("/console/door.json").json() == {"needs_key": False}


def test_no_page_has_script_or_style_of_its_own_or_names_another_site() -> None:
    for name in FILES:
        text = (PAGE / name).read_text()
        assert re.findall(r"https?://(?!www\.w3\.org/)", text) == [], name
        if name.endswith(".html"):
            assert (
                re.findall(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src)", text) == []
            )
        assert "innerHTML" not in text
