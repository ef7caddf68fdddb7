"""Fakes that stand at the protocols: for our own tests and for those of who builds on the SDK.

They pass the same contract tests as the real parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from echat_sdk.audio import SAMPLE_RATE, AudioFrame, Hertz, Seconds
from echat_sdk.cues import Cues, ReplyEmotion
from echat_sdk.errors import StoreError, UnsupportedError
from echat_sdk.pause_profile import PauseProfile
from echat_sdk.tools import Tool, ToolCall
from echat_sdk.turn import (
    Delta,
    Heard,
    Known,
    Lang,
    LangChoice,
    Recollection,
    SpeechDelta,
    TextDelta,
    ThinkDelta,
    ThinkStyle,
    Thought,
    Turn,
)


@dataclass(frozen=True, slots=True)
class Line:
    """What a `FakeModel` hears and answers in one turn.

    Attributes:
        transcript: The words it hears; empty for no speech.
        cues: What it hears beside them.
        clauses: The clauses of its answer, in order.
        reply_emotion: The emotion that it answers with.
        error: Raised after the first clause, where one is given.
        calls: The name of the tool that it asks for; empty for talk.
        arguments: Those of that tool.
        pace: How long each clause takes to be made.
    """

    transcript: str
    clauses: Sequence[str] = ("I hear you.",)
    cues: Cues = field(default_factory=Cues)
    reply_emotion: ReplyEmotion = ReplyEmotion.COMFORTING
    error: Exception | None = None
    calls: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    pace: Seconds = 0.0


class FakeModel:
    """A `SpeechModel` that follows a script: one `Line` a turn, the last one for ever.

    Args:
        lines: The script.
        voices: Names of voices; each has a pitch of its own, an octave above the one before.

    Attributes:
        recollections: What each reply was given to remember.
        closed: How many replies were ended, by their end or by an interruption.
        spoke: In which voice each piece was spoken; None for its own.
    """

    name = "fake"
    sample_rate: Hertz = 24_000

    def __init__(self, *lines: Line, voices: Sequence[str] = ()) -> None:
        self._voices = tuple(voices)
        self._lines = list(lines or [Line("hello")])
        self._given = tuple(self._lines)
        self.recollections: list[Recollection] = []
        self.closed = 0
        self.spoke: list[str | None] = []

    def listen(self, *, lang: LangChoice = "auto") -> FakeHearing:
        """Open an utterance that hears the next line of the script."""
        line = self._lines.pop(0) if len(self._lines) > 1 else self._lines[0]
        return FakeHearing(self, line, "en" if lang == "auto" else lang)

    def read(self, text: str, cues: Cues, *, lang: LangChoice = "auto") -> FakeHearing:
        """Open an utterance with words and cues given; the answer is the script's."""
        hearing = self.listen(lang=lang)
        hearing.given(text, cues)
        return hearing

    def understand(self, hearing: object, tasks: Sequence[str]) -> str:
        """The transcript for `asr`; no other task."""
        if set(tasks) != {"asr"} or not isinstance(hearing, FakeHearing):
            raise UnsupportedError(f"the fake model does asr, not {', '.join(tasks)}")
        return hearing.heard().transcript

    def voices(self) -> Sequence[str]:
        """As they were given."""
        return self._voices

    def tool_chooser(self, tools: Sequence[Tool]) -> FakeToolChooser:
        """What chooses the tool that the line of the script names."""
        return FakeToolChooser(self._given, tools)

    def say(
        self, text: str, *, emotion: ReplyEmotion, voice: str | None = None
    ) -> Iterator[SpeechDelta]:
        """A soft tone of 50 ms a word."""
        if voice is not None and voice not in self._voices:
            raise UnsupportedError(f"the fake model has no voice {voice!r}")
        self.spoke.append(voice)
        octave = 0 if voice is None else 1 + self._voices.index(voice)
        if words := len(text.split()):
            seconds = np.arange(self.sample_rate * words // 20) / self.sample_rate
            tone = (3000 * np.sin(2 * np.pi * 220 * 2**octave * seconds)).astype(np.int16)
            yield SpeechDelta(tone, self.sample_rate, text)


class FakeToolChooser:
    """Chooses what the script's line with these words names."""

    def __init__(self, lines: Sequence[Line], tools: Sequence[Tool]) -> None:
        self._lines = lines
        self._tools = {tool.name: tool for tool in tools}

    def warm_up(self, lang: Lang) -> None:
        """Nothing to read."""

    def choose(self, heard: Heard) -> ToolCall | None:
        """The line's tool, with its arguments."""
        line = next((each for each in self._lines if each.transcript == heard.transcript), None)
        if line is None or not line.calls:
            return None
        tool = self._tools[line.calls]
        return ToolCall(tool, tool.check(line.arguments))


class FakeHearing:
    """One utterance heard by a `FakeModel`."""

    def __init__(self, model: FakeModel, line: Line, lang: Lang) -> None:
        self._model = model
        self._line = line
        self._lang: Lang = lang
        self._frames = 0
        self._given: tuple[str, Cues] | None = None

    def given(self, text: str, cues: Cues) -> None:
        """Take words and cues instead of sound."""
        self._given = (text, cues)

    def push(self, frame: AudioFrame) -> None:
        """Count the frame."""
        self._frames += 1

    def heard(self) -> Heard:
        """The line's words and cues; nothing where no frame was pushed."""
        seconds: Seconds = self._frames * 320 / SAMPLE_RATE
        if self._given:
            return Heard(self._given[0], self._lang, self._given[1])
        words = self._line.transcript if self._frames else ""
        return Heard(words, self._lang, self._line.cues if words else Cues(), seconds)

    def reply(
        self,
        recollection: Recollection,
        *,
        think: ThinkStyle = "tag",
        speak: bool = True,
        voice: str | None = None,
    ) -> Iterator[Delta]:
        """The line's answer, clause by clause."""
        self._model.recollections.append(recollection)
        try:
            heard = self.heard()
            yield heard
            if not heard.transcript:
                return
            if think != "off":
                yield ThinkDelta("<think>fake<think end>")
            yield Thought(self._line.reply_emotion)
            told = recollection.finding
            for clause in (told.words or told.error,) if told else self._line.clauses:
                time.sleep(self._line.pace)  # the model's own thread
                yield TextDelta(clause)
                if speak:
                    emotion = self._line.reply_emotion
                    yield from self._model.say(clause, emotion=emotion, voice=voice)
                if self._line.error:
                    raise self._line.error
        finally:
            self._model.closed += 1


class RAMMemory:
    """A `Memory` that forgets everything with the process.

    Args:
        fails: Called before each write; raise from it to play a broken store.
        clock: Gives the present moment, with its zone.
    """

    def __init__(
        self,
        *,
        fails: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fails = fails
        self._clock = clock
        self._turns: dict[str, dict[str, Turn]] = {}
        self._began: dict[str, datetime] = {}  # by the id of a turn
        self._pauses: dict[str, PauseProfile] = {}
        self._last_id = 0

    def recall(self, user: str, *, query: str = "") -> Recollection:
        """The last six turns."""
        return Recollection(turns=tuple(self._turns.get(user, {}).values())[-6:])

    def prefetch(self, user: str) -> None:
        """Nothing to make ready."""

    def remember(self, user: str, turn: Turn, *, turn_id: str | None = None) -> str:
        """Keep a turn, or replace one of this user's."""
        self._fails()
        turns = self._turns.setdefault(user, {})
        if turn_id is not None and turn_id not in turns:
            raise StoreError("there is no such turn of this user to complete")
        if turn_id is None:
            self._last_id += 1
            turn_id = f"ram-{self._last_id}"
        turns[turn_id] = turn
        self._began.setdefault(turn_id, self._clock())
        return turn_id

    def pauses(self, user: str) -> PauseProfile:
        """How this user pauses."""
        return self._pauses.get(user, PauseProfile())

    def keep_pauses(self, user: str, profile: PauseProfile) -> None:
        """Keep how a known user pauses."""
        self._fails()
        if user in self._turns:
            self._pauses[user] = profile

    def known(self, user: str, *, lang: Lang = "en") -> Known:
        """How many turns are kept, and since when."""
        turns = self._turns.get(user, {})
        return Known(len(turns), since=min((self._began[t] for t in turns), default=None))

    def last_turn(self, user: str) -> str | None:
        """The id of the last turn."""
        return next(reversed(self._turns.get(user, {})), None)

    def forget(self, user: str, *, turn: str | None = None, since: datetime | None = None) -> int:
        """Forget a turn, all since a moment, or all."""
        self._fails()
        turns = self._turns.get(user, {})
        gone = [
            t for t in turns if turn in (None, t) and (since is None or self._began[t] >= since)
        ]
        for each in gone:
            del turns[each], self._began[each]
        if not turns:
            self._turns.pop(user, None)
            self._pauses.pop(user, None)
        return len(gone)

    def close(self) -> None:
        """Nothing to release."""
