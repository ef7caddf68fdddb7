"""The WebSocket of a session: messages in under caps, events out in order, a slow reader let go."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.server import allocator
from echat_sdk.server.allowance import Allowance
from echat_sdk.server.limits import Limits
from echat_sdk.server.observer import Observer, Silence
from echat_sdk.server.realtime import beta, wire
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.session import Session

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from echat_sdk.agent.service import Service
    from echat_sdk.server.caller import Caller

log = logging.getLogger(__name__)

_SLOW: Seconds = 10.0
"""How long one message may take to be sent: whoever reads slower is let go."""

_FREED: Seconds = 1.0
_PAUSE: Seconds = 0.005  # for each event that was too many: who floods is read more slowly
_MUCH = 1024 * 1024  # bytes of a message
_MOST_UNSENT = 32 * 1024 * 1024  # bytes of events
_POLICY, _TOO_BIG, _TRY_LATER, _GOING = 1008, 1009, 1013, 1001


class Realtime:
    """`/v1/realtime`: one session for each WebSocket, whose caller the door has told.

    Args:
        service: What is served.
        limits: Caps.
        observer: Told of turns and errors.
    """

    def __init__(
        self, service: Service, limits: Limits | None = None, observer: Observer | None = None
    ) -> None:
        self._service = service
        self._limits = limits or Limits()
        self._observer = observer or Silence()
        self._opening = Worker("echat-opening")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept it, and serve it to its end."""
        socket = WebSocket(scope, receive, send)
        offered = scope.get("subprotocols", [])
        await socket.accept(subprotocol="realtime" if "realtime" in offered else None)
        wiring = _Wiring(socket, self._limits, is_beta=bool(scope["state"].get("is_beta")))
        caller: Caller = scope["state"]["caller"]
        model = socket.query_params.get("model", "")[:200]
        try:
            vad = await self._opening.call(self._service.open_vad)
            session = Session(
                self._service, caller, model, wiring.put, vad, on_turn=self._observer.turn
            )
            async with asyncio.timeout(self._limits.total_seconds):
                await _serve(session, wiring)
        except TimeoutError:
            await wiring.close(_GOING, "the session has lasted as long as one may")
        except Exception as error:
            self._observer.error(type(error).__name__)
            await wiring.close(1011, "the session failed; the log says why")
            raise
        else:
            await wiring.close(wiring.code, wiring.reason)
        finally:
            if wiring.has_heard_much:
                # Once the session itself is freed.
                loop = asyncio.get_running_loop()
                loop.call_later(_FREED, self._opening.submit, allocator.give_back)


async def _serve(session: Session, wiring: _Wiring) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(wiring.send(), name="echat-sending")
        wiring.watch()
        try:
            await session.run(wiring.next)
        finally:
            wiring.end()


