"""Logs that hold no secret and no words of anybody: as lines, or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from echat_sdk.server.secret_words import without_secrets

_CALLED = ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets", "websockets.server")


class NoSecrets(logging.Filter):
    """Cuts each secret in a record down to its id.

    A library that traces a handshake writes down the headers, with the key in them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record; none is dropped."""
        message = record.getMessage()
        if (clean := without_secrets(message)) != message:
            record.msg, record.args = clean, None
        return True


class _NoFalseAlarm(logging.Filter):
    """Drops an error that uvicorn logs for each WebSocket that is refused in order."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != "ASGI callable returned without completing handshake."


def where(error: BaseException) -> str:
    """An error as its type and the line that raised it: its message may repeat what was said."""
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in raised)
    return f"{type(error).__name__}{place}"


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatException(self, ei: object) -> str:
        error = ei[1] if isinstance(ei, tuple) else None
        return where(error) if isinstance(error, BaseException) else ""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            row["error"] = where(record.exc_info[1])
        return json.dumps(row, ensure_ascii=False)


def keep_secrets() -> None:
    """Clean what the server's own libraries log, whoever set logging up; may be called twice."""
    for name in _CALLED:
        logger = logging.getLogger(name)
        if not any(isinstance(each, NoSecrets) for each in logger.filters):
            logger.addFilter(_NoFalseAlarm())
            logger.addFilter(NoSecrets())


def set_up(*, as_json: bool, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Log to the error stream, for a process that is a server and nothing else."""
    told = logging.StreamHandler(stream or sys.stderr)
    told.setFormatter(_Json() if as_json else _Lines())
    told.addFilter(NoSecrets())
    root = logging.getLogger()
    root.handlers[:] = [told]
    # Libraries tell of each connection, with the address that it came from, and of much else.
    root.setLevel(logging.WARNING)
    for ours in ("echat_sdk", "echat_memory"):
        logging.getLogger(ours).setLevel(level)
    keep_secrets()
