"""A live conversation on the terminal: a transcript that grows, and a panel that stays at its foot.

Where nobody watches (a pipe, a terminal that cannot move its cursor) there is the transcript alone.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from echat_sdk.agent.events import HeardLate, StateChanged, TurnFinished
from echat_sdk.audio import Seconds
from echat_sdk.cli import interrupts
from echat_sdk.cli.account import printable
from echat_sdk.cli.meter import Metered
from echat_sdk.cli.mood import Mood
from echat_sdk.cli.panel import LABEL, Scene, panel
from echat_sdk.cli.transcript import Line, Transcript
from echat_sdk.turn import Heard

if TYPE_CHECKING:
    from echat_sdk.agent.events import Event
    from echat_sdk.protocols import AudioIO

_EVERY: Seconds = 0.125  # between two drawings
_NARROWEST, _WIDEST, _LOWEST = 20, 120, 5  # columns and rows that are drawn on
_KEPT = 200  # lines that are written again when the terminal's width has changed
_STYLES = {"you": "bold", "agent": "bold green", "fault": "red"}


class _Foot:
    """What stands under all that is printed.

    Attributes:
        lines: Of text, each in its own line.
    """

    def __init__(self) -> None:
        self.lines: list[Text] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines


class LiveView:
    """Shows events, levels and what is typed. Used from the event loop.

    Args:
        audio: The conversation's sound.
        title: Who converses with what.
        quiet: Show nothing.
        console: Where it is shown; None is standard output.
    """

    def __init__(
        self, audio: AudioIO, title: str, *, quiet: bool, console: Console | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.audio = Metered(audio, self._loop.time, self._changed)
        self._console = console or Console(highlight=False)
        self._quiet = quiet
        self._foot = _Foot()
        self._live = None if quiet or not self._console.is_interactive else Live(
            self._foot, console=self._console, auto_refresh=False, transient=True
        )  # fmt: skip
        self._transcript = Transcript(self.audio)
        self._scene = Scene(title, Mood())
        self._past: deque[Line] = deque(maxlen=_KEPT)
        self._drawn_at: Seconds = -_EVERY
        self._size = self._console.size
        self._planned: asyncio.TimerHandle | None = None
        self._stack = ExitStack()

    @property
    def is_drawn(self) -> bool:
        """Whether there is a panel, in which what is typed can be shown."""
        return self._live is not None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._stack.enter_context(self._live)
            self._stack.enter_context(_libraries_hushed())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._planned is not None:
            self._planned.cancel()
        if self._live is not None:
            self._draw()
        self._stack.close()

    def show(self, event: Event) -> None:
        """Take one event."""
        if self._quiet:
            return
        match event:
            case StateChanged(state):
                self._scene.state = state
            case Heard(transcript, _, cues, seconds) | HeardLate(
                Heard(transcript, _, cues, seconds)
            ) if transcript:
                if seconds or cues.emotion.is_known:  # what is typed has no voice
                    self._scene.mood.take(cues.emotion, goes_on=self._transcript.is_open)
            case TurnFinished(answer):
                self._scene.timings = answer.turn.timings
        self._transcript.take(event)
        if self._live is None:
            for line in self._transcript.settled():
                self._console.print(_plain(line), soft_wrap=True)
        self._changed()

    def typing(self, text: str) -> None:
        """Show what is being typed."""
        self._scene.typing = text
        self._changed()

    # --- drawing ----------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Draw soon, and not too often."""
        if self._live is not None and self._planned is None:
            wait = self._drawn_at + _EVERY - self._loop.time()
            self._planned = self._loop.call_later(max(0.0, wait), self._draw)

    def _draw(self) -> None:
        assert self._live is not None, "nothing is planned where nothing is drawn"
        self._planned = None
        self._drawn_at = self._loop.time()
        console, size = self._console, self._console.size
        width = min(size.width, _WIDEST)
        settled = self._transcript.settled()
        self._past += settled
        lines = self._picture(width, size.height)
        if self._scene.microphone or self._scene.speaker:
            self._changed()  # a meter falls, even where a lost device gives no frames
        if size.width != self._size.width:  # what is there has been broken into other lines
            console.clear()
            settled = list(self._past)
        elif not settled and lines == self._foot.lines:
            return
        self._foot.lines, self._size = lines, size
        if not settled:
            self._live.refresh()
        else:  # one writing for both: what is printed goes above the foot, which is drawn anew
            rows = [row for line in settled for row in _hanging(line, console, width)]
            console.print(*rows, sep="\n", soft_wrap=True)

    def _picture(self, width: int, height: int) -> list[Text]:
        if width < _NARROWEST or height < _LOWEST:
            return []
        scene = self._scene
        scene.microphone = self.audio.microphone.share
        scene.speaker = self.audio.speaker.share
        # A column is left free: a full line would be broken in two by a terminal that shrinks.
        foot = panel(scene, width - 1, height)
        moving = self._transcript.moving()
        rows = [row for line in moving for row in _hanging(line, self._console, width)]
        room = height - len(foot) - 1
        rows = [*rows[max(0, len(rows) - room) :], *foot]
        for row in rows:  # they fit; to break them again is half of the work
            row.no_wrap, row.overflow = True, "ignore"
        return rows


@contextmanager
def _libraries_hushed() -> Iterator[None]:
    """Keep what PortAudio prints of a lost device out of the picture; our words go above it."""
    if not os.isatty(2):
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        with interrupts.restoring(lambda: os.dup2(kept, 2)):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@lru_cache(8)
def _hanging(line: Line, console: Console, width: int) -> list[Text]:
    """A line of the transcript, broken so that its words stand behind the name."""
    text = Text.assemble(
        (printable(_said(line)), _STYLES[line.who]),
        (printable(line.rest), "dim strike" if line.is_cut else "dim green"),
    )
    if not text.plain:
        text = Text("…", _STYLES[line.who])
    if line.note:
        text.append(f"  ({line.note})", "dim")
    name = "" if line.who == "fault" else line.who
    return [
        Text.assemble(((name if n == 0 else "").ljust(LABEL), "dim"), row)
        for n, row in enumerate(text.wrap(console, max(10, width - LABEL - 1)))
    ]


def _plain(line: Line) -> Text:
    """The same in one line, for who reads it out of a pipe."""
    cut = f"[not heard: {line.rest.strip()}]" if line.is_cut and line.rest else ""
    words = f"{_said(line)}{cut}" or "…"
    notes = [line.note] if line.note else []
    if line.first_sound is not None:
        notes.append(f"first sound {line.first_sound:.2f} s")
    name = "" if line.who == "fault" else line.who
    note = f"  ({', '.join(notes)})" if notes else ""
    return Text(printable(f"{name.ljust(LABEL)}{words}{note}"))


def _said(line: Line) -> str:
    """What was heard, with a dash where it broke off."""
    if not line.is_cut:
        return line.said
    said = line.said.rstrip()
    if not (said and line.rest):
        return said
    return f"{said}— " if said[-1].isalnum() else f"{said} — "
