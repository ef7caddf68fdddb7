"""Subtitles of conversations, written as they are spoken: WebVTT or SRT, one file for each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from echat_sdk.audio import Seconds
from echat_sdk.hooks import Session
from echat_sdk.turn import Heard, SpeechDelta, Turn

ECHAT_PLUGIN = {"needs": ["read_transcript", "keep"]}

_HEAD = {"vtt": "WEBVTT\n\n", "srt": ""}
_MARK = {"vtt": ".", "srt": ","}  # before the milliseconds
_MOST_CHARACTERS = 84  # two lines of 42, as subtitles have them


@dataclass(slots=True)
class _Open:
    """One conversation's file."""

    path: Path
    began: Seconds
    count: int = 0
    spoken_until: Seconds = 0.0  # pieces of speech come sooner than they are heard
    lines: list[tuple[Seconds, Seconds, str]] = field(default_factory=list)


class Captions:
    """Writes what both sides say, with the times at which it was said.

    A file may be followed as it grows (`tail -f`, OBS). It is named by the conversation, in a
    folder named by a hash of the user, which is removed when they are erased.

    Args:
        folder: Where files are written.
        form: `vtt` or `srt`.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        folder: str = "captions",
        form: Literal["vtt", "srt"] = "vtt",
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        if form not in _HEAD:
            raise ValueError(f"form {form!r}; expected vtt or srt")
        self._folder = Path(folder).expanduser()
        self._form = form
        self._clock = clock
        self._open: dict[str, _Open] = {}

    def on_start(self, session: Session) -> None:
        """A file of its own."""
        folder = self._of(session.user)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{session.key[:8]}.{self._form}"
        path.write_text(_HEAD[self._form], encoding="utf-8")
        path.chmod(0o600)
        self._open[session.key] = _Open(path, self._clock())

    def on_cues(self, session: Session, heard: Heard) -> None:
        """The user said something, which has just ended."""
        if (file := self._open.get(session.key)) is not None:
            end = self._clock() - file.began
            self._write(file, max(0.0, end - heard.seconds), end, f"- {heard.transcript}")

    def on_speech(self, session: Session, speech: SpeechDelta) -> None:
        """The agent says the next piece: it begins when the one before it has ended."""
        if (file := self._open.get(session.key)) is not None and speech.text.strip():
            begin = max(file.spoken_until, self._clock() - file.began)
            file.spoken_until = begin + len(speech.samples) / speech.sample_rate
            file.lines.append((begin, file.spoken_until, speech.text.strip()))

    def on_turn(self, session: Session, turn: Turn) -> None:
        """What was heard of the answer is known: what was cut off is no caption."""
        if (file := self._open.get(session.key)) is None:
            return
        heard, lines = turn.reply, file.lines
        file.lines = []
        now = self._clock() - file.began
        for begin, end, text in lines:
            if text and text in heard:
                self._write(file, begin, min(end, max(now, begin)), text)
        file.spoken_until = min(file.spoken_until, now)

    def on_end(self, session: Session) -> None:
        """The file is whole."""
        self._open.pop(session.key, None)

    def on_erase(self, user: str) -> None:
        """Remove all of theirs."""
        folder = self._of(user)
        for path in folder.glob("*.*") if folder.is_dir() else ():
            path.unlink(missing_ok=True)

    def _of(self, user: str) -> Path:
        return self._folder / hashlib.sha256(user.encode()).hexdigest()[:16]

    def _write(self, file: _Open, begin: Seconds, end: Seconds, text: str) -> None:
        text = " ".join(text.split()).replace("-->", "→").replace("<", "‹").replace(">", "›")
        if not file.path.exists():  # they were erased meanwhile
            return
        pieces = _cut(text)
        step = (end - begin) / len(pieces)
        with file.path.open("a", encoding="utf-8") as out:
            for number, piece in enumerate(pieces):
                file.count += 1
                start = begin + number * step
                times = f"{self._time(start)} --> {self._time(start + step)}"
                out.write(f"{file.count}\n{times}\n{piece}\n\n")

    def _time(self, at: Seconds) -> str:
        ms = round(1000 * at)
        hours, minutes, seconds = ms // 3_600_000, ms // 60_000 % 60, ms // 1000 % 60
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{_MARK[self._form]}{ms % 1000:03d}"


def _cut(text: str) -> list[str]:
    """A text in pieces that fit on a screen, whole words where it has any."""
    pieces = [""]
    for word in text.split(" ") if " " in text else list(text):
        joint = " " if " " in text and pieces[-1] else ""
        if len(pieces[-1]) + len(joint) + len(word) > _MOST_CHARACTERS and pieces[-1]:
            pieces.append(word)
        else:
            pieces[-1] += joint + word
    return pieces
