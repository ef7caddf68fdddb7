"""Downloads over HTTP that go on where they were cut."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from echat_sdk.errors import ModelMissingError
from echat_sdk.model.cache import CHUNK, size_of, size_text

CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0
# Tries without a single new byte before a host is given up.
TRIES = 4
RETRY_SECONDS = 0.25


class _NoContactError(ModelMissingError):
    """A host did not answer at all."""


class WebClient:
    """Completes partial files; remembers, for its life, which hosts cannot be reached."""

    def __init__(self) -> None:
        self._unreachable: set[str] = set()
        self._opener = urllib.request.build_opener(_PatientHTTP, _PatientHTTPS)

    def complete(
        self, url: str, partial: Path, size: int, report: Callable[[int, str], None]
    ) -> None:
        """Download what is missing of a file, taking up connections that are cut.

        Args:
            url: Where the file is.
            partial: What there is of it, kept whatever happens; may not exist yet.
            size: Bytes of the whole file.
            report: Gets the bytes there are, and the host.

        Raises:
            ModelMissingError: the host cannot be reached, refuses, stops sending or sends too much.
        """
        host = urlsplit(url).netloc
        if host in self._unreachable:
            raise ModelMissingError(f"{host} cannot be reached")
        contact, in_vain = False, 0
        while (before := size_of(partial)) < size:
            try:
                self._append(url, partial, size, report)
                contact = True
            except _NoContactError:
                if not contact:
                    self._unreachable.add(host)
                    raise
            in_vain = in_vain + 1 if size_of(partial) <= before else 0
            if in_vain == TRIES:
                raise ModelMissingError(f"{host} stopped sending at {size_text(size_of(partial))}")
            if in_vain:
                time.sleep(RETRY_SECONDS * 2**in_vain)

    def _append(
        self, url: str, partial: Path, size: int, report: Callable[[int, str], None]
    ) -> None:
        """One connection's worth of bytes, added to the partial file."""
        address, done = urlsplit(url), size_of(partial)
        request = urllib.request.Request(url, headers={"User-Agent": "echat-sdk"})
        if done:
            request.add_header("Range", f"bytes={done}-")
        try:
            if not _resolves(address.hostname or ""):
                raise _NoContactError(f"{address.netloc} cannot be reached (no such name)")
            response = self._opener.open(request, timeout=CONNECT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            raise ModelMissingError(
                f"{address.netloc} answered {error.code} {error.reason}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _NoContactError(f"{address.netloc} cannot be reached ({reason})") from error
        with response:
            if response.status == 206:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                    raise ModelMissingError(
                        f"{address.netloc} answered another range than was asked"
                    )
            else:  # it knows no ranges and starts over
                done = 0
            with partial.open("ab" if done else "wb") as out:
                while chunk := _read(response):
                    done += len(chunk)
                    if done > size:
                        raise ModelMissingError(f"{address.netloc} sends more than {size} bytes")
                    out.write(chunk)
                    report(done, address.netloc)


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end, and none where the connection is cut."""
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException):
        return b""


def _resolves(host: str) -> bool:
    """Whether a host's name has an address, asked for as long as we would wait for a connection.

    The system's resolver knows no timeout, and without a network may hang for half a minute.
    """
    if urllib.request.getproxies():  # then the proxy resolves
        return True
    found: list[bool] = []

    def ask() -> None:
        try:
            socket.getaddrinfo(host, None)
            found.append(True)
        except OSError:
            found.append(False)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return found == [True]


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect in the time given, then be patient with the bytes."""
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        """Connect in the time given, then be patient with the bytes."""
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _PatientHTTP(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, request)


class _PatientHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, request)
