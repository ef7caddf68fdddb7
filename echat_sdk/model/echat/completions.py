"""A client of the Completions API as vLLM serves it: one request, and the token ids as they come.

No text is asked for or read: prompts are embeddings, answers are ids. Facts of the protocol are
those of vLLM 0.32: a stop token is among the ids, and an error may come inside a stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from echat_sdk.audio import Seconds
from echat_sdk.errors import ConfigError, GenerationError

CONNECT_SECONDS: Seconds = 3.0
TOKEN_SECONDS: Seconds = 60.0
"""How long a server may take for the next token; a full one lets requests wait."""
_MOST = 1 << 20  # bytes of one event
_TOLD = 200  # characters of a server's own words that an error repeats
_NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Written:
    """One token that a server wrote.

    Attributes:
        id: Its id.
        likely: Logarithms of the probabilities of the likeliest ids and of this one, before any
            rule; empty where they were not asked for.
    """

    id: int
    likely: Mapping[int, float] = field(default_factory=dict)


class CompletionsServer:
    """Where the Completions API is.

    Args:
        url: `http://127.0.0.1:8000`; a path before `/v1` is kept.
        key: Sent as a bearer token; empty for none.
        allow_plain: Whether what was said may travel unencrypted to another machine.

    Raises:
        ConfigError: no such address, or an unencrypted one of another machine.
    """

    def __init__(self, url: str, *, key: str = "", allow_plain: bool = False) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigError(f"vllm_url {url!r} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise ConfigError("vllm_url must look like http://127.0.0.1:8000, without a user in it")
        if parts.scheme == "http" and not allow_plain and not _is_loopback(host):
            raise ConfigError(
                f"vllm_url: what people say would travel to {host} unencrypted; use https, or "
                "allow it with vllm_allow_plain"
            )
        if not re.fullmatch(r"[\x21-\x7e]*", key):
            raise ConfigError("the key of the vLLM server has characters that no header takes")
        self.at = f"{host}:{port}" if port else host
        self._host, self._port, self._is_tls = host, port, parts.scheme == "https"
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json", "User-Agent": "echat-sdk"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def models(self) -> Mapping[str, int | None]:
        """The models served, and how many positions each holds, if told.

        Raises:
            GenerationError: the server does not answer, or refuses.
        """
        with self._exchange("GET", "/v1/models") as response:
            found = json.loads(response.read(_MOST))["data"]
            return {str(one["id"]): one.get("max_model_len") for one in found}

    def complete(self, request: Mapping[str, Any]) -> Generator[Written, None, None]:
        """The tokens of one streamed request. Close it to end the request.

        Args:
            request: Its fields, without those that say in what form it is answered.

        Raises:
            GenerationError: the server does not answer, refuses, or stops in the middle.
        """
        form = {"stream": True, "return_token_ids": True, "return_tokens_as_token_ids": True}
        body = json.dumps({**request, **form})
        with self._exchange("POST", "/v1/completions", body) as response:
            while event := self._event(response):
                yield from _written(event)

    def _event(self, response: HTTPResponse) -> dict[str, Any]:
        """The next event of a stream; empty at its end."""
        while True:
            line = response.readline(_MOST)
            if not line.endswith(b"\n"):
                raise GenerationError(
                    f"the vLLM server at {self.at} stopped in the middle of an answer"
                )
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return {}
            event: dict[str, Any] = json.loads(data)
            if "error" in event:
                raise self._refused(HTTPStatus.OK, event)
            return event

    @contextmanager
    def _exchange(self, method: str, path: str, body: str | None = None) -> Iterator[HTTPResponse]:
        """A request and its answer, read inside the block; every fault becomes ours here."""
        kind = HTTPSConnection if self._is_tls else HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise GenerationError(
                f"no vLLM server answers at {self.at} ({_said(error)}): start it or mend vllm_url"
            ) from error
        try:
            connection.sock.settimeout(TOKEN_SECONDS)
            connection.request(method, self._path + path, body, self._headers)
            with closing(connection.getresponse()) as response:
                if response.status != HTTPStatus.OK:
                    raise self._refused(response.status, _told(response.read(_MOST)))
                yield response
        except TimeoutError as error:
            raise GenerationError(
                f"the vLLM server at {self.at} gave nothing for {TOKEN_SECONDS:.0f} s"
            ) from error
        except (OSError, HTTPException) as error:
            raise GenerationError(
                f"the vLLM server at {self.at} broke off: {_said(error)}"
            ) from error
        except _NOT_UNDERSTOOD as error:
            raise GenerationError(
                f"what answers at {self.at} is no Completions API that gives token ids; it must "
                "be vLLM's, and know return_token_ids"
            ) from error
        finally:
            connection.close()

    def _refused(self, status: int, told: object) -> GenerationError:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return GenerationError(
                f"the vLLM server at {self.at} refused the key; set VLLM_API_KEY to its own"
            )
        error = told.get("error") if isinstance(told, dict) else None
        said = str(error.get("message") if isinstance(error, dict) else error)[:_TOLD]
        return GenerationError(f"the vLLM server at {self.at} refused ({status:d}): {said}")


def _written(event: Mapping[str, Any]) -> Iterator[Written]:
    for choice in event["choices"]:
        told = (choice.get("logprobs") or {}).get("top_logprobs") or []
        for at, token in enumerate(choice["token_ids"]):
            if type(token) is not int:
                raise TypeError("an id that is no number")
            likely = told[at] if at < len(told) else None
            yield Written(token, {_id(name): float(log) for name, log in (likely or {}).items()})


def _id(name: str) -> int:
    return int(name.removeprefix("token_id:"))


def _told(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:_TOLD] or type(error).__name__
