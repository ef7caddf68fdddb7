"""One device's messages, both ways: in under caps, out in order; a slow reader is let go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from echat_plugins.xiaozhi.binary import Version, packed, unpacked
from echat_plugins.xiaozhi.faults import Fault
from echat_plugins.xiaozhi.messages import Hello, Message, parsed
from echat_plugins.xiaozhi.options import XiaozhiOptions
from echat_plugins.xiaozhi.opus import FRAME_SECONDS, SAID_RATE
from echat_sdk.audio import Seconds
from echat_sdk.server.allowance import Allowance

log = logging.getLogger(__name__)

_SLOW: Seconds = 10.0
"""How long one message may take to be sent: whoever reads slower is let go."""

_MOST_UNSENT = 256  # messages that wait; beyond that their reader is let go
_MOST_BAD = 50  # messages that cannot be read, of one device

GOING, POLICY, FAILED = 1000, 1008, 1011
"""Codes with which a socket is closed."""


class Wiring:
    """A device's socket, accepted.

    Args:
        socket: Of the device.
        options: Caps.
        session: The id of the session.

    Attributes:
        code: With which the socket is closed.
        reason: Why, in words.
        version: Of the binary protocol.
    """

    def __init__(self, socket: WebSocket, options: XiaozhiOptions, session: str) -> None:
        self._socket = socket
        self._options = options
        self._session = session
        self._unsent: deque[str | bytes] = deque()  # bounded by _MOST_UNSENT: see `_put`
        self._came = asyncio.Event()
        self._ended = asyncio.Event()
        self._coming: asyncio.Timeout | None = None
        self._messages = Allowance(options.messages_per_second, options.messages_burst)
        self._sound = Allowance(options.sound_rate, options.sound_burst)
        self._bad = 0
        self.code, self.reason = GOING, ""
        self.version: Version = 1

    async def hello(self, claimed: int | None) -> Hello | None:
        """What the device says first; None where it says something else.

        Args:
            claimed: The version that its header told; None for none.
        """
        try:
            async with asyncio.timeout(self._options.hello_seconds):
                said = await self.next()
        except TimeoutError:
            said = None
        if not isinstance(said, Hello):
            self.let_go("say hello first")
            return None
        params = said.audio_params
        if said.transport != "websocket" or (params.format, params.channels) != ("opus", 1):
            self.let_go("Opus with one channel is taken, over this WebSocket")
            return None
        if said.version not in (1, 2, 3) or claimed not in (None, said.version):
            self.let_go("version: 1, 2 and 3 are spoken here, and the header must say the same")
            return None
        self.version = said.version  # type: ignore[assignment]
        return said

    def welcome(self) -> None:
        """Say hello back: from now on the device may speak."""
        params = {
            "format": "opus",
            "sample_rate": SAID_RATE,
            "channels": 1,
            "frame_duration": round(1000 * FRAME_SECONDS),
        }
        self.put({"type": "hello", "transport": "websocket", "audio_params": params})

    def put(self, message: dict[str, Any]) -> None:
        """Send a message, behind those that wait."""
        told = {"session_id": self._session, **message}
        self._put(json.dumps(told, ensure_ascii=False, separators=(",", ":")))

    def put_sound(self, packet: bytes, at_ms: int) -> None:
        """Send a packet of Opus, which is to be heard then."""
        self._put(packed(packet, self.version, at_ms))

    def drop_sound(self) -> None:
        """Do not send the sound that still waits."""
        kept = [each for each in self._unsent if isinstance(each, str)]
        self._unsent.clear()
        self._unsent.extend(kept)

    async def send(self) -> None:
        """Send what comes, until the end."""
        while True:
            while self._unsent:
                message = self._unsent.popleft()
                try:
                    async with asyncio.timeout(_SLOW):
                        if isinstance(message, str):
                            await self._socket.send_text(message)
                        else:
                            await self._socket.send_bytes(message)
                except TimeoutError:
                    self.let_go("messages are not read as fast as they come")
                    return
                except (WebSocketDisconnect, RuntimeError, OSError):
                    self.end()
                    return
            if self._ended.is_set():
                return
            self._came.clear()
            await self._came.wait()

    async def next(self) -> Message | bytes | None:
        """The next message, or packet of Opus; None once there is none."""
        while not self._ended.is_set():
            got = await self._message()
            if got is None:
                return None
            try:
                if not self._messages.take():
                    raise Fault("too many messages")
                if isinstance(got, bytes):
                    got = unpacked(got, self.version)
                if isinstance(got, bytes):
                    if len(got) > self._options.frame_bytes:
                        raise Fault(
                            f"a frame has {self._options.frame_bytes} bytes of Opus at most"
                        )
                    return got
                if (message := parsed(got)) is not None:
                    return message
            except Fault as fault:
                self.blame(fault)
        return None

    def takes(self, sound: Seconds) -> bool:
        """Whether a device may send so much more sound now."""
        return self._sound.take(sound)

    def blame(self, fault: Fault) -> None:
        """Let a message pass that cannot be read; after too many, let the device go."""
        self._bad += 1
        if self._bad == 1:
            log.info("a device sent what cannot be read: %s", fault)
        if self._bad > _MOST_BAD:
            self.let_go("too many messages cannot be read", POLICY)

    def let_go(self, reason: str, code: int = POLICY) -> None:
        """Send nothing more, and take nothing more."""
        if not self._ended.is_set():
            self.code, self.reason = code, reason
        self._unsent.clear()
        if self._coming is not None:
            self._coming.reschedule(asyncio.get_running_loop().time())
        self.end()

    def end(self) -> None:
        """Nothing more will be sent but what waits."""
        self._ended.set()
        self._came.set()

    async def close(self) -> None:
        """Close the socket, if it is open."""
        try:
            async with asyncio.timeout(_SLOW):
                await self._socket.close(self.code, self.reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            log.debug("a device was gone before its socket was closed")

    def _put(self, message: str | bytes) -> None:
        if self._ended.is_set():
            return
        self._unsent.append(message)
        if len(self._unsent) > _MOST_UNSENT:
            self.let_go("messages are not read as fast as they come")
        self._came.set()

    async def _message(self) -> str | bytes | None:
        """The next that comes; None where nothing does, or the device was let go meanwhile."""
        try:
            try:
                async with asyncio.timeout(self._options.idle_seconds) as self._coming:
                    message = await self._socket.receive()
            finally:
                self._coming = None
        except TimeoutError:  # or it was let go meanwhile
            self.let_go("nothing came for too long", GOING)
            return None
        if message["type"] != "websocket.receive":
            self.end()
            return None
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes") or b""
