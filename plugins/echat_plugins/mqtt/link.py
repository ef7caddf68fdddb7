"""The connection to a broker: kept up, with what goes over it in bounded queues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from echat_plugins.mqtt.broker import Broker
from echat_plugins.mqtt.client import ANSWER, NOT_ALLOWED, Client, first, number, refusal, shown
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.errors import ConfigError

log = logging.getLogger(__name__)

MOST_IN = 1024
"""Messages that wait to be looked at; of more, the oldest are dropped."""

MOST_OUT = 512
"""Frames that wait for the network; of more, the oldest are dropped."""

BACKOFF: tuple[Seconds, Seconds] = (0.1, 2.0)
"""The first wait before a connection is tried again, and the longest. Each is half luck."""

_GOODBYE: Seconds = 1.0
_SHORT: Seconds = 2.5
_SOON: Seconds = 0.3  # for what TLS has against us, before all; and once we were let in vain
_SHOWN: Seconds = 1.0
_TOLD_AGAIN: Seconds = 60.0
_TAKEN_OVER = 142  # MQTT 5's reason: another client came with our id
_OLD = (1, 132)  # an older broker's answer to MQTT 5, and MQTT 5's own
_NOT_GRANTED = 128


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came; `payload` is None where it was too large to be kept."""

    topic: str
    payload: bytes | None
    retain: bool = False


