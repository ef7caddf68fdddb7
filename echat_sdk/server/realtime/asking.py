"""Consent asked for aloud: somebody is heard for a yes or a no, and for nothing else.

    ask ──▶ told, and asked ──yes──▶ granted
              │  ▲    ├──────no────▶ denied
    something │  │    │
        else  ▼  │once└──silence───▶ unanswered
             asked again ──else────▶ unanswered

The one way in which a voice is heard before `process_voice` was granted. It lasts as long as the
question; what is said meanwhile is told nobody, kept nowhere and judged for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from echat_sdk.agent import Agent
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import AsideEnded, Event, State
from echat_sdk.agent.requests import Request, answer_in
from echat_sdk.audio import FRAME_SECONDS, Hertz, Seconds, Waveform
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.disclosure import disclosure, question
from echat_sdk.errors import EChatError
from echat_sdk.protocols import VAD
from echat_sdk.server.realtime.account import AccountDesk
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.line import Line
from echat_sdk.server.realtime.telling import Teller
from echat_sdk.server.service import Service
from echat_sdk.turn import Lang
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

_STATES = {Request.YES: "granted", Request.NO: "denied", None: "unanswered"}
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


class Asking:
    """Puts one question at a time.

    Args:
        service: What is served.
        desk: Keeps the answers.
        agent: Says the question, and hears nobody meanwhile.
        teller: Tells what is said.
        line: What the agent's voice takes its time on.
        send: Takes events.
        is_manual: Whether the client says when a turn ends, so that nobody else listens.
        spawn: Starts what the session waits for at its end.
    """

    def __init__(
        self,
        service: Service,
        desk: AccountDesk,
        agent: Agent,
        teller: Teller,
        line: Line,
        send: Callable[[dict[str, Any]], None],
        *,
        is_manual: Callable[[], bool],
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]], str], asyncio.Task[None]],
    ) -> None:
        self._service = service
        self._desk = desk
        self._agent = agent
        self._teller = teller
        self._line = line
        self._send = send
        self._is_manual = is_manual
        self._spawn = spawn
        self._open: _Answer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer is waited for."""
        return self._open is not None

    async def ask(self, event: Mapping[str, Any]) -> None:
        """Tell what there is to know, and ask; what comes of it is told later.

        Raises:
            Fault: it cannot be asked, or not now; says why.
        """
        purposes, lang = _asked(event)
        self.check()
        allowed = await self._desk.allowed_with(purposes)
        vad = await self._vad()
        if self._agent.state is not State.LISTENING or self._teller.active is not None:
            raise Fault(
                "somebody speaks, or is answered; ask once that has ended",
                code="conversation_already_has_active_response",
            )
        live = self._agent.conversation
        asked = f"{disclosure(lang, allowed, is_asked=True).text} {question(lang, purposes)}"
        again = partial(self._say, question(lang, purposes, is_again=True))
        self._open = answer = _Answer(vad, partial(live.spoken, lang), again)
        live.mute()
        self._line.plays = True
        self._say(asked)
        work = partial(self._run, answer, purposes, event.get("event_id"))
        self._task = self._spawn(work, "asking")

    def check(self) -> None:
        """See whether something else may be begun.

        Raises:
            Fault: a question is open.
        """
        if self.is_open:
            raise Fault(
                "consent is being asked for; wait for echat.consent.answered, or cancel it with "
                "response.cancel",
                code="consent_is_asked_for",
            )

    def hear(self, samples: Waveform, rate: Hertz) -> None:
        """Take the next sound of the client's, int16 mono.

        Raises:
            Fault: too much of it waits.
        """
        if self._open is not None:
            self._open.line.hear(samples, rate)

    def tell(self, event: Event) -> None:
        """Take what the agent does."""
        if self._open is not None and isinstance(event, AsideEnded):
            self._open.told()

    def stop(self) -> None:
        """Wait for no answer any more: from here on nothing counts as one."""
        if self._open is not None:
            self._open.stop()

    async def end(self) -> None:
        """The same, and wait until that was told."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """The session is over."""
        if self._task is not None:
            self._task.cancel()

    async def _vad(self) -> VAD:
        opening = Worker("echat-asking")
        try:
            return await opening.call(self._service.open_vad)
        finally:
            opening.let_go()

    def _say(self, text: str) -> None:
        self._teller.begin_aside()
        self._agent.conversation.say(text)

    async def _run(self, answer: _Answer, purposes: list[str], event_id: str | None) -> None:
        try:
            try:
                found = await answer.found()
            finally:
                self._rest()
            state = _STATES[found]
            told = await self._desk.answered(purposes, state)
            self._send({"type": "echat.consent.answered", "state": state, **told})
        except Fault as unkept:
            self._send(unkept.as_event(event_id))
        except EChatError as error:
            fault = Fault(str(error), code=type(error).__name__, kind="server_error")
            self._send(fault.as_event(event_id))
        finally:
            self._open = self._task = None

    def _rest(self) -> None:
        """As it was before."""
        live = self._agent.conversation
        live.interrupt()
        live.mute(self._is_manual())
        self._line.plays = not self._is_manual()


class _Answer:
    """What somebody says to a question.

    Args:
        vad: Tells speech.
        listen: Opens an utterance.
        again: Asks once more.

    Attributes:
        line: Takes the sound.
    """

    def __init__(self, vad: VAD, listen: Callable[[], Ear], again: Callable[[], None]) -> None:
        self.line = Line(output_rate=24_000)
        self._vad = vad
        self._listen = listen
        self._again: Callable[[], None] | None = again
        self._found: Request | None = None
        self._is_told = False  # all that is to be known before
        self._is_early = False  # a yes to what was not told to its end
        self._is_heard = False  # somebody speaks
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
                        self._wait(None)
                    case SpeechGoesOn(frame):
                        ear.push((frame,))
                    case SpeechResumed(frames):
                        ear.push(frames)
                    case Utterance() if await self._is_final(ear):
                        return

    async def _is_final(self, ear: Ear) -> bool:
        """Whether what was said ends the question."""
        is_over_agent = not self._is_told
        words = (await ear.heard(frozenset())).transcript
        self._is_heard = False
        answer = answer_in(words)
        # A no counts at once. A yes counts once it is known to what.
        if answer is Request.NO or (answer is Request.YES and self._is_told):
            self._found = answer
            return True
        if answer is Request.YES:
            self._is_early = True
        elif words and not is_over_agent:
            if self._again is None:
                return True
            again, self._again = self._again, None
            self._is_told = False
            again()
        elif self._is_told:
            self._wait(SILENCE)
        return False

    def _wait(self, seconds: Seconds | None) -> None:
        """Wait so long from now on; None for as long as somebody speaks."""
        due = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._due = due
        if self._until is not None and not self._until.expired():
            self._until.reschedule(due)


def _asked(event: Mapping[str, Any]) -> tuple[list[str], Lang]:
    """What is asked for, and in which language."""
    purposes, lang = event.get("purposes"), event.get("lang", "en")
    if not isinstance(purposes, list) or not purposes or not all(map(_is_purpose, purposes)):
        raise Fault(f"expected some of {', '.join(Purpose)}", param="purposes")
    if lang not in ("en", "zh"):
        raise Fault("expected en or zh", param="lang")
    return purposes, "zh" if lang == "zh" else "en"


def _is_purpose(value: object) -> bool:
    return isinstance(value, str) and value in set(Purpose)
