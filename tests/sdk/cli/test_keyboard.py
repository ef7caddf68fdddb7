"""What is typed beside a conversation: at a terminal, and through a pipe."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echat_sdk.cli import keyboard
from echat_sdk.cli.keyboard import LineEditor, lines_of_pipe, lines_of_terminal, typed_turns
from echat_sdk.cli.typed import MAX_CHARACTERS


def typed(*chunks: bytes) -> tuple[list[str], str]:
    editor = LineEditor()
    return [line for chunk in chunks for line in editor.push(chunk)], editor.text


@pytest.mark.parametrize(
    ("keys", "lines", "left"),
    [
        ("hello\n", ["hello"], ""),
        ("hello", [], "hello"),
        ("hellp\x7fo\b\r", ["hell"], ""),
        ("one two  \x17three\n", ["one three"], ""),
        ("never mind\x15yes\n", ["yes"], ""),
        ("  \n\n", [], ""),
        ("a\x1b[Db\x1b[3~c\x1bOPd\x1bxe\n", ["abcde"], ""),
        ("\x04\x00\x0bok\n", ["ok"], ""),
    ],
)
def test_keys_make_lines(keys: str, lines: list[str], left: str) -> None:
    assert typed(*(key.encode() for key in keys)) == (lines, left)
    assert typed(keys.encode()) == (lines, left)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))), st.integers(1, 5))
def test_letters_of_any_script_come_out_as_they_were_typed(text: str, size: int) -> None:
    raw = text.encode() + b"\n"
    lines, left = typed(*(raw[at : at + size] for at in range(0, len(raw), size)))
    assert lines == ([text.strip()] if text.strip() else [])
    assert left == ""


def test_what_is_pasted_is_one_line() -> None:
    assert typed(b"first line\nsecond line\n") == (["first line second line"], "")
    assert typed(b"first line\nsecond") == ([], "first line second")


def test_no_line_grows_without_bound() -> None:
    _, left = typed(*[b"x" * 1000] * 10)
    assert len(left) == MAX_CHARACTERS + 1


# --- a terminal -----------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The keyboard of a terminal that is our standard input."""
    keys, side = pty.openpty()
    with os.fdopen(side) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keys
    os.close(keys)


async def test_a_terminal_shows_the_line_as_it_is_typed_and_is_left_as_it_was(
    terminal: int,
) -> None:
    before = termios.tcgetattr(sys.stdin)
    shown: list[str] = []
    async for line in lines_of_terminal(_then(shown, lambda: os.write(terminal, b"hi\n"))):
        assert line == "hi"
        assert not termios.tcgetattr(sys.stdin)[3] & (termios.ECHO | termios.ICANON)
        break
    await asyncio.get_running_loop().shutdown_asyncgens()
    assert shown[0] == ""
    assert termios.tcgetattr(sys.stdin) == before


def _then(shown: list[str], press: Callable[[], object]) -> Callable[[str], None]:
    """Takes what is shown; presses keys when the empty line is shown first."""

    def show(text: str) -> None:
        if not shown:
            press()
        shown.append(text)

    return show


async def test_a_terminal_that_goes_away_ends_the_typing(terminal: int) -> None:
    lines = lines_of_terminal(lambda _: None)

    async def read() -> list[str]:
        return [line async for line in lines]

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        await asyncio.sleep(0.05)
        os.write(terminal, b"one\n")
        await asyncio.sleep(0.05)
        os.close(terminal)
    assert reading.result() == ["one"]
    os.dup2(os.open(os.devnull, os.O_RDONLY), terminal)  # for the fixture to close


def test_a_pipe_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not keyboard.is_at_terminal()
    assert not keyboard.is_at_terminal(), "closed"


# --- a pipe ---------------------------------------------------------------------------------------


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where to write, for who reads our standard input."""
    source, target = os.pipe()
    with os.fdopen(source) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield target


async def test_lines_come_through_a_pipe_until_it_is_closed(pipe: int) -> None:
    os.write(pipe, "one\n\n  two 你".encode()[:-1])
    os.write(pipe, "你".encode()[-1:] + b"\nthree")
    os.close(pipe)
    assert [line async for line in lines_of_pipe()] == ["one", "two 你", "three"]


async def test_a_file_is_read_like_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\ntwo\n" * 2000)
    with (tmp_path / "lines").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert len([line async for line in lines_of_pipe()]) == 4000


async def test_who_waits_for_a_line_holds_up_nobody_and_can_be_cancelled(pipe: int) -> None:
    threads = threading.active_count()

    async def read() -> None:
        async for _ in lines_of_pipe():
            pass

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        await asyncio.sleep(0.05)
        assert threading.active_count() == threads
        reading.cancel()
    os.close(pipe)


async def test_a_wrong_line_is_told_and_left_out(
    pipe: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        os.write(pipe, b'{"text": "fine", "emotion": "sad"}\n{"words": 1}\n\xff\n')
        os.write(pipe, b"x" * 70_000 + b"\nlast\n")
        os.close(pipe)

    thread = threading.Thread(target=write)
    thread.start()
    turns = [turn async for turn in typed_turns(lines_of_pipe())]
    thread.join()
    assert [text for text, _ in turns] == ["fine", "last"]
    assert turns[0][1].emotion.label == "sad"
    told = " ".join(capsys.readouterr().err.split())
    assert "'words' is none of these" in told
    assert "not UTF-8" in told
    assert "longer than 4,000 characters" in told
    assert "xxxx" not in told
