"""What is answered where something cannot be done: OpenAI's error object, with its status."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from echat_sdk.errors import (
    AudioError,
    ConsentError,
    EChatError,
    StoreError,
    UnsupportedError,
)
from echat_sdk.server import refusals

log = logging.getLogger(__name__)

_RETRY_AFTER = "1"


class Refusal(EChatError):
    """An answer that is an error. It never leaves this room.

    Args:
        status: Of HTTP.
        message: What was got, what was expected, what to do.
        param: The part of the request that it is about.
        code: What a program can go by.
        headers: Sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}
        if status in (429, 503):
            self.headers["Retry-After"] = _RETRY_AFTER

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return refusals.body(self.status, self.code, str(self), param=self.param)

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def refusal_of(error: Exception) -> Refusal:
    """What a caller is told of an error; what they cannot change is told to the log alone."""
    match error:
        case Refusal():
            return error
        case HTTPException():  # the server's own caps, which an endpoint's body ran into
            code = "timeout" if error.status_code == 408 else "request_too_large"
            return Refusal(error.status_code, str(error.detail), code=code)
        case ConsentError():
            return Refusal(403, str(error), code="consent_required")
        case AudioError():
            return Refusal(400, str(error), param="file", code="invalid_audio")
        case UnsupportedError():
            return Refusal(400, str(error), code="unsupported")
        case StoreError():
            log.error("a request failed: %s", type(error).__name__)
            return Refusal(503, "the memory cannot be used now; try again", code="memory")
        case TimeoutError():
            return Refusal(504, "this took too long and was given up", code="timeout")
    # What an exception says may hold what a person said; where it was raised does not.
    where = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = (where.name, where.lineno) if where else ("", "")
    log.error("a request failed: %s at %s:%s", type(error).__name__, *place)
    return Refusal(500, "the server could not do this; its log says where", code="internal")
