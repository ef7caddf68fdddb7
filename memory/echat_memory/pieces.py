"""A JSON document an entry at a time: a file of any size takes no more room than its largest entry.

The standard library's decoder finds where each value ends; what is here only walks the outermost
object and the lists in it. What `json` lets pass and we do not: a key that comes twice (of which
one would be lost without a word), and numbers that are none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, NoReturn, TextIO

MAX_ENTRY = 16_000_000
"""Characters of one entry."""

_CHUNK = 1 << 18
_SPACE = " \t\r\n"


class NoDocument(ValueError):
    """What was read is no JSON of the outline that is walked; says what, and holds none of it.

    Attributes:
        line: In which line of the file it was noticed.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, slots=True)
class Piece:
    """A value of the outermost object, or one entry of a list that is one.

    Attributes:
        key: Its key.
        index: Its place in the list; -1 for the list itself, which comes before its entries and
            has no text; None for a value that is no list.
        line: Where it begins.
        text: Its JSON.
    """

    key: str
    index: int | None
    line: int
    text: str


def pieces(file: TextIO) -> Iterator[Piece]:
    """The pieces of a document, in order.

    Raises:
        NoDocument: it is none.
    """
    reader = _Reader(file)
    seen: set[str] = set()
    for _ in reader.items("{", "}"):
        line = reader.line
        key = json.loads(reader.value(starts='"'))
        if key in seen:
            raise NoDocument(line, "a key comes twice")
        seen.add(key)
        reader.expect(":")
        line = reader.line
        if reader.peek() != "[":
            yield Piece(key, None, line, reader.value())
            continue
        yield Piece(key, -1, line, "")
        for index in reader.items("[", "]"):
            line = reader.line
            yield Piece(key, index, line, reader.value(starts="{"))
    if reader.peek():
        raise NoDocument(reader.line, "something follows the end of the document")


class _Reader:
    """The text of a file, as much of it as is needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._is_whole = False
        self._line = 1
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._once, parse_constant=self._no_number, strict=True
        )

    @property
    def line(self) -> int:
        """The line that the next character is in, spaces aside."""
        self.peek()
        return self._line

    def items(self, begin: str, end: str) -> Iterator[int]:
        """Stops before each item between two brackets, with its number; who calls reads it."""
        self.expect(begin)
        if self.peek() == end:
            self.expect(end)
            return
        index = 0
        while True:
            yield index
            index += 1
            if self.peek() == end:
                self.expect(end)
                return
            self.expect(",")

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if (char := self._text[self._at]) not in _SPACE:
                    return char
                self._line += char == "\n"
                self._at += 1
            if not self._read_more():
                return ""

    def expect(self, char: str) -> None:
        """Pass over a character.

        Raises:
            NoDocument: it is another one.
        """
        found = self.peek()
        if found != char:
            where = "the file ends where" if not found else "something else stands where"
            raise NoDocument(self._line, f"{where} {char} belongs")
        self._at += 1

    def value(self, starts: str = "") -> str:
        """Pass over a value and give its text.

        Raises:
            NoDocument: there is none, or it does not start as it should.
        """
        if (found := self.peek()) and starts and found != starts:
            raise NoDocument(self._line, f"something else stands where {starts} belongs")
        while True:
            try:
                end = self._decoder.raw_decode(self._text, self._at)[1]
            except JSONDecodeError:
                if not self._read_more():
                    raise NoDocument(self._line, "this is no JSON, or ends too early") from None
                continue
            except RecursionError:
                raise NoDocument(self._line, "this is nested too deeply") from None
            except NoDocument:
                raise
            except ValueError:  # an integer of thousands of digits
                raise NoDocument(self._line, "a number is too long") from None
            # "12" may go on as "123": what stands behind tells.
            if end < len(self._text) or not self._read_more():
                text = self._text[self._at : end]
                self._at = end
                self._line += text.count("\n")
                return text

    def _read_more(self) -> bool:
        """Read on, and drop what was passed over; False at the end of the file.

        Raises:
            NoDocument: what is being read is longer than an entry may be, or no UTF-8.
        """
        if self._is_whole:
            return False
        held = self._text[self._at :]
        if len(held) > MAX_ENTRY:
            raise NoDocument(self._line, f"an entry is longer than {MAX_ENTRY:,} characters")
        try:
            more = self._file.read(max(_CHUNK, len(held)))
        except UnicodeDecodeError:
            raise NoDocument(self._line, "this is no UTF-8") from None
        self._is_whole = not more
        self._text, self._at = held + more, 0
        return bool(more)

    def _once(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise NoDocument(self._line, "a key comes twice")
        return found

    def _no_number(self, _: str) -> NoReturn:
        raise NoDocument(self._line, "NaN and the infinities are no numbers")
