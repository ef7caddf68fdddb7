"""What a request holds: read under caps, checked, and told what is wrong with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from echat_sdk.audio import Seconds
from echat_sdk.server.refusals import first_of
from echat_sdk.server.rest.refusal import Refusal

M = TypeVar("M", bound=BaseModel)

_MOST_DIGITS = 18
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_OPENAI = re.compile(r"(gpt|chatgpt|tts|whisper|codex)-[a-z0-9.-]{1,60}|o[0-9][a-z0-9-]{0,60}")


class Body(BaseModel):
    """A body whose unknown parts are let pass: clients send much that says nothing to us."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Extension(BaseModel):
    """An `echat` object of a request: ours, so that an unknown part of it is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


async def body_of(request: Request, most: int, within: Seconds) -> bytes:
    """The body, read block by block, while its request holds a place.

    What is before the endpoints (`server.bodies`) keeps every body under the server's own cap, and
    knows nothing of how little one of JSON may have here.

    Raises:
        Refusal: it is too long, or takes too long to come.
    """
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and (len(claimed) > _MOST_DIGITS or int(claimed) > most):
        raise _too_long(most)
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for block in request.stream():
                body += block
                if len(body) > most:
                    raise _too_long(most)
    except TimeoutError as error:
        raise Refusal(
            408, f"the body was not here after {within:g} s; send it faster", code="timeout"
        ) from error
    return bytes(body)


def _too_long(most: int) -> Refusal:
    return Refusal(413, f"the body is longer than {most:,} bytes", code="request_too_large")


def parsed(kind: type[M], body: bytes | Mapping[str, Any]) -> M:
    """The body as a model: of JSON, or of the fields of a form.

    Raises:
        Refusal: it is none; says what is wrong first.
    """
    try:
        if isinstance(body, bytes):
            return kind.model_validate_json(body)
        return kind.model_validate(body)
    except ValidationError as error:
        told, param = first_of(error)
        raise Refusal(400, told, param=param, code="invalid_value") from error


def served(asked: str, name: str) -> str:
    """The model that answers: the one that is served, also to who asks for one of OpenAI's.

    A client that changed its URL alone still names those; the answer names the true one.

    Raises:
        Refusal: another model was asked for.
    """
    if asked == name or _OPENAI.fullmatch(asked):
        return name
    raise no_model(name)


def no_model(name: str) -> Refusal:
    """That another model than `name` was asked for."""
    told = f"there is no such model here; {name} is served"
    return Refusal(404, told, param="model", code="model_not_found")


def plain(text: str) -> str:
    """The text with a space for each control character that is no line break."""
    return _CONTROL.sub(" ", text).strip()
