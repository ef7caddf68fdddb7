"""The way in for robots: a `Transport` that gives each device an agent of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from echat_plugins.mqtt.client import first
from echat_plugins.mqtt.conversation import CONTROL_WITHIN, Conversation, refusal
from echat_plugins.mqtt.frame import FrameError
from echat_plugins.mqtt.link import Incoming, Link
from echat_plugins.mqtt.messages import (
    IN_CONTROL,
    PRESENCE,
    Answer,
    Bye,
    Code,
    Command,
    Hello,
    MessageError,
    Presence,
    id_of,
    new_id,
    read,
)
from echat_plugins.mqtt.options import MQTTOptions
from echat_plugins.mqtt.seat import Seat, Seats
from echat_plugins.mqtt.sending import Sending
from echat_plugins.mqtt.topics import SERVER, Address, of_all
from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.errors import EChatError

log = logging.getLogger(__name__)

_LAST: Seconds = 1.0  # for what is still to be told to a device
_QUIET = frozenset({"done", "replaced"})  # ends that a device is not told of


class MQTT:
    """Robots over MQTT.

    Args:
        options: How they are served.

    Attributes:
        refused: How often something was refused, by what was wrong with it.
    """

    def __init__(self, options: MQTTOptions | None = None) -> None:
        self._options = options or MQTTOptions()
        self.refused: Counter[str] = Counter()

    async def run(self, service: Service) -> None:
        """Serve devices until cancelled.

        Raises:
            EChatError: the broker does not let us in, or a file is wrong.
        """
        tenant = self._options.tenant
        ours = str(Address(tenant, SERVER, "presence"))
        here = Presence(online=True, instance=new_id()).render()
        self._service = service
        self._seats = Seats(self._options.caps, tenant)
        self._opening = Worker("echat-mqtt-opening")

        async def up() -> None:
            await self._link.send_sure(ours, here, retain=True)

        self._link = Link(
            self._options.broker.named(f"echat-{tenant}-{SERVER}"),
            subscriptions=[
                (of_all(tenant, "in/control"), 1),
                (of_all(tenant, "in/audio"), 0),
                (of_all(tenant, "presence"), 1),
            ],
            will=(ours, Presence(online=False).render()),
            most_bytes=self._options.caps.payload_bytes,
            on_message=self._take,
            on_up=up,
        )
        # Answers outlive the conversations that they are given in.
        self._desk = Sending(self._link.send_sure, self._options.caps.waiting)
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._link.run(), name="echat-mqtt-link")
                self._group.create_task(self._desk.run(), name="echat-mqtt-desk")
        except BaseExceptionGroup as errors:  # `except*` puts what it raises into a group again
            if (known := errors.subgroup(EChatError)) is None:
                raise
            raise first(known) from errors
        finally:
            self._opening.let_go()

    @property
    def devices(self) -> int:
        """How many are in a conversation."""
        return self._seats.taken

    # --- what comes -------------------------------------------------------------------------------

    def _take(self, incoming: Incoming) -> None:
        try:
            self._take_from(incoming)
        except Exception as error:  # noqa: BLE001 - edge: one message ends nothing
            self.refused["failed"] += 1
            log.error("a message could not be taken: %s", type(error).__name__)

    def _take_from(self, incoming: Incoming) -> None:
        address = Address.of(incoming.topic)
        if address is None or address.device == SERVER:
            return
        if address.leaf == "presence":
            self._presence(address.device, incoming.payload or b"")
        elif incoming.retain:
            self.refused["retained"] += 1  # it was said at another time
        elif address.leaf == "in/audio":
            self._audio(address.device, incoming.payload)
        else:
            self._control(self._seats.of(address.device), incoming.payload)

    def _presence(self, device: str, payload: bytes) -> None:
        seat = self._seats.find(device)
        if seat is None or seat.conversation is None:
            return
        try:
            presence: Presence = read(PRESENCE, payload)
        except MessageError:
            self.refused["malformed"] += 1
            return
        if not presence.online:
            seat.conversation.away()

    def _audio(self, device: str, payload: bytes | None) -> None:
        seat = self._seats.find(device)
        if seat is None or seat.conversation is None:
            self.refused["no_session"] += 1
        elif payload is None:
            self._refuse(seat, "", "too_large", self._too_large)
        elif not seat.frames.take():
            self.refused["too_many"] += 1
        else:
            try:
                seat.conversation.hear(payload)
            except FrameError as error:
                self._refuse(seat, "", "malformed", f"in/audio: {error}")

    def _control(self, seat: Seat, payload: bytes | None) -> None:
        if payload is None:
            self._refuse(seat, "", "too_large", self._too_large)
            return
        if not seat.controls.take():
            self._refuse(seat, id_of(payload), "too_many", "too many control messages; slow down")
            return
        try:
            message: Command | Answer = read(IN_CONTROL, payload)
        except MessageError as error:
            self._refuse(seat, id_of(payload), "malformed", f"in/control: {error}")
            return
        if isinstance(message, Answer):
            if seat.conversation is not None:
                seat.conversation.answered(message)
        elif seat.once.begin(message.id):
            self._do(seat, message)
        elif (answer := seat.once.answer(message.id)) is not None:
            self._desk.put(seat.topic("out/control"), answer, within=CONTROL_WITHIN)

    def _do(self, seat: Seat, command: Command) -> None:
        conversation = seat.conversation
        if isinstance(command, Hello):
            is_theirs = conversation is not None and command.session == conversation.session
            if conversation is None or not is_theirs:
                self._open(seat, command)
                return
        if conversation is None:
            self._refuse(seat, command.id, "no_session", "say hello first")
        elif not conversation.take(command, lambda answer: self._done(seat, command.id, answer)):
            self._refuse(seat, command.id, "too_many", "too many commands wait; slow down")

    def _done(self, seat: Seat, command: str, answer: bytes) -> None:
        seat.once.done(command, answer)
        self._desk.put(seat.topic("out/control"), answer, within=CONTROL_WITHIN)

    def _refuse(self, seat: Seat, command: str, code: Code, why: str) -> None:
        """Say no; the command was not done, and may come again."""
        self.refused[code] += 1
        seat.once.forget(command)
        if seat.refusals.take():
            answer = refusal(command, code, why).render()
            self._desk.put(seat.topic("out/control"), answer, within=CONTROL_WITHIN)

    @property
    def _too_large(self) -> str:
        return f"a message may have {self._options.caps.payload_bytes} bytes"

    # --- conversations ----------------------------------------------------------------------------

    def _open(self, seat: Seat, hello: Hello) -> None:
        """Begin a conversation, once the one before is over."""
        if seat.task is not None:
            if seat.next is not None:
                self._refuse(seat, seat.next.id, "refused", "another hello came after this one")
            seat.next = hello
            if seat.conversation is not None:
                seat.conversation.end("replaced")
        elif not self._options.guests and seat.device not in self._options.users:
            self._refuse(seat, hello.id, "refused", "this device is not known here")
        elif self._seats.taken >= self._options.caps.devices:
            self._refuse(seat, hello.id, "full", "too many devices; try again in a while")
        else:
            seat.task = self._group.create_task(
                self._hold(seat, hello), name="echat-mqtt-conversation"
            )

    async def _hold(self, seat: Seat, hello: Hello) -> None:
        """Hold one conversation after the other, as long as hellos come meanwhile."""
        try:
            following: Hello | None = hello
            while following is not None:
                await self._converse(seat, following)
                following, seat.next = seat.next, None
        finally:
            seat.task = None

    async def _converse(self, seat: Seat, hello: Hello) -> None:
        """Hold one conversation; what goes wrong in it ends it, and nothing else."""
        most = self._options.caps.waiting
        control, events = (Sending(self._link.send_sure, most) for _ in range(2))
        try:
            vad = await self._opening.call(self._service.open_vad)
            conversation = Conversation(
                self._service,
                self._options,
                hello,
                user=self._options.users.get(seat.device),
                vad=vad,
                control=control,
                events=events,
                topic=seat.topic,
                send=self._link.send,
            )
        except Exception as error:  # noqa: BLE001 - edge: others go on
            log.error("a device's conversation cannot be held: %s", type(error).__name__)
            self._refuse(seat, hello.id, "failed", "no conversation can be held just now")
            return

        def begun() -> None:
            seat.conversation = conversation
            if seat.next is not None:  # it came while the detector was opened
                conversation.end("replaced")
            self._done(seat, hello.id, conversation.welcome(hello).render())

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(each.run(), name="echat-mqtt-send") for each in (control, events)
            ]
            try:
                await conversation.run(begun)
            except Exception as error:  # noqa: BLE001 - edge: others go on
                log.error("a device's conversation failed: %s", type(error).__name__)
                if seat.once.answer(hello.id) is None:
                    self._refuse(seat, hello.id, "failed", "no conversation could be begun")
            finally:
                seat.conversation = None
                for command in conversation.undone():
                    seat.once.forget(command)
            if conversation.reason not in _QUIET:
                bye = Bye(id=new_id(), reason=conversation.reason).render()  # type: ignore[arg-type]
                control.put(seat.topic("out/control"), bye, within=_LAST)
            try:
                async with asyncio.timeout(_LAST):
                    await control.emptied()
                    await events.emptied()
            except TimeoutError:
                pass
            for task in tasks:
                task.cancel()
