"""Downloads over HTTP that go on where they were cut, and the small questions before them."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import IO
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


class _RefusedError(ModelMissingError):
    """A host answered with an error, or with the way to another host."""

    def __init__(self, host: str, answer: urllib.error.HTTPError) -> None:
        super().__init__(f"{host} answered {answer.code} {answer.reason}")
        self.code, self.headers = answer.code, answer.headers


class NoSuchFileError(_RefusedError):
    """A host answered that it has no such file."""


class WebClient:
    """Completes partial files; remembers, for its life, which hosts cannot be reached."""

    def __init__(self) -> None:
        self._unreachable: set[str] = set()
        self._opener = urllib.request.build_opener(_PatientHTTP, _PatientHTTPS)
        self._asker = urllib.request.build_opener(_PatientHTTP, _PatientHTTPS, _SameHost)

    def head(self, url: str) -> Message:
        """The headers of a file, without its bytes.

        A way to another address of the same host is followed; one to another host, where only the
        bytes are, is the answer.

        Raises:
            ModelMissingError: the host cannot be reached or refuses.
        """
        request = urllib.request.Request(url, method="HEAD")
        request.add_header("Accept-Encoding", "identity")  # else sizes are of what is sent
        try:
            with self._contacted(request, self._asker) as response:
                return response.headers
        except _RefusedError as answer:
            if 300 <= answer.code < 400:
                return answer.headers
            raise

    def read(self, url: str, limit: int) -> bytes:
        """A small file.

        Raises:
            ModelMissingError: the host cannot be reached, refuses, or has more than `limit` bytes.
        """
        with self._contacted(urllib.request.Request(url)) as response:
            data = b""
            while len(data) <= limit and (chunk := _read(response)):
                data += chunk
        if len(data) > limit:
            raise ModelMissingError(f"{urlsplit(url).netloc} sends more than {limit} bytes")
        return data

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
        host = self._require_reachable(url)
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

    def _require_reachable(self, url: str) -> str:
        """The address's host, if it was not found to be out of reach before."""
        host = urlsplit(url).netloc
        if host in self._unreachable:
            raise ModelMissingError(f"{host} cannot be reached")
        return host

    def _contacted(
        self, request: urllib.request.Request, opener: urllib.request.OpenerDirector | None = None
    ) -> http.client.HTTPResponse:
        """As `_open`; remembers a host that does not answer."""
        host = self._require_reachable(request.full_url)
        try:
            return self._open(request, opener)
        except _NoContactError:
            self._unreachable.add(host)
            raise

    def _append(
        self, url: str, partial: Path, size: int, report: Callable[[int, str], None]
    ) -> None:
        """One connection's worth of bytes, added to the partial file."""
        host, done = urlsplit(url).netloc, size_of(partial)
        ranged = {"Range": f"bytes={done}-"} if done else {}
        with self._open(urllib.request.Request(url, headers=ranged)) as response:
            if response.status == 206:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                    raise ModelMissingError(f"{host} answered another range than was asked")
            else:  # it knows no ranges and starts over
                done = 0
            with partial.open("ab" if done else "wb") as out:
                while chunk := _read(response):
                    done += len(chunk)
                    if done > size:
                        raise ModelMissingError(f"{host} sends more than {size} bytes")
                    out.write(chunk)
                    report(done, host)

    def _open(
        self, request: urllib.request.Request, opener: urllib.request.OpenerDirector | None = None
    ) -> http.client.HTTPResponse:
        """The answer to a request; a refusal is an error that names the host."""
        address = urlsplit(request.full_url)
        request.add_header("User-Agent", "echat-sdk")
        try:
            if not _resolves(address.hostname or ""):
                raise _NoContactError(f"{address.netloc} cannot be reached (no such name)")
            response: http.client.HTTPResponse
            response = (opener or self._opener).open(request, timeout=CONNECT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise ModelMissingError(f"{address.netloc} has fewer bytes than it told") from error
            refused = NoSuchFileError if error.code == HTTPStatus.NOT_FOUND else _RefusedError
            raise refused(address.netloc, error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _NoContactError(f"{address.netloc} cannot be reached ({reason})") from error
        return response


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


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a request for headers within its host, still as one for headers."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            return None
        return urllib.request.Request(newurl, headers=req.headers, method="HEAD")


class _PatientHTTP(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, request)


class _PatientHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, request)
