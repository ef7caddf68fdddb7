"""A tiny random Whisper encoder as a CTranslate2 file, a hub on loopback, quick unpickling."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

WIDTH, HEADS, LAYERS, POSITIONS = 16, 2, 2, 100


@pytest.fixture(scope="session")
def whisper_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a model and gives its folder: `whisper_dir(kind=4)`; kind 4 is float16, 0 float32."""
    written: dict[int, Path] = {}

    def write(kind: int = 4) -> Path:
        if kind not in written:
            written[kind] = tmp_path_factory.mktemp("whisper")
            (written[kind] / "model.bin").write_bytes(_model(kind))
        return written[kind]

    return write


def _model(kind: int) -> bytes:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "decoder/embeddings/weight": (5, WIDTH),  # not wanted by anybody here
        "encoder/conv1/weight": (WIDTH, 80, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (POSITIONS, WIDTH),
    }
    for layer in range(LAYERS):
        attention, ffn = f"encoder/layer_{layer}/self_attention", f"encoder/layer_{layer}/ffn"
        shapes |= {
            f"{attention}/layer_norm/gamma": (WIDTH,),
            f"{attention}/layer_norm/beta": (WIDTH,),
            f"{attention}/linear_0/weight": (3 * WIDTH, WIDTH),
            f"{attention}/linear_0/bias": (3 * WIDTH,),
            f"{attention}/linear_1/weight": (WIDTH, WIDTH),
            f"{attention}/linear_1/bias": (WIDTH,),
            f"{ffn}/layer_norm/gamma": (WIDTH,),
            f"{ffn}/layer_norm/beta": (WIDTH,),
            f"{ffn}/linear_0/weight": (4 * WIDTH, WIDTH),
            f"{ffn}/linear_0/bias": (4 * WIDTH,),
            f"{ffn}/linear_1/weight": (WIDTH, 4 * WIDTH),
            f"{ffn}/linear_1/bias": (WIDTH,),
        }
    dtype = {0: "<f4", 1: "i1", 4: "<f2"}[kind]
    tensors = {
        name: (kind, (0.3 * rng.standard_normal(shape)).astype(dtype))
        for name, shape in shapes.items()
    }
    body = [
        _entry("encoder/num_heads", 2, np.array(HEADS, "<i2")),
        *[_entry(name, of, values) for name, (of, values) in sorted(tensors.items())],
    ]
    head = struct.pack("<I", 6) + _text("WhisperSpec") + struct.pack("<II", 3, len(body))
    return head + b"".join(body) + struct.pack("<I", 0)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _entry(name: str, kind: int, values: npt.NDArray[np.generic]) -> bytes:
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return _text(name) + shape + struct.pack("<BI", kind, values.nbytes) + values.tobytes()


class ModelHub:
    """Answers as the model hub does, from two hosts: pointers and headers, and the bytes.

    Attributes:
        asked: What was asked for, such as `GET blob bytes=100-`, in order.
        cuts: How many bytes each of the next answers with a large file's bytes sends.
        lies: Paths to the sha256 that their pointers and headers name instead of the true one.
        pointers: Paths to what is sent instead of their pointers.
        short: Bytes that are missing at the end of every large file.
        moved: Old names of repositories to new ones.
        down: Whether every request is refused with 503.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cuts: list[int] = []
        self.lies: dict[str, str] = {}
        self.pointers: dict[str, bytes] = {}
        self.short = 0
        self.moved: dict[str, str] = {}
        self.down = False
        self._states: dict[tuple[str, str], dict[str, tuple[bytes, bool]]] = {}
        self._commits: dict[int, str] = {}
        self._blobs: dict[str, bytes] = {}
        self._hub, self._store = self._serve(self._answer), self._serve(self._send_blob)
        self.endpoint = f"http://127.0.0.1:{self._hub.server_port}"

    def commit(self, repository: str, *, small: bool = False, **files: bytes) -> str:
        """Put files (`.` in a name is `__`) on top of `main`; gives the commit."""
        state = dict(self._states.get((repository, "main"), {}))
        for name, data in files.items():
            state[name.replace("__", ".")] = (data, not small)
            self._blobs[hashlib.sha256(data).hexdigest()] = data
        commit = hashlib.sha1(f"{repository} {len(self._commits)}".encode()).hexdigest()
        self._states[repository, commit] = self._states[repository, "main"] = state
        self._commits[id(state)] = commit
        return commit

    def close(self) -> None:
        for server in (self._hub, self._store):
            server.shutdown()
            server.server_close()

    def _serve(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> ThreadingHTTPServer:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return server

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        owner, name, what, revision, path = request.path[1:].split("/", 4)
        repository = f"{owner}/{name}"
        self.asked.append(f"{request.command} {what} {path}")
        if self.down:
            request.send_error(503)
        elif repository in self.moved:
            where = f"/{self.moved[repository]}/{what}/{revision}/{path}"
            _send(request, 307, {"Location": where})
        elif path not in self._states.get((repository, revision), {}):
            request.send_error(404)
        else:
            self._send_file(request, repository, what, revision, path)

    def _send_file(
        self, request: BaseHTTPRequestHandler, repository: str, what: str, revision: str, path: str
    ) -> None:
        state = self._states[repository, revision]
        data, large = state[path]
        headers = {"X-Repo-Commit": self._commits[id(state)]}
        if not large:
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            _send(request, 200, {**headers, "ETag": f'"{self.lies.get(path, etag)}"'}, data)
            return
        sha256 = hashlib.sha256(data).hexdigest()
        told = self.lies.get(path, sha256)
        pointer = "version https://git-lfs.github.com/spec/v1\n"
        pointer += f"oid sha256:{told}\nsize {len(data)}\n"
        if what == "raw":
            _send(request, 200, headers, self.pointers.get(path, pointer.encode()))
            return
        where = f"http://127.0.0.1:{self._store.server_port}/{sha256}"
        linked = {"X-Linked-Etag": f'"{told}"', "X-Linked-Size": str(len(data))}
        _send(request, 302, {**headers, **linked, "Location": where})

    def _send_blob(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(f"{request.command} blob {wanted}".strip())
        data = self._blobs[request.path[1:]]
        data = data[: len(data) - self.short]
        start = int(wanted[len("bytes=") : -1]) if wanted else 0
        if start and start >= len(data):
            request.send_error(416)
            return
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        cut = self.cuts.pop(0) if self.cuts else None
        _send(request, 206 if start else 200, headers, data[start:], cut)


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    body: bytes = b"",
    cut: int | None = None,
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[:cut])


@pytest.fixture
def model_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub on loopback that `HF_ENDPOINT` names."""
    hub = ModelHub()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    yield hub
    hub.close()


@pytest.fixture
def unpickled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the child's program in this process: the same code without loading torch again."""
    from echat_sdk.model.echat import sources, unpickle

    def run(command: list[str], *, stderr: Any, **_: Any) -> Any:
        monkeypatch.setattr("sys.argv", command[2:])
        monkeypatch.setattr(unpickle, "_limit", lambda size: None)
        try:
            unpickle.main()
        except SystemExit as end:
            stderr.write(str(end.code).encode())
            return SimpleNamespace(returncode=1)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(sources.subprocess, "run", run)
