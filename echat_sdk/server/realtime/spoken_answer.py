"""A yes or a no, heard in what somebody says to a question; anything else is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.requests import Request, answer_in
from echat_sdk.audio import FRAME_SECONDS, Seconds
from echat_sdk.protocols import VAD
from echat_sdk.server.realtime.line import Line
from echat_sdk.turn_detector import (
    SpeechGoesOn,
    SpeechResumed,
    SpeechStarted,
    TurnDetector,
    Utterance,
)
from echat_sdk.turn_policy import TurnPolicy

SILENCE: Seconds = 12.0
"""How long an answer is waited for, once all was said."""

MOST: Seconds = 90.0
"""How long a question is open at most, and how much sound is heard for it."""

# Answers are short, and nobody looks for words in them.
_POLICY = TurnPolicy(
    start=0.12,
    pre_roll=0.3,
    soft_end=0.14,
    min_delay=0.6,
    delay=0.6,
    max_delay=0.6,
    words=0,
    most_patience=1,
    longest=8,
)


class SpokenAnswer:
    """What somebody says to a question.

    Args:
        vad: Tells speech.
        listen: Opens an utterance.
        is_leading: Whether the agent itself says yes now.
        again: Asks once more.

    Attributes:
        line: Takes the sound.
    """

    def __init__(
        self,
        vad: VAD,
        listen: Callable[[], Ear],
        is_leading: Callable[[], bool],
        again: Callable[[], None],
    ) -> None:
        self.line = Line(output_rate=24_000)
        self._vad = vad
        self._listen = listen
        self._is_leading = is_leading
        self._again: Callable[[], None] | None = again
        self._found: Request | None = None
        self._is_told = False  # all that is to be known before
        self._is_early = False  # a yes to what was not told to its end
        self._is_heard = False  # somebody speaks
        self._is_doubtful = False  # they began while the agent said yes itself
        self._is_unclear = False  # something was said that is to be asked about
        self._is_stopped = False
        self._due: Seconds | None = None
        self._until: asyncio.Timeout | None = None

    async def found(self) -> Request | None:
        """A yes or a no; None where neither came.

        Raises:
            EChatError: it could not be heard.
        """
        try:
            async with asyncio.timeout(MOST), asyncio.timeout_at(self._due) as self._until:
                await self._hear()
        except TimeoutError:
            pass
        finally:
            self._until = None
        return None if self._is_stopped else self._found

    def told(self) -> None:
        """All was said, or as much as will be."""
        self._is_told = True
        if self._is_early:
            self._found = Request.YES
            self._wait(0)
        elif self._is_unclear and not self._is_heard:
            if not self._asks_again():
                self._wait(0)
        elif not self._is_heard:
            self._wait(SILENCE)

    def stop(self) -> None:
        """No answer counts any more."""
        self._is_stopped = True
        self._wait(0)

    async def _hear(self) -> None:
        detector = TurnDetector(_POLICY)
        ear, most = self._listen(), MOST / FRAME_SECONDS
        async for frame in self.line.frames():
            if (most := most - 1) < 0:
                return
            for event in detector.push(frame, self._vad.is_speech(frame)):
                match event:
                    case SpeechStarted(frames):
                        ear = self._listen()
                        ear.push(frames)
                        self._is_heard = True
                        self._is_doubtful = not self._is_told and self._is_leading()
                        self._wait(None)
                    case SpeechGoesOn(frame):
                        ear.push((frame,))
                    case SpeechResumed(frames):
                        ear.push(frames)
                    case Utterance() if await self._is_final(ear):
                        return

    async def _is_final(self, ear: Ear) -> bool:
        """Whether what was said ends the question."""
        was_over_agent = not self._is_told
        words = (await ear.heard(frozenset())).transcript
        self._is_heard = False
        answer = answer_in(words)
        if answer is Request.YES and self._is_doubtful:
            answer, self._is_unclear = None, True
        # A no counts at once. A yes counts once it is known to what.
        if answer is Request.NO or (answer is Request.YES and self._is_told):
            self._found = answer
            return True
        if answer is Request.YES:
            self._is_early = True
        elif self._is_told and (self._is_unclear or (words and not was_over_agent)):
            return not self._asks_again()
        elif self._is_told:
            self._wait(SILENCE)
        return False

    def _asks_again(self) -> bool:
        """Ask once more, if that was not done; whether it is done now."""
        if (again := self._again) is None:
            return False
        self._again = None
        self._is_told = self._is_unclear = False
        self._wait(None)
        again()
        return True

    def _wait(self, seconds: Seconds | None) -> None:
        """Wait so long from now on; None for as long as somebody speaks."""
        due = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._due = due
        if self._until is not None and not self._until.expired():
            self._until.reschedule(due)
