"""The data channel of a call: events in under caps, events out."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from echat_sdk.audio import Seconds
from echat_sdk.server.allowance import Allowance
from echat_sdk.server.limits import Limits
from echat_sdk.server.realtime import wire
from echat_sdk.server.realtime.faults import Fault

log = logging.getLogger(__name__)

LABEL = "oai-events"
"""The name of the channel, as OpenAI's clients call it."""

_MOST_MESSAGE = 256 * 1024
_MOST_UNREAD = 4 * 1024 * 1024  # bytes of messages that wait to be done
_MOST_UNSENT = 4 * 1024 * 1024
_FLOOD = "events came faster than they can be done"
_IN_EVENTS = "response.output_audio.delta"  # on the track instead


class Channel:
    """One caller's events, both ways.

    Args:
        limits: Caps.
        on_told: Told of each event that was sent.
    """

    def __init__(self, limits: Limits, on_told: Callable[[dict[str, Any]], None]) -> None:
        self._limits = limits
        self._on_told = on_told
        self._events = Allowance(limits.events_per_second, limits.events_burst)
        # Where more wait, in number or in bytes, the call ends: a data channel cannot be held back.
        self._unread: asyncio.Queue[str | bytes | dict[str, Any]] = asyncio.Queue(
            limits.events_burst
        )
        self._bytes = 0
        self._channel: RTCDataChannel | None = None
        self._opened = asyncio.Event()
        self._ended = asyncio.Event()
        self._active_at = 0.0

    def take(self, channel: RTCDataChannel) -> None:
        """Use a channel that the caller opened, if it is the one for events."""
        if self._channel is not None or channel.label != LABEL:
            channel.close()
            return
        self._channel = channel
        channel.on("message", self._message)
        channel.on("close", self.end)
        self._opened.set()

    async def opened(self) -> bool:
        """Wait until it is open; False where the call ended before."""
        await self._opened.wait()
        return not self._ended.is_set()

    def end(self, why: str = "") -> None:
        """Nothing more will come or go.

        Args:
            why: For the log, where somebody broke a rule.
        """
        if why and not self._ended.is_set():
            log.warning("a call was ended: %s", why)
        self._ended.set()
        self._opened.set()

    def is_idle(self, now: Seconds) -> bool:
        """Whether nothing came for too long."""
        return now - self._active_at > self._limits.idle_seconds

    def heard(self) -> None:
        """The caller is there: sound came, or an event."""
        self._active_at = asyncio.get_running_loop().time()

    def put(self, event: dict[str, Any]) -> None:
        """Send an event."""
        if event["type"] == _IN_EVENTS:
            return
        self._send(event)
        self._on_told(event)

    def ask(self, event: dict[str, Any]) -> None:
        """Have something done as if the caller had asked for it."""
        self._wait(event)

    async def next(self) -> dict[str, Any] | None:
        """The caller's next event; None once there is none. What is no event is told so."""
        while not self._ended.is_set():
            message = await self._or_end()
            if message is None or isinstance(message, dict):
                return message
            event_id = None
            try:
                event = wire.parse(message)
                event_id = event.get("event_id")
                if not self._events.take():
                    raise Fault("too many events; slow down", code="rate_limit_exceeded")
                if event["type"] == "input_audio_buffer.append":
                    raise Fault("in a call, sound comes on the audio track", param="audio")
                return wire.check(event)
            except Fault as fault:
                self.put(fault.as_event(event_id))
        return None

    async def _or_end(self) -> str | bytes | dict[str, Any] | None:
        async with asyncio.TaskGroup() as group:
            coming = group.create_task(self._unread.get(), name="echat-call-event")
            ending = group.create_task(self._ended.wait(), name="echat-call-ending")
            await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
            for task in (coming, ending):
                task.cancel()
        if not coming.done() or coming.cancelled():
            return None
        message = coming.result()
        if not isinstance(message, dict):
            self._bytes -= len(message)
        return message

    def _message(self, message: str | bytes) -> None:
        if self._ended.is_set():
            return
        self.heard()
        self._bytes += len(message)
        if len(message) > _MOST_MESSAGE:
            self.end("a message was too long")
        elif self._bytes > _MOST_UNREAD:
            self.end(_FLOOD)
        else:
            self._wait(message)

    def _wait(self, message: str | bytes | dict[str, Any]) -> None:
        try:
            self._unread.put_nowait(message)
        except asyncio.QueueFull:
            self.end(_FLOOD)

    def _send(self, event: dict[str, Any]) -> None:
        channel = self._channel
        if channel is None or self._ended.is_set():
            return
        told = {"event_id": f"event_{secrets.token_hex(10)}", **event}
        try:
            channel.send(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
        except InvalidStateError:
            self.end()
        except ValueError:  # longer than the caller's side takes
            if event["type"] == "error":
                self.end("not even an error fits into the caller's channel")
                return
            fault = Fault(f"{event['type']} is too long for this channel", code="too_large")
            self._send(fault.as_event(None))
        if channel.bufferedAmount > _MOST_UNSENT:
            self.end("events were not read as fast as they came")
