"""The files of the pages, read once and served from memory by their exact names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echat_sdk.consent import IN_WORDS

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_PATHS = {"index.html": "/", "kiosk.html": "/kiosk"}


def routes(*, needs_key: bool = True) -> list[Route]:
    """The console at `/`, the kiosk at `/kiosk`, and what they load under `/console/`.

    One route a file, so that no path of a request ever names a file on disk. Who may call, and what
    a page may load, is the door's to say.

    Args:
        needs_key: Whether the door lets nobody in without a key; the pages are told, so that none
            tries.
    """
    served = dict(_read(files(__package__) / "page"))
    served["purposes.json"] = json.dumps(dict(IN_WORDS)).encode()
    served["door.json"] = json.dumps({"needs_key": needs_key}).encode()
    return [
        Route(_PATHS.get(name, f"/console/{name}"), _endpoint(name, body))
        for name, body in sorted(served.items())
    ]


def _endpoint(name: str, body: bytes) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        # Kept, and asked for again each time: a new version is seen at once.
        "Cache-Control": "no-cache",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    content = {"Content-Type": _TYPES[_suffix(name)]}  # Starlette would add a charset to JSON

    async def endpoint(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").split(",")
        if etag in (tag.strip().removeprefix("W/") for tag in known):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers | content)

    return endpoint


def _read(folder: Traversable, path: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{path}{entry.name}"
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif _suffix(name) in _TYPES:
            yield name, entry.read_bytes()


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
