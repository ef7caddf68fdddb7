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
from echat_sdk.agent.events import AsideEnded, Event, State
from echat_sdk.agent.requests import Request
from echat_sdk.agent.service import Service
from echat_sdk.audio import Hertz, Waveform
from echat_sdk.bridge import Worker
from echat_sdk.consent import Purpose
from echat_sdk.disclosure import ANSWERS, disclosure, question
from echat_sdk.errors import EChatError
from echat_sdk.protocols import VAD
from echat_sdk.server.realtime.account import AccountDesk
from echat_sdk.server.realtime.config import SessionConfig
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.line import Line
from echat_sdk.server.realtime.spoken_answer import SpokenAnswer
from echat_sdk.server.realtime.telling import Teller
from echat_sdk.turn import Lang

_STATES = {Request.YES: "granted", Request.NO: "denied", None: "unanswered"}


class Asking:
    """Puts one question at a time.

    Args:
        service: What is served.
        desk: Keeps the answers.
        agent: Says the question, and hears nobody meanwhile.
        teller: Tells what is said.
        line: What the agent's voice takes its time on.
        send: Takes events.
        config: Gives what the session is, as it is now.
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
        config: Callable[[], SessionConfig],
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]], str], asyncio.Task[None]],
    ) -> None:
        self._service = service
        self._desk = desk
        self._agent = agent
        self._teller = teller
        self._line = line
        self._send = send
        self._config = config
        self._spawn = spawn
        self._open: SpokenAnswer | None = None
        self._asked = self._gap = self._words = ""
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
        self._gap = "" if lang == "zh" else " "
        self._words = ANSWERS[lang]
        told = disclosure(lang, allowed, own=self._service.own_disclosure, is_asked=True).text
        first = f"{told}{self._gap}{question(lang, purposes)}"
        again = partial(self._say, question(lang, purposes, is_again=True))
        self._open = answer = SpokenAnswer(vad, partial(live.spoken, lang), self._is_leading, again)
        live.mute()
        self._line.plays = True
        self._say(first)
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

    async def update(self, event: Mapping[str, Any]) -> None:
        """Take an answer that was given by hand; another is not waited for.

        Raises:
            Fault: it cannot be kept; says why.
        """
        await self.end()
        self._send(await self._desk.answer(event))

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

    def _say(self, asked: str) -> None:
        self._asked = asked
        self._teller.begin_aside()
        self._agent.conversation.say(f"{asked}{self._gap}{self._words}")

    def _is_leading(self) -> bool:
        """Whether the agent itself is saying yes now, so that one may be its echo."""
        return len(self._agent.conversation.said) > len(self._asked)

    async def _run(self, answer: SpokenAnswer, purposes: list[str], event_id: str | None) -> None:
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
        is_manual = self._config().turns.kind == "none"  # nobody listens then
        live.mute(is_manual)
        self._line.plays = not is_manual


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
