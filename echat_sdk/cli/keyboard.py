"""Lines that are typed beside a live conversation: at a terminal, or through a pipe.

Nothing here blocks, and no thread waits for a key: the event loop tells when there is something to
read. The end of the input ends the typing and nothing else.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator

from echat_sdk.cli import account, interrupts
from echat_sdk.cli.typed import MAX_CHARACTERS, parse_line
from echat_sdk.cues import Cues
from echat_sdk.errors import ConfigError

_CHUNK = 4096  # bytes
_LONGEST = (
    4 * MAX_CHARACTERS + 4
)  # bytes of a line that are looked at; `parse_line` refuses it then


async def typed_turns(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Cues]]:
    """The words and cues of typed lines; what is wrong with a line is told, and it is left out."""
    async for line in lines:
        try:
            turn = parse_line(line)
        except ConfigError as error:
            account.complain(str(error))
        else:
            yield turn


def is_at_terminal() -> bool:
    """Whether somebody can type here: a terminal, and this process in its foreground."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # none on Windows; closed
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    return False


async def lines_of_terminal(show: Callable[[str], None]) -> AsyncIterator[str]:
    """What is typed at the terminal, line by line.

    Args:
        show: Takes the line that is being typed, at each change; the terminal does not echo it.
    """
    terminal, editor = sys.stdin.fileno(), LineEditor()
    with _unechoed(terminal):
        show("")
        async for chunk in _chunks(terminal):
            for line in editor.push(chunk):
                show("")
                yield line
            show(editor.text)


async def lines_of_pipe() -> AsyncIterator[str]:
    """What a program, or a file, writes into standard input, line by line."""
    rest = b""
    async for chunk in _chunks(sys.stdin.fileno()):
        *ended, begun = chunk.split(b"\n")
        for part in ended:
            if line := _text((rest + part)[:_LONGEST]):
                yield line
            rest = b""
        rest = (rest + begun)[:_LONGEST]
    if line := _text(rest):
        yield line


class LineEditor:
    """The line that is being typed: letters, backspace, Ctrl-W, Ctrl-U; Enter ends it.

    Attributes:
        text: The line so far.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._escape = ""  # the beginning of a key that is no letter, such as an arrow
        self.text = ""

    def push(self, chunk: bytes) -> Iterator[str]:
        """The lines that end in what was typed.

        A line that others follow at once was pasted: with them it makes one line.
        """
        letters = self._decoder.decode(chunk)
        pasted = letters.rstrip("\r\n")
        for letter in pasted.replace("\r", " ").replace("\n", " ") + letters[len(pasted) :]:
            if letter in "\r\n":
                line, self.text = self.text.strip(), ""
                if line:
                    yield line
            else:
                self._press(letter)

    def _press(self, letter: str) -> None:
        if self._escape:
            self._escape += letter
            if self._is_whole_escape():
                self._escape = ""
        elif letter == "\x1b":
            self._escape = letter
        elif letter in "\x7f\b":
            self.text = self.text[:-1]
        elif letter == "\x15":
            self.text = ""
        elif letter == "\x17":
            self.text = self.text.rstrip()
            self.text = self.text[: self.text.rfind(" ") + 1]
        elif letter >= " " and len(self.text) <= MAX_CHARACTERS:
            self.text += letter

    def _is_whole_escape(self) -> bool:
        kind, last = self._escape[1], self._escape[-1]
        return kind not in "[O" or (len(self._escape) > 2 and "@" <= last <= "~")


async def _chunks(source: int) -> AsyncIterator[bytes]:
    """What can be read, when it can; ends with the input."""
    while chunk := await _read(source):
        yield chunk


async def _read(source: int) -> bytes:
    loop, is_ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(source, is_ready.set)
    except PermissionError:  # a file, which never lets one wait
        is_ready.set()
        await asyncio.sleep(0)
    except NotImplementedError:  # Windows
        return b""
    try:
        await is_ready.wait()
    finally:
        loop.remove_reader(source)
    try:
        return os.read(source, _CHUNK)
    except OSError:  # the terminal has gone
        return b""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").strip()


@contextlib.contextmanager
def _unechoed(terminal: int) -> Iterator[None]:
    """Letters come as they are typed and are not echoed; Ctrl-S does not stop what we write."""
    import termios

    before = termios.tcgetattr(terminal)
    after = termios.tcgetattr(terminal)
    after[0] &= ~termios.IXON
    after[3] &= ~(termios.ICANON | termios.ECHO)

    def restore() -> None:
        with contextlib.suppress(termios.error):  # it has gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)

    termios.tcsetattr(terminal, termios.TCSANOW, after)
    try:
        with interrupts.restoring(restore):
            yield
    finally:
        restore()
