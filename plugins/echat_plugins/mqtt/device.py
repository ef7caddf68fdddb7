"""The device's side: what a robot's builder uses.

```python
async with Device(DeviceOptions(device="robot1"), tools=[wave]) as device:
    device.hear(samples)      # what its microphone hears, 16 kHz
    samples = device.pull()   # the next 20 ms for its speaker, 24 kHz
    face = device.affect      # how its face should be now
```
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from echat_plugins.mqtt.client import first
from echat_plugins.mqtt.commands import ANSWER, Commands
from echat_plugins.mqtt.device_options import MOST_BYTES, DeviceOptions, outbox_of
from echat_plugins.mqtt.frame import MOST
from echat_plugins.mqtt.greeting import Greeting
from echat_plugins.mqtt.link import Incoming, Link
from echat_plugins.mqtt.messages import (
    AFFECT,
    EVENT,
    OUT_CONTROL,
    PRESENCE,
    Affect,
    Answer,
    Bye,
    Call,
    Flush,
    Hello,
    Interrupt,
    Message,
    MessageError,
    Mute,
    Presence,
    Tell,
    Welcome,
    new_id,
    read,
)
from echat_plugins.mqtt.microphone import Microphone
from echat_plugins.mqtt.once import Once
from echat_plugins.mqtt.sending import Sending
from echat_plugins.mqtt.skills import Skills
from echat_plugins.mqtt.speaker import Speaker
from echat_plugins.mqtt.topics import SERVER, Address, Leaf, to_device
from echat_sdk.audio import FRAME_SECONDS, Seconds, Waveform
from echat_sdk.errors import ConfigError, EChatError
from echat_sdk.tools import Tool

log = logging.getLogger(__name__)

MOST_EVENTS = 256
"""Events that wait for a reader; of more, the oldest are dropped."""


class Device:
    """A robot at its broker; to be entered with `async with`. Used from the event loop's thread.

    Args:
        options: What it is.
        tools: What it can do; made by `echat_sdk.tools.tool`.

    Raises:
        ConfigError: two tools have one name, or there are too many. On entering: the outbox cannot
            be used. On leaving: the broker never let us in.
        StoreError: on entering: the outbox cannot be read.
    """

    def __init__(self, options: DeviceOptions, *, tools: Sequence[Tool] = ()) -> None:
        loop = asyncio.get_running_loop()
        self._options = options
        self._clock = loop.time
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._skills = Skills(tools)
        self._speaker = Speaker(options.sound)
        self._microphone: Microphone | None = None
        self._is_muted = False
        self._once = Once()
        self._events: deque[Message] = deque(maxlen=MOST_EVENTS)
        self._has_events = asyncio.Event()
        self._link = Link(
            options.broker.named(f"echat-{options.tenant}-{options.device}"),
            subscriptions=[
                (to_device(options.tenant, options.device), 1),
                (str(Address(options.tenant, SERVER, "presence")), 1),
            ],
            will=(self._topic("presence"), Presence(online=False).render()),
            most_bytes=MOST_BYTES,
            on_message=self._take,
            on_up=self._up,
            on_down=self._down,
        )
        self._answers = Sending(self._link.send_sure, MOST_EVENTS)
        self._commands = Commands(
            self._send_control,
            outbox_of(options),
            most=options.most_commands,
            keeps=options.keeps,
            on_answer=self._tell,
        )
        self._greeting = Greeting(
            self._send_control,
            self._hello,
            on_begun=self._begun,
            on_over=self._over,
            on_refused=self._tell,
        )
        if (size := len(self._hello(MOST, new_id()).render())) > MOST_BYTES:
            raise ConfigError(f"the tools take {size} bytes to tell of; at most {MOST_BYTES}")

    async def __aenter__(self) -> Self:
        try:
            await self._commands.open()
        except EChatError:
            await self._commands.close()
            raise
        await self._group.__aenter__()
        for name, work in (
            ("link", self._link.run()),
            ("answers", self._answers.run()),
            ("commands", self._commands.run()),
            ("greeting", self._greeting.run()),
        ):
            self._spawn(work, name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as errors:
            found = first(errors)
            raise found from (None if isinstance(found, EChatError) else errors)
        finally:
            self._speaker.close()
            self._skills.close()
            await self._commands.close()

    # --- what a builder uses ----------------------------------------------------------------------

    @property
    def welcome(self) -> Welcome | None:
        """What the server said when it took us; None while nobody listens."""
        return self._greeting.welcome

    @property
    def waiting(self) -> int:
        """Commands that are not answered yet."""
        return len(self._commands)

    @property
    def link(self) -> Link:
        """The connection, and what was counted of it."""
        return self._link

    @property
    def speaker(self) -> Speaker:
        """What is to be heard, and what was counted of it."""
        return self._speaker

    async def ready(self) -> Welcome:
        """Wait until an agent listens."""
        return await self._greeting.ready()

    def hear(self, samples: Waveform) -> None:
        """Send what the microphone heard, int16 mono at 16 kHz, of any length.

        What comes while nobody listens, or while it is muted, is dropped.
        """
        if self._is_muted:
            return
        self._greeting.want()
        if self._microphone is not None:
            for payload in self._microphone.frames(samples):
                self.send_audio(payload)

    def pull(self) -> Waveform:
        """The next 20 ms for the speaker, 24 kHz; silence where nothing is said. Shape [480]."""
        return self._speaker.pull()

    async def sound(self) -> AsyncIterator[Waveform]:
        """As `pull`, every 20 ms at their time, for a device whose speaker has no clock."""
        due = self._clock()
        while True:
            due += FRAME_SECONDS
            await asyncio.sleep(due - self._clock())
            yield self._speaker.pull()

    @property
    def affect(self) -> Affect | None:
        """How the face should be now, in step with what was pulled last; None before the first."""
        return self._speaker.affect

    async def events(self) -> AsyncIterator[Message]:
        """What the agent heard, says and does, and what came of our commands. For one reader."""
        while True:
            while self._events:
                yield self._events.popleft()
            self._has_events.clear()
            await self._has_events.wait()

    async def tell(self, text: str) -> None:
        """Say something in writing; done once, even if the broker is away until later.

        Raises:
            StoreError: too much waits; it will not be said.
            ValidationError: of pydantic: the text is empty, or longer than 2,000 characters.
        """
        self._greeting.want()
        await self._commands.put(Tell(id=new_id(), text=text))

    async def mute(self, is_muted: bool = True) -> None:
        """Send no more sound, and have the agent stop listening; or listen again.

        Raises:
            StoreError: too much waits; the agent is not told. No sound is sent all the same.
        """
        self._is_muted = is_muted
        await self._commands.put(Mute(id=new_id(), muted=is_muted))

    def interrupt(self) -> None:
        """Have the agent stop what it says; of no use later, so it is not kept."""
        if self.welcome is not None:
            self._put_control(Interrupt(id=new_id()), within=1.0)

    def goodbye(self) -> None:
        """End the conversation; the next sound or word begins another."""
        if self.welcome is not None:
            self._put_control(Bye(id=new_id()), within=1.0)
            self._greeting.over(wants=False, forgets=True)

    # --- to be overridden by who tries bad networks -----------------------------------------------

    def send_audio(self, payload: bytes) -> None:
        """Send a frame."""
        self._link.send(self._topic("in/audio"), payload)

    def take_audio(self, payload: bytes) -> None:
        """A frame came."""
        self._speaker.take(payload)

    # --- what comes -------------------------------------------------------------------------------

    async def _up(self) -> None:
        online = Presence(online=True).render()
        await self._link.send_sure(self._topic("presence"), online, retain=True)

    def _down(self) -> None:
        self._greeting.server(None)

    def _take(self, incoming: Incoming) -> None:
        address, payload = Address.of(incoming.topic), incoming.payload
        if address is None or payload is None:
            return
        try:
            if address.device == SERVER:
                self._greeting.server(read(PRESENCE, payload))
            elif incoming.retain:
                return  # it was said at another time
            elif address.leaf == "out/audio":
                self.take_audio(payload)
            elif address.leaf == "out/affect":
                self._speaker.show(read(AFFECT, payload))
            elif address.leaf == "out/event":
                self._tell(read(EVENT, payload))
            elif address.leaf == "out/control":
                self._control(read(OUT_CONTROL, payload))
        except MessageError:
            log.warning("a message on %s cannot be read", address.leaf)

    def _control(self, message: Message) -> None:
        match message:
            case Welcome():
                self._greeting.take(message)
            case Answer():
                is_awaited = self._greeting.take(message) or self._commands.take(message)
                if not is_awaited and not message.ok:
                    self._tell(message)
            case Flush() if self._is_new(message.id):
                self._speaker.flush(message)
                self._reply(Answer(to=message.id))
            case Call() if self._is_new(message.id):
                self._spawn(self._called(message), "call")
            case Bye():
                self._greeting.over(wants=message.reason != "idle", forgets=True)
                self._tell(message)

    def _is_new(self, command: str) -> bool:
        """Whether it is done for the first time; else what was answered is answered again."""
        if self._once.begin(command):
            return True
        if (answer := self._once.answer(command)) is not None:
            self._answers.put(self._topic("in/control"), answer, within=ANSWER)
        return False

    async def _called(self, call: Call) -> None:
        self._reply(await self._skills.do(call))

    def _reply(self, answer: Answer) -> None:
        self._once.done(answer.to, answer.render())
        self._put_control(answer, within=ANSWER)

    # --- the session ------------------------------------------------------------------------------

    def _hello(self, stream: int, session: str | None) -> Hello:
        options = self._options
        return Hello(
            id=new_id(),
            stream=stream,
            session=session,
            sound=options.sound,
            lang=options.lang,
            tools=self._skills.offers,
        )

    def _begun(self, hello: Hello, welcome: Welcome) -> None:
        self._microphone = Microphone(hello.sound, hello.stream)
        self._speaker.begin(welcome.stream)
        self._commands.ready(True)
        self._tell(welcome)

    def _over(self) -> None:
        self._microphone = None
        self._commands.ready(False)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._group.create_task(work, name=f"echat-device-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what goes --------------------------------------------------------------------------------

    async def _send_control(self, payload: bytes) -> bool:
        return await self._link.send_sure(self._topic("in/control"), payload)

    def _put_control(self, message: Message, *, within: Seconds) -> None:
        self._answers.put(self._topic("in/control"), message.render(), within=within)

    def _tell(self, message: Message) -> None:
        self._events.append(message)
        self._has_events.set()

    def _topic(self, leaf: Leaf) -> str:
        return str(Address(self._options.tenant, self._options.device, leaf))
