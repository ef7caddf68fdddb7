"""What a session's user may see and change: consents, memory, mood, why they were answered so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from echat_sdk.agent.service import Service
from echat_sdk.bridge import Worker
from echat_sdk.consent import REFUSALS, TRANSITIONS, Consents, ConsentState, Purpose
from echat_sdk.disclosure import VERSION
from echat_sdk.errors import EChatError, StoreError
from echat_sdk.protocols import Account, Agreeing, Forgetting, Memory
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.turn import Lang

T = TypeVar("T")


class AccountDesk:
    """Answers a client's `echat.*` events. What it asks of the memory runs in a thread of its own.

    Args:
        service: What is served.
        memory: The session's.
        user: Whose session it is.
    """

    def __init__(self, service: Service, memory: Memory, user: str) -> None:
        self._service = service
        self._memory = memory
        self._user = user
        self._thread = Worker("echat-account")

    def close(self) -> None:
        """End the thread."""
        self._thread.let_go()

    async def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What is answered to an event.

        Raises:
            Fault: it cannot be done; says why.
        """
        asked = {
            "echat.consent.update": self._consent,
            "echat.memory.retrieve": self._known,
            "echat.memory.forget": self._forget,
            "echat.mood.retrieve": self._mood,
            "echat.trace.retrieve": self._trace,
        }[event["type"]]
        return await self._call(asked, event)

    async def allowed_with(self, purposes: Collection[str]) -> frozenset[str]:
        """What a user may be used for if they agree to more.

        Raises:
            Fault: they cannot; says why.
        """
        return await self._call(self._allowed_with, purposes)

    async def answered(self, purposes: Collection[str], answer: str) -> dict[str, Any]:
        """Keep what a user answered aloud; what they agreed to then, as a session tells it.

        Args:
            purposes: What they were asked for.
            answer: `granted` or `denied`; anything else is no answer, and changes nothing.

        Raises:
            Fault: it cannot be kept; says why.
        """
        return await self._call(self._answered, purposes, answer)

    async def consents(self) -> dict[str, Any]:
        """What the user agreed to, as a session tells it; empty where nobody is asked."""
        if not isinstance(self._memory, Agreeing):
            return {"purposes": {}, "allowed": [], "barred": []}
        consents = await self._thread.call(self._memory.consents, self._user)
        return {**_told(consents), "barred": sorted(consents.barred)}

    async def after_turn(self, kind: str, turn_id: str, lang: Lang) -> dict[str, Any] | None:
        """The mood, or the trace of a turn, as it is told after each; None where there is none."""
        try:
            event = {"type": f"echat.{kind}.retrieve", "turn_id": turn_id or None, "lang": lang}
            return await self.answer(event)
        except Fault:
            return None

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._thread.call(function, *args)
        except StoreError as error:
            raise Fault(str(error), code="store", kind="server_error") from error
        except EChatError as error:
            raise Fault(str(error), code=type(error).__name__) from error

    # --- in the thread ----------------------------------------------------------------------------

    def _consent(self, event: Mapping[str, Any]) -> dict[str, Any]:
        purposes, state = event.get("purposes"), event.get("state")
        if not isinstance(purposes, list) or not all(isinstance(p, str) for p in purposes):
            raise Fault("expected a list of purposes", param="purposes")
        allowed = (ConsentState.GRANTED, ConsentState.DENIED, ConsentState.WITHDRAWN)
        if state not in allowed:
            raise Fault(f"expected one of {', '.join(allowed)}", param="state")
        memory = self._agreeing()
        deleted = memory.consent(
            self._user, purposes, ConsentState(state), version=VERSION, channel="server"
        )
        for purpose in purposes if ConsentState(state) in REFUSALS else ():
            self._service.plugins.erase(self._user, purpose)
        told = _told(memory.consents(self._user))
        return {"type": "echat.consent.updated", **told, "deleted": dict(deleted)}

    def _allowed_with(self, purposes: Collection[str]) -> frozenset[str]:
        consents = self._agreeing().consents(self._user)
        if barred := consents.barred.intersection(purposes):
            raise Fault(f"nobody can agree to {', '.join(sorted(barred))} here", param="purposes")
        return consents.allowed(datetime.now(UTC)).union(purposes)

    def _answered(self, purposes: Collection[str], answer: str) -> dict[str, Any]:
        memory = self._agreeing()
        consents, now = memory.consents(self._user), datetime.now(UTC)
        answers: dict[ConsentState, list[str]] = {}
        for each in purposes if answer in ("granted", "denied") else ():
            state = ConsentState(answer)
            if state not in TRANSITIONS[consents.of(each).at(now)]:
                state = ConsentState.WITHDRAWN  # who agreed before takes it back
            answers.setdefault(state, []).append(each)
        for state, about in answers.items():
            memory.consent(self._user, about, state, version=VERSION, channel="voice")
        return _told(memory.consents(self._user))

    def _known(self, event: Mapping[str, Any]) -> dict[str, Any]:
        lang: Lang = "zh" if event.get("lang") == "zh" else "en"
        known = self._forgetting().known(self._user, lang=lang)
        return {
            "type": "echat.memory.retrieved",
            "turns": known.turns,
            "held": known.held,
            "since": known.since and known.since.isoformat(),
            "facts": list(known.facts),
            "mood": known.mood,
        }

    def _forget(self, event: Mapping[str, Any]) -> dict[str, Any]:
        memory = self._forgetting()
        match event.get("scope"):
            case "all":
                count = memory.forget(self._user)
                self._service.plugins.erase(self._user)
            case "today":
                since = self._service.manner(self._user).midnight()
                count = memory.forget(self._user, since=since)
            case "turn" if isinstance(event.get("turn_id"), str):
                count = memory.forget(self._user, turn=event["turn_id"])
            case "turn":
                raise Fault("expected the id of a turn", param="turn_id")
            case _:
                raise Fault("expected all, today or turn", param="scope")
        return {"type": "echat.memory.forgotten", "turns": count}

    def _mood(self, event: Mapping[str, Any]) -> dict[str, Any]:
        account, zone = self._account(), self._service.manner(self._user).zone
        report = account.mood(self._user, zone=zone or UTC)
        return {"type": "echat.mood.retrieved", "mood": report.to_json()}

    def _trace(self, event: Mapping[str, Any]) -> dict[str, Any]:
        turn_id = event.get("turn_id")
        if turn_id is not None and not isinstance(turn_id, str):
            raise Fault("expected the id of a turn", param="turn_id")
        lang: Lang = "zh" if event.get("lang") == "zh" else "en"
        trace = self._account().trace(self._user, turn_id)
        words = [[what, text] for what, text in self._service.in_words(trace, lang)]
        told = {"turn_id": turn_id, "trace": trace.to_json(), "words": words}
        return {"type": "echat.trace.retrieved", **told}

    def _agreeing(self) -> Agreeing:
        if not isinstance(self._memory, Agreeing):
            raise Fault("nobody is asked for consent here", code="unsupported")
        return self._memory

    def _account(self) -> Account:
        if not isinstance(self._memory, Account):
            raise Fault("of a guest neither mood nor trace is kept", code="unsupported")
        return self._memory

    def _forgetting(self) -> Forgetting:
        if not isinstance(self._memory, Forgetting):
            raise Fault("this memory cannot tell what it keeps", code="unsupported")
        return self._memory


def _told(consents: Consents) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "purposes": {str(p): consents.of(p).at(now).value for p in Purpose},
        "allowed": sorted(consents.allowed(now)),
    }