class Link:
    """A connection that comes back.

    Args:
        broker: Which.
        subscriptions: Filters and their quality of service.
        will: What the broker tells of us when we vanish: topic and payload, retained.
        most_bytes: Of a message; of a larger one, the topic alone is kept.
        on_message: Takes what comes. On the event loop, at once.
        on_up: Called whenever we are connected, before anything else is sent.
        on_down: Called whenever we are not any more.

    Attributes:
        is_up: Whether we are connected.
        dropped: Frames that were dropped since the network was too slow, or away.
        connections: How often we were connected.
        taken_over: How often another client seems to have taken our id: the broker said so, or
            connections were lost as soon as they were there.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        subscriptions: Sequence[tuple[str, int]],
        will: tuple[str, bytes],
        most_bytes: int,
        on_message: Callable[[Incoming], None],
        on_up: Callable[[], Awaitable[None]],
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._subscriptions = subscriptions
        self._will = will
        self._most_bytes = most_bytes
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._client: aiomqtt.Client | None = None
        self._out: deque[tuple[str, bytes]] = deque()  # bounded by MOST_OUT
        self._has_out = asyncio.Event()
        self._version = aiomqtt.ProtocolVersion.V5
        self._was_up = False
        self.dropped = 0
        self.connections = 0
        self.taken_over = 0
        self._told, self._told_at = "", 0.0  # what was logged last, and when
        self._lasted: Seconds = 0.0  # of the last connection
        self._short_lived = 0  # connections one after the other

    @property
    def is_up(self) -> bool:
        """Whether we are connected."""
        return self._client is not None

    @property
    def speaks_5(self) -> bool:
        """Whether the broker speaks MQTT 5, as far as it was tried."""
        return self._version is aiomqtt.ProtocolVersion.V5

    def send(self, topic: str, payload: bytes) -> None:
        """Send with QoS 0, without waiting; while we are not connected, it is dropped."""
        if self._client is None:
            self.dropped += 1
            return
        if len(self._out) >= MOST_OUT:
            self._out.popleft()
            self.dropped += 1
        self._out.append((topic, payload))
        self._has_out.set()

    async def send_sure(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send with QoS 1; whether the broker has it."""
        client = self._client
        if client is None:
            return False
        try:
            await client.publish(topic, payload, qos=1, retain=retain)
        except (aiomqtt.MqttError, ValueError):  # paho raises ValueError of what is too large
            return False
        finally:
            _see_cancelled()
        return True

    async def run(self) -> None:
        """Be connected, for ever.

        Raises:
            ConfigError: the broker does not let us in, its certificate is not to be trusted, or a
                file is wrong. Once we were connected, such things are logged and tried again.
        """
        reader = Worker("echat-mqtt-files")
        try:
            wait = BACKOFF[0]
            while True:
                self._lasted = 0.0
                error = await self._try(reader)
                _see_cancelled()
                wait = BACKOFF[0] if self._lasted > _SHORT else min(2 * wait, BACKOFF[1])
                if error is not None and self._heed(error):
                    wait = BACKOFF[1]  # two that fight for one id do it slowly
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        finally:
            reader.let_go()

    async def _try(self, reader: Worker) -> BaseException | None:
        """Be connected, as long as that lasts; why it does not."""
        error: BaseException | None = None
        is_first = not self._was_up
        try:
            context = await reader.call(self._broker.context)
            password = await reader.call(self._broker.password)
        except ConfigError as wrong:
            if is_first:
                raise
            return wrong
        if context is not None and is_first:
            error = await reader.call(shown, self._broker, context, _SOON)
        try:
            if error is not None:
                return error
            client = self._made(context, password)
            try:
                await self._connected(client)
            finally:
                client.forget()
        except* (aiomqtt.MqttError, OSError) as errors:
            error = first(errors)
        if error is not None and context is not None and not self._was_up:
            error = await reader.call(shown, self._broker, context, _SHOWN) or error
        return error

    def _made(self, context: ssl.SSLContext | None, password: str | None) -> Client:
        broker, is_5 = self._broker, self.speaks_5
        properties = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0  # nothing of ours stays with the broker
        topic, payload = self._will
        made = Client(
            broker.host,
            broker.where,
            username=broker.username,
            password=password if broker.username is not None else None,
            identifier=broker.client_id or None,
            protocol=self._version,
            clean_session=None if is_5 else True,
            clean_start=True if is_5 else MQTT_CLEAN_START_FIRST_ONLY,
            will=aiomqtt.Will(topic, payload, qos=1, retain=True),
            properties=properties,
            tls_context=context,
            keepalive=broker.keepalive,
            timeout=ANSWER,
            queue_type=self._inbox(),
        )
        made.pending_calls_threshold = 1000  # bounded by who sends
        made.be_quick()
        return made

    def _inbox(self) -> type[asyncio.Queue[aiomqtt.Message]]:
        """A queue that keeps at most so many messages, the newest, and none that is too large."""
        most = self._most_bytes

        class Inbox(asyncio.Queue[aiomqtt.Message]):
            def put_nowait(self, item: aiomqtt.Message) -> None:
                if len(item.payload) > most:
                    kept: Any = item
                    kept.payload = None
                if self.qsize() >= MOST_IN:
                    self.get_nowait()
                super().put_nowait(item)

        return Inbox

    async def _connected(self, client: Client) -> None:
        async with client:
            granted = await client.subscribe(list(self._subscriptions))
            if any(number(each) >= _NOT_GRANTED for each in granted):
                raise aiomqtt.MqttCodeError(NOT_ALLOWED)
            self._client = client
            self.connections += 1
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read(client), name="echat-mqtt-read")
                    group.create_task(self._write(client), name="echat-mqtt-write")
                    await self._on_up()
                    if client.not_allowed and not self._was_up:
                        raise aiomqtt.MqttCodeError(NOT_ALLOWED)
                    self._was_up = True
                    # Not in the group's own wait, where 3.11 leaves a task as if cancelled.
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                await self._goodbye(client)  # a will is told of who vanishes alone
                raise
            finally:
                self._lasted = asyncio.get_running_loop().time() - began
                self._short_lived = self._short_lived + 1 if self._lasted < _SHORT else 0
                self._client = None
                self._out.clear()
                self._on_down()

    async def _goodbye(self, client: aiomqtt.Client) -> None:
        topic, payload = self._will
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await client.publish(topic, payload, qos=1, retain=True)

    async def _read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload: Any = message.payload
            self._on_message(Incoming(str(message.topic), payload, bool(message.retain)))
            if len(client.messages) % 32 == 31:
                await asyncio.sleep(0)  # a flood holds up nobody else

    async def _write(self, client: aiomqtt.Client) -> None:
        while True:
            while self._out:
                await client.publish(*self._out.popleft(), qos=0)
                _see_cancelled()
            self._has_out.clear()
            await self._has_out.wait()

    def _heed(self, error: BaseException) -> bool:
        """Fall back to MQTT 3.1.1, give up, or try again; whether our id was taken."""
        code = max(number(getattr(each, "rc", None)) for each in (error, error.__cause__))
        if isinstance(error, MqttConnectError) and code in _OLD and self.speaks_5:
            self._version = aiomqtt.ProtocolVersion.V311
            return False
        if code == _TAKEN_OVER or self._short_lived >= 2:
            self.taken_over += 1
            self._tell(
                "another client seems to have our client id at the broker; give each its own"
            )
            return True
        refused = refusal(error, code)
        if refused and not self._was_up:
            raise ConfigError(f"the broker at {self._broker.host}: {refused}") from error
        self._tell(f"the broker is away ({refused or type(error).__name__}); trying again")
        return False

    def _tell(self, what: str) -> None:
        """Log it, unless it was the last that was logged, within a minute."""
        now = asyncio.get_running_loop().time()
        if what != self._told or now - self._told_at > _TOLD_AGAIN:
            self._told, self._told_at = what, now
            log.warning(what)


def _see_cancelled() -> None:
    """Be cancelled now, if we were.

    Python 3.11's `wait_for`, which aiomqtt uses, and its `TaskGroup` forget a cancellation that
    comes together with a result, or with an error.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