class _Wiring:
    """One client's messages, both ways.

    Attributes:
        code: With which the socket is closed.
        reason: Why, in words.
        has_heard_much: Whether a message was large.
    """

    def __init__(self, socket: WebSocket, limits: Limits, *, is_beta: bool) -> None:
        self._socket = socket
        self._limits = limits
        self._is_beta = is_beta
        self._unsent: deque[str] = deque()  # bounded: beyond _MOST_UNSENT its reader is let go
        self._bytes = 0
        self._came = asyncio.Event()
        self._ended = asyncio.Event()
        self._coming: asyncio.Timeout | None = None  # around what is waited for from the client
        self._heard_at: Seconds = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._events = Allowance(limits.events_per_second, limits.events_burst)
        self._sound = Allowance(limits.audio_rate, limits.audio_burst)
        self.code, self.reason = 1000, ""
        self.has_heard_much = False

    def put(self, event: dict[str, Any]) -> None:
        """Send an event, behind those that wait."""
        if self._ended.is_set():
            return
        events = beta.for_client(event) if self._is_beta else (event,)
        for each in events:
            told = {"event_id": f"event_{secrets.token_hex(10)}", **each}
            text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
            self._unsent.append(text)
            self._bytes += len(text)
        if self._bytes > _MOST_UNSENT:
            self._let_go(_POLICY, "events are not read as fast as they come")
        self._came.set()

    def end(self) -> None:
        """Nothing more will be sent."""
        if self._idle is not None:
            self._idle.cancel()
        self._ended.set()
        self._came.set()

    async def send(self) -> None:
        """Send what comes, until the end."""
        while True:
            while self._unsent:
                text = self._unsent.popleft()
                self._bytes -= len(text)
                try:
                    async with asyncio.timeout(_SLOW):
                        await self._socket.send_text(text)
                except TimeoutError:
                    self._let_go(_POLICY, "events are not read as fast as they come")
                    return
                except (WebSocketDisconnect, RuntimeError, OSError):
                    self._let_go(_GOING, "")
                    return
            if self._ended.is_set():
                return
            self._came.clear()
            await self._came.wait()

    async def next(self) -> dict[str, Any] | None:
        """The client's next event; None once there is none. What is no event is told it is none."""
        while not self._ended.is_set():
            text = await self._message()
            if text is None:
                return None
            event_id = None
            try:
                event = wire.parse(text)
                event_id = event.get("event_id")
                if self._is_beta:
                    event = beta.from_client(event)
                self._count()
                event = wire.check(event)
                self._count_sound(event)
                return event
            except Fault as fault:
                self.put(fault.as_event(event_id))
                if fault.code == "rate_limit_exceeded":
                    await asyncio.sleep(_PAUSE)
        return None

    async def close(self, code: int, reason: str) -> None:
        """Close the socket, if it is open."""
        try:
            async with asyncio.timeout(_SLOW):
                await self._socket.close(code, reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            log.debug("a client was gone before its socket was closed")

    def watch(self) -> None:
        """From now on let a client go that sends nothing."""
        self._heard_at = asyncio.get_running_loop().time()
        self._look()

    def _look(self) -> None:
        # One timer at a time, looked at seldom: a timer for each frame is dear.
        loop = asyncio.get_running_loop()
        due = self._heard_at + self._limits.idle_seconds
        if loop.time() >= due:
            self._let_go(_GOING, "nothing came for too long")
        elif not self._ended.is_set():
            self._idle = loop.call_at(due, self._look)

    async def _message(self) -> str | bytes | None:
        """The next message; None where there is none, or the session was let go meanwhile."""
        try:
            # Without a time of its own: `_let_go` ends it.
            async with asyncio.timeout(None) as self._coming:
                message = await self._socket.receive()
        except TimeoutError:
            return None
        finally:
            self._coming = None
        self._heard_at = asyncio.get_running_loop().time()
        if message["type"] != "websocket.receive":
            return None
        text: str | bytes = message.get("text") or message.get("bytes") or ""
        self.has_heard_much = self.has_heard_much or len(text) > _MUCH
        if len(text) > self._limits.message_bytes:
            self._let_go(_TOO_BIG, f"messages have at most {self._limits.message_bytes} bytes")
            return None
        return text

    def _count(self) -> None:
        """Take an event from what a client may send.

        Raises:
            Fault: it sends more.
        """
        if not self._events.take():
            raise Fault("too many events; slow down", code="rate_limit_exceeded")

    def _count_sound(self, event: dict[str, Any]) -> None:
        """The same of its sound."""
        length = _sound_in(event)
        if length and not self._sound.take(length * 3 / 4 / 48_000):
            raise Fault(
                f"sound comes faster than {self._limits.audio_rate:g} times as fast as it is "
                "heard; slow down",
                code="rate_limit_exceeded",
                param="audio",
            )

    def _let_go(self, code: int, reason: str) -> None:
        if not self._ended.is_set():
            self.code, self.reason = code, reason
        self._unsent.clear()
        self._bytes = 0
        if self._coming is not None:
            self._coming.reschedule(asyncio.get_running_loop().time())
        self.end()


def _sound_in(event: dict[str, Any]) -> int:
    """Characters of base64 in an event."""
    match event["type"]:
        case "input_audio_buffer.append":
            return len(event["audio"])
        case "conversation.item.create":
            parts = event["item"].get("content") or ()
            return sum(len(part.get("audio") or "") for part in parts)
        case _:
            return 0
