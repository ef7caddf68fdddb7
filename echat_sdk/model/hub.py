"""What the model hub itself says a file is: its commit, size and hash.

A large file lies in the hub's store, and its repository holds a pointer with its sha256; a small
one lies in the repository, under git's own hash. Both are asked for at the commit that the revision
means now, so that all answers are of one state of the repository.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from echat_sdk.errors import CheckpointError, ModelMissingError
from echat_sdk.model.fetch import Hub
from echat_sdk.model.pins import Pin
from echat_sdk.model.web import WebClient

_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_POINTER = re.compile(
    r"version https://git-lfs\.github\.com/spec/v1\n"
    r"(?:ext-\S+ [^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n?"
)
_MAX_POINTER = 1024  # bytes, by its specification
_MAX_SMALL = 32 << 20  # bytes; the hub wants a pointer for anything above 10 MB


def look_up(web: WebClient, endpoint: str, source: Hub, work: Path) -> Pin:
    """Ask the hub what a file is.

    A file without a pointer is small: it is fetched at once, compared with git's hash of it, and
    left in `work` as the whole `SHA256.partial` that a download would go on from.

    Args:
        web: Asks.
        endpoint: The hub's address.
        source: The file; its revision may be a branch.
        work: A folder for unfinished files.

    Raises:
        ModelMissingError: the hub cannot be reached, or has no such file, or is none.
        CheckpointError: its answers contradict each other.
    """
    base, path = f"{endpoint}/{source.repository}", quote(source.path)
    headers = web.head(f"{base}/resolve/{quote(source.revision)}/{path}")
    commit = headers.get("X-Repo-Commit") or ""
    etag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
    etag = etag.removeprefix("W/").strip('"')
    told = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    if not _SHA1.fullmatch(commit) or not re.fullmatch(r"\d{1,15}", told):
        raise ModelMissingError(f"{endpoint} does not answer as a model hub does: no commit, size")
    if _SHA256.fullmatch(etag):
        text = web.read(f"{base}/raw/{commit}/{path}", _MAX_POINTER).decode("ascii", "replace")
        pointer = _POINTER.fullmatch(text)
        if pointer is None or (pointer[1], int(pointer[2])) != (etag, int(told)):
            raise CheckpointError(
                f"{source.repository} contradicts itself about {source.path}: its pointer says "
                f"{pointer[1][:12] if pointer else 'nothing'}..., its headers {etag[:12]}...; "
                "nothing was fetched"
            )
        return Pin(source.repository, commit, etag, int(told))
    if not _SHA1.fullmatch(etag):
        raise ModelMissingError(f"{endpoint} does not answer as a model hub does: no hash")
    data = web.read(f"{base}/resolve/{commit}/{path}", _MAX_SMALL)
    if hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != etag:
        raise ModelMissingError(f"gave {len(data)} bytes that are not {source.path} (another hash)")
    sha256 = hashlib.sha256(data).hexdigest()
    (work / f"{sha256}.partial").write_bytes(data)
    return Pin(source.repository, commit, sha256, len(data))
