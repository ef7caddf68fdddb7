"""An exported memory in a file, read an entry at a time.

What is wrong with it is told by its place: a message names the line and the path (`line 17:
turns[3].lang`) and what belongs there, and repeats nothing of what the file holds.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from echat_memory import document
from echat_memory.document import FORMAT, VERSION, MemoryDocument
from echat_memory.pieces import NoDocument, Piece, pieces
from echat_sdk.errors import DocumentError

MAX_BYTES = 1 << 30
"""A larger file is refused before it is read: a million turns take about that much."""

_FIELDS: dict[str, Any] = {
    key: field.annotation for key, field in MemoryDocument.model_fields.items()
}
LISTS = frozenset(key for key, kind in _FIELDS.items() if get_origin(kind) is tuple)
"""The keys whose values are lists of entries."""
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    key: TypeAdapter(get_args(kind)[0] if key in LISTS else kind) for key, kind in _FIELDS.items()
}
_NAMES = frozenset(
    name
    for model in vars(document).values()
    if isinstance(model, type) and issubclass(model, BaseModel)
    for name in model.model_fields
)


@contextmanager
def opened(path: Path) -> Iterator[Document]:
    """The document in a file.

    Raises:
        DocumentError: it cannot be read, or is none of ours.
    """
    try:
        # A pipe would be waited for, and cannot be read twice.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # the latter: a NUL in its name
        why = getattr(error, "strerror", None) or "that is no path"
        raise DocumentError(f"cannot read {path}: {why}") from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise DocumentError(f"{path} is no file; an import reads one, and twice")
    with open(handle, encoding="utf-8-sig", newline="") as file:
        if found.st_size > MAX_BYTES:
            raise DocumentError(
                f"{path} has {found.st_size:,} bytes; an import takes at most {MAX_BYTES:,}"
            )
        if not found.st_size:
            raise DocumentError(f"{path} is empty; expected what echat memory export writes")
        try:
            yield Document(file, str(path))
        except OSError as error:
            raise DocumentError(f"cannot read {path}: {error.strerror}") from error


class Document:
    """An exported memory.

    Args:
        file: It.
        name: What it is called in messages.

    Raises:
        DocumentError: it is none, or a newer program's.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._check_version()

    def entries(self, *keys: str) -> Iterator[tuple[Piece, Any]]:
        """The entries under some keys, in the order of the file, each with where it is.

        What is no list is one entry. Before a list's own there is a piece of index -1 with None.

        Raises:
            DocumentError: one is not as it should be; nothing is said of those under other keys.
        """
        missing = set(keys)
        for piece in self._pieces():
            if piece.index in (None, -1):
                if not missing:
                    return
                missing.discard(piece.key)
            if piece.key in keys:
                yield piece, self._entry(piece)

    def all(self) -> Iterator[tuple[Piece, Any]]:
        """All entries, as `entries` gives them.

        Raises:
            DocumentError: one is not as it should be, a key is missing, or one is none of ours.
        """
        missing = dict.fromkeys(_FIELDS)
        for piece in self._pieces():
            if piece.index in (None, -1):
                if piece.key not in _FIELDS:
                    raise self._refused(piece.line, "a key that is not in this format")
                missing.pop(piece.key)
            yield piece, self._entry(piece)
        if missing:
            raise DocumentError(f"{self._name}: {', '.join(missing)} missing at the end of it")

    def wrong(self, piece: Piece, field: str, why: str) -> DocumentError:
        """What to raise for a field of an entry."""
        return self._refused(piece.line, f"{_place(piece)}.{field}: {why}")

    def _pieces(self) -> Iterator[Piece]:
        self._file.seek(0)
        try:
            yield from pieces(self._file)
        except NoDocument as error:
            raise self._refused(error.line, str(error)) from None

    def _check_version(self) -> None:
        found: dict[str, object] = {}
        for piece in self._pieces():
            if piece.key in ("format", "version") and piece.index is None:
                found[piece.key] = json.loads(piece.text)
            if len(found) == 2:
                break
        if found.get("format") != FORMAT:
            raise DocumentError(
                f"{self._name} is no exported memory; expected what echat memory export writes"
            )
        version = found.get("version")
        if type(version) is not int or version < 1:
            raise DocumentError(f"{self._name}: version: expected a whole number from 1 on")
        if version > VERSION:
            raise DocumentError(
                f"{self._name} has version {version} of the format, and this program knows "
                f"{VERSION}; install a newer echat-sdk"
            )

    def _entry(self, piece: Piece) -> Any:
        if (piece.index is None) == (piece.key in LISTS):
            kind = "a list" if piece.key in LISTS else "no list"
            raise self._refused(piece.line, f"{piece.key}: expected {kind}")
        if piece.index == -1:
            return None
        try:
            return _ADAPTERS[piece.key].validate_json(piece.text, strict=True)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = _place(piece) + "".join(_step(step) for step in fault["loc"])
            raise self._refused(piece.line, f"{place}: {_in_words(fault)}") from None

    def _refused(self, line: int, why: str) -> DocumentError:
        return DocumentError(f"{self._name}, line {line}: {why}; nothing was written")


def _place(piece: Piece) -> str:
    return piece.key if piece.index is None else f"{piece.key}[{piece.index}]"


def _step(step: int | str) -> str:
    """A step of a path; a key that the file made up is not repeated."""
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step in _NAMES else ""


def _in_words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "a key that is not in this format"
    if fault["type"] == "missing":
        return "missing"
    if fault["type"] == "union_tag_invalid":  # whose message repeats what was there
        return f"expected one of {fault['ctx']['expected_tags']}"
    told: str = fault["msg"]
    if told.startswith("Input should"):
        return f"expected {told.removeprefix('Input should ').removeprefix('be ')}"
    return told.removeprefix("Value error, ")
