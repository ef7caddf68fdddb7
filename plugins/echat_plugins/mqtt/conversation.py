"""One device's conversation: its agent, its line, its commands, and what it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from echat_plugins.mqtt.affect import STEP, Face
from echat_plugins.mqtt.device_tools import DeviceTools
from echat_plugins.mqtt.line import Line
from echat_plugins.mqtt.messages import (
    Answer,
    Bye,
    Call,
    Code,
    Command,
    Flush,
    Hello,
    Interrupt,
    Message,
    Mute,
    Tell,
    Welcome,
    new_id,
)
from echat_plugins.mqtt.options import MQTTOptions
from echat_plugins.mqtt.sending import Sending
from echat_plugins.mqtt.telling import told
from echat_plugins.mqtt.topics import Leaf
from echat_sdk.agent.agent import Agent
from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds, Waveform
from echat_sdk.errors import ConfigError, EChatError, UnsupportedError
from echat_sdk.protocols import VAD
from echat_sdk.turn import Lang

CONTROL_WITHIN: Seconds = 30.0
"""So long a control message is tried to be sent."""
EVENT_WITHIN: Seconds = 10.0
FLUSH_WITHIN: Seconds = 2.0

_TICK: Seconds = STEP / 4


class Conversation:
    """A device's conversation; `run` it. The rest is called from the same event loop.

    Args:
        service: Makes agents.
        options: Caps and times.
        hello: With which the device came.
        user: Whom it speaks for; None for a guest.
        vad: Its own.
        control: For control messages, which must arrive at it.
        events: The same for events, which may fall behind.
        topic: The device's topics.
        send: Sends without waiting, and perhaps not at all.

    Attributes:
        session: Its id.
    """

    def __init__(
        self,
        service: Service,
        options: MQTTOptions,
        hello: Hello,
        *,
        user: str | None,
        vad: VAD,
        control: Sending,
        events: Sending,
        topic: Callable[[Leaf], str],
        send: Callable[[str, bytes], None],
    ) -> None:
        self.session = new_id()
        self._service = service
        self._options = options
        self._control = control
        self._events = events
        self._topic = topic
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._face = Face()
        self._lang: Lang = "zh" if (hello.lang or service.lang) == "zh" else "en"
        self._line = Line(
            hello.sound,
            hears=hello.stream,
            send=lambda payload: send(topic("out/audio"), payload),
            on_play=self._played,
            on_flush=self._flushed,
            ahead=options.ahead_ms / 1000,
            reorder=options.reorder_ms / 1000,
        )
        disclosure = service.disclosure(self._lang)
        self._disclosure = disclosure[:2000]
        self._agent: Agent = service.agent(
            self._line,
            vad,
            user=user,
            greeting=disclosure if options.says_disclosure else "",
        )
        self._tools = DeviceTools(self._call, options.caps.calls_per_minute)
        self._commands: deque[tuple[Command, Callable[[bytes], None]]] = deque()
        self._has_commands = asyncio.Event()
        self._hello = hello
        self._last_word = self._now()
        self._away_since: Seconds | None = None
        self._reason: str | None = None
        self._over = asyncio.Event()

    async def run(self, on_begun: Callable[[], None]) -> None:
        """Converse until the device says goodbye, is gone too long, or says nothing too long.

        Args:
            on_begun: Called once the agent is there.

        Raises:
            EChatError: it cannot be held.
        """
        async with self._agent, asyncio.TaskGroup() as group:
            on_begun()
            tasks = [
                group.create_task(self._tell(), name="echat-mqtt-tell"),
                group.create_task(self._show(), name="echat-mqtt-show"),
                group.create_task(self._work(), name="echat-mqtt-commands"),
                group.create_task(self._watch(), name="echat-mqtt-watch"),
            ]
            await self._over.wait()
            self._agent.end()
            for task in tasks[1:]:
                task.cancel()

    def hear(self, payload: bytes) -> None:
        """A frame of the device's.

        Raises:
            FrameError: it is none.
        """
        self._line.take(payload)
        self._last_word = self._now()
        self._away_since = None

    def take(self, command: Command, done: Callable[[bytes], None]) -> bool:
        """A command of the device's; False where too many wait, or it is over.

        Args:
            command: Which.
            done: Given the answer, once.
        """
        if self._over.is_set() or len(self._commands) >= self._options.caps.commands:
            return False
        self._last_word = self._now()
        self._commands.append((command, done))
        self._has_commands.set()
        return True

    def answered(self, answer: Answer) -> None:
        """The device answered something; what nobody waits for is nothing."""
        self._tools.take(answer)

    def away(self) -> None:
        """The device is gone; it may come back."""
        self._away_since = self._now() if self._away_since is None else self._away_since

    def end(self, reason: str) -> None:
        """End it."""
        self._reason = self._reason or reason
        self._over.set()

    def undone(self) -> Iterator[str]:
        """The ids of commands that were taken and will not be done, once it is over."""
        while self._commands:
            yield self._commands.popleft()[0].id

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self._reason or "failed"

    # --- commands ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Do commands, one after the other."""
        while True:
            while self._commands:
                command, done = self._commands.popleft()
                done(self._answer_to(command).render())
                await asyncio.sleep(0)
            self._has_commands.clear()
            await self._has_commands.wait()

    def _answer_to(self, command: Command) -> Message:
        try:
            return self._do(command)
        except EChatError as error:
            return refusal(command.id, "failed", str(error))

    def _do(self, command: Command) -> Message:
        match command:
            case Hello():
                return self.welcome(command)
            case Tell(text=text):
                self._agent.tell(text)
            case Interrupt():
                self._agent.interrupt()
            case Mute(muted=muted):
                self._agent.mute(muted)
            case Bye(reason=reason):
                self.end(reason)
        return Answer(to=command.id)

    def welcome(self, hello: Hello) -> Welcome:
        """Begin, or go on, as a hello says.

        Raises:
            ConfigError: Opus is not here.
        """
        if hello is not self._hello:
            self._line.adapt(hello.sound, hello.stream)
        self._hello = hello
        self._away_since = None
        if hello.lang is not None:
            self._agent.conversation.speak_as(None, hello.lang)
        names, refused = self._offer(hello)
        return Welcome(
            to=hello.id,
            session=self.session,
            stream=self._line.says,
            sound=hello.sound,
            tools=names,
            refused=refused,
            disclosure=self._disclosure,
            agent=self._service.model.name[:200],
        )

    def _offer(self, hello: Hello) -> tuple[list[str], str | None]:
        try:
            tools = self._tools.made(hello.tools)
            self._agent.offer(tools)
        except (ConfigError, UnsupportedError) as error:
            self._agent.offer([])
            return [], str(error)[:400]
        return [tool.name for tool in tools], None

    def _call(self, call: Call) -> None:
        self._tell_control(call, within=call.within)

    # --- what the device is told ------------------------------------------------------------------

    async def _tell(self) -> None:
        async for event in self._agent.events():
            self._face.take(event, self._now())
            if (message := told(event)) is not None:
                topic = self._topic("out/event")
                self._events.put(topic, message.render(), within=EVENT_WITHIN)
        self.end("ending")

    async def _show(self) -> None:
        """Ten times a second at most, how the face should be."""
        due = self._now()
        while True:
            frame = self._face.frame(self._now(), self._line.timestamp)
            if frame is not None:
                self._send(self._topic("out/affect"), frame.render())
            due = max(due + _TICK, self._now())
            await asyncio.sleep(due - self._now())

    async def _watch(self) -> None:
        """End it where nobody is there any more."""
        caps = self._options.caps
        while True:
            await asyncio.sleep(min(1.0, caps.idle / 4, caps.away / 4))
            now = self._now()
            if now - self._last_word > caps.idle:
                self.end("idle")
            if self._away_since is not None and now - self._away_since > caps.away:
                self.end("gone")

    def _played(self, samples: Waveform, at: Seconds) -> None:
        self._face.play(samples, self._line.output_rate, at)

    def _flushed(self, first: int, end: int) -> None:
        self._face.drop(self._now())
        flush = Flush(id=new_id(), stream=self._line.says, first=first, end=end)
        self._tell_control(flush, within=FLUSH_WITHIN)

    def _tell_control(self, message: Message, *, within: Seconds) -> None:
        self._control.put(self._topic("out/control"), message.render(), within=within)


def refusal(to: str, code: Code, why: str) -> Answer:
    """An answer that says no."""
    return Answer(to=to, ok=False, code=code, message=" ".join(why.split())[:400])
