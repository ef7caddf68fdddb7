"""What was said in a live conversation, line by line: what is final, and what is still moving.

The words of an answer come before they are spoken. How far the voice has come is read from what the
speaker was given; what an interruption cut off is kept apart from what was heard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from echat_sdk.agent.events import Aside, Failed, HeardLate, State, StateChanged, TurnFinished
from echat_sdk.audio import Seconds
from echat_sdk.cli.mood import hedged
from echat_sdk.errors import AudioDeviceError, EChatError
from echat_sdk.playout import Script
from echat_sdk.turn import Heard, SpeechDelta, TextDelta, TurnStatus

if TYPE_CHECKING:
    from echat_sdk.agent.events import Event
    from echat_sdk.cli.meter import Metered
    from echat_sdk.turn import Turn

Who = Literal["you", "agent", "fault"]

_ROUNDING: Seconds = 0.1  # that resampling and fades may take from an answer which was not cut


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the transcript.

    Attributes:
        who: Who says it; a fault is nobody's.
        said: What was said and heard.
        rest: What is still to be heard, or never will be.
        is_cut: Whether it never will be.
        note: What there is to know about it.
        first_sound: How long it was waited for.
    """

    who: Who
    said: str
    rest: str = ""
    is_cut: bool = False
    note: str = ""
    first_sound: Seconds | None = None


@dataclass(slots=True)
class _Said:
    """What the agent says at one go."""

    text: str = ""
    script: Script = field(default_factory=Script)
    begins: Seconds | None = None  # on the clock of the speaker
    seconds: Seconds = 0.0

    def line(self, audible: Seconds, *, is_over: bool = False) -> Line:
        if self.begins is None:  # no voice, or none yet
            return Line("agent", self.text if is_over else "", "" if is_over else self.text)
        since = audible - self.begins
        if is_over and since >= self.seconds - _ROUNDING:
            return Line("agent", self.text)
        at = _behind(self.text, self.script.heard(since))
        return Line("agent", self.text[:at], self.text[at:], is_over)


@dataclass(slots=True)
class _Entry:
    """A line that may change, until it is final."""

    line: Line
    said: _Said | None = None  # of the agent
    is_answer: bool = False
    is_final: bool = False


class Transcript:
    """Makes lines of events.

    Args:
        audio: What the speaker was given.
    """

    def __init__(self, audio: Metered) -> None:
        self._audio = audio
        self._entries: list[_Entry] = []
        self._awaits_answer = False
        self._is_lost = False  # a device, and with it the conversation
        self._speaks: _Said | None = None  # whose voice came last
        self._spoken_until: Seconds = 0.0  # on the clock of the speaker

    def take(self, event: Event) -> None:
        """What happened next."""
        match event:
            case (Heard() as heard) | HeardLate(heard) if heard.transcript:
                self._user_said(heard)
            case TextDelta(text):
                self._said_of(is_answer=self._awaits_answer).text += text
            case Aside(TextDelta(text)):
                self._said_of(is_answer=False).text += text
            case SpeechDelta() as speech:
                self._speak(speech)
            case Aside(SpeechDelta() as speech):
                self._speak(speech)
            case TurnFinished(answer):
                self._finish(answer.turn)
            case Failed(error):
                self._fail(error)
            case StateChanged(State.ENDED):
                self._settle_all()
            case StateChanged(State.LISTENING | State.HEARING | State.THINKING):
                for entry in self._entries:
                    if entry.said is not None and not entry.is_answer:
                        self._settle(entry)

    def settled(self) -> list[Line]:
        """The lines that became final; each is given once, in order."""
        lines = []
        if self._entries and not self.is_open:
            self._entries[0].is_final |= self._entries[0].line.who == "you"
        while self._entries and self._entries[0].is_final:
            lines.append(self._entries.pop(0).line)
        return lines

    def moving(self) -> list[Line]:
        """The lines that may still change."""
        return [
            entry.line
            if entry.said is None or entry.is_final
            else entry.said.line(self._audio.audible)
            for entry in self._entries
        ]

    # --- the user ---------------------------------------------------------------------------------

    def _user_said(self, heard: Heard) -> None:
        if self.is_open:
            self._entries.clear()  # the same turn goes on
            self._spoken_until = self._audio.given
        self._settle_all()
        self._awaits_answer = True
        emotion = heard.cues.emotion
        note = [] if heard.seconds else ["typed"]
        note += [hedged(emotion, "sounds")] if emotion.is_known else []
        self._entries.append(_Entry(Line("you", heard.transcript, note=", ".join(note))))

    @property
    def is_open(self) -> bool:
        """Whether the last turn may go on: nothing was heard of its answer."""
        match self._entries:
            case [_Entry(line=Line(who="you"))]:
                return True
            case [_Entry(line=Line(who="you")), _Entry(is_answer=True, said=_Said() as said)]:
                return said.begins is None or self._audio.audible <= said.begins
            case _:
                return False

    # --- the agent --------------------------------------------------------------------------------

    def _said_of(self, *, is_answer: bool) -> _Said:
        """Where words belong: to an answer, or to a line of the agent's own."""
        if is_answer and (answer := self._answer()) is not None and answer.said is not None:
            return answer.said
        self._entries.append(_Entry(Line("agent", ""), said := _Said(), is_answer))
        return said

    def _answer(self) -> _Entry | None:
        """The answer that is being given."""
        open_ = (entry for entry in self._entries if entry.is_answer and not entry.is_final)
        return next(open_, None)

    def _speak(self, delta: SpeechDelta) -> None:
        words = delta.text.strip()
        if words or self._speaks is None:
            open_ = [e.said for e in self._entries if e.said is not None and not e.is_final]
            self._speaks = next((s for s in reversed(open_) if words in s.text), None)
        if (said := self._speaks) is None:
            return
        if said.begins is None:
            said.begins = self._spoken_until = max(self._audio.given, self._spoken_until)
        seconds = len(delta.samples) / delta.sample_rate
        said.script.add(delta.text, seconds)
        said.seconds += seconds
        self._spoken_until += seconds

    def _finish(self, turn: Turn) -> None:
        self._awaits_answer = False
        entry = self._answer()
        text = entry.said.text if entry is not None and entry.said is not None else turn.reply
        said, rest = turn.reply, ""
        is_cut = turn.status is not TurnStatus.COMPLETE
        if is_cut:
            rest = text[_behind(text, turn.reply) :]
        note = [turn.reply_emotion.word] if turn.reply else []
        if is_cut:
            note.append(turn.status.value)
        line = Line("agent", said, rest, is_cut, ", ".join(note), turn.timings.first_audio)
        if entry is None:
            entry = _Entry(line)
            self._entries.append(entry)
        for before in self._entries:
            if before is entry:
                break
            self._settle(before)
        entry.line, entry.is_final = line, True
        if is_cut:
            self._spoken_until = self._audio.given

    def _fail(self, error: EChatError) -> None:
        is_device = isinstance(error, AudioDeviceError)  # who hears and who speaks both miss it
        if not (is_device and self._is_lost):
            self._entries.append(_Entry(Line("fault", str(error)), is_final=True))
        self._is_lost |= is_device

    def _settle(self, entry: _Entry) -> None:
        if entry.said is not None and not entry.is_final:
            entry.line = entry.said.line(self._audio.audible, is_over=True)
        entry.is_final = True

    def _settle_all(self) -> None:
        for entry in self._entries:
            self._settle(entry)


def _behind(text: str, heard: str) -> int:
    """Where in a text the words end that were heard; a voice may space them otherwise."""
    left = len("".join(heard.split()))
    for letter in re.finditer(r"\S", text):
        if left == 0:
            return letter.start()
        left -= 1
    return len(text)
