"""One device's session: what it says is done, one after the other; what the agent does, told."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from typing import Any

import numpy as np

from echat_plugins.xiaozhi.device_tools import DeviceTools
from echat_plugins.xiaozhi.faults import Fault
from echat_plugins.xiaozhi.line import DeviceLine
from echat_plugins.xiaozhi.messages import Abort, Goodbye, Hello, Listen, Mcp, Message, Mode
from echat_plugins.xiaozhi.options import Device, XiaozhiOptions
from echat_plugins.xiaozhi.opus import HEARD_RATE, Decoder
from echat_plugins.xiaozhi.talk import Talk
from echat_plugins.xiaozhi.wiring import GOING, Wiring
from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import State, StateChanged
from echat_sdk.agent.service import Service
from echat_sdk.audio import FRAME_SECONDS, Seconds
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import ConfigError, UnsupportedError
from echat_sdk.protocols import VAD
from echat_sdk.server.realtime.faults import Fault as TooMuch
from echat_sdk.turn import Lang

log = logging.getLogger(__name__)

_LOOK: Seconds = 1.0
_TAIL = np.zeros(HEARD_RATE // 10, np.int16)  # what a resampler holds back comes out by it
_HERE: dict[Lang, str] = {"en": "I'm here.", "zh": "我在。"}


class Session:
    """What a device's connection is to us.

    Args:
        service: What is served.
        options: As the transport's.
        device: What is known of the device.
        hello: What it said first.
        wiring: Its messages, both ways.
        vad: Tells speech; its own.
    """

    def __init__(
        self,
        service: Service,
        options: XiaozhiOptions,
        device: Device,
        hello: Hello,
        wiring: Wiring,
        vad: VAD,
    ) -> None:
        self._options = options
        self._hello = hello
        self._wiring = wiring
        self._lang: Lang = "zh" if service.lang == "zh" else "en"
        self._greeting = options.greeting or service.greeting or _HERE[self._lang]
        self._wake_words = {_letters(each) for each in options.wake_words}
        self._line = DeviceLine(
            options.lead,
            wiring.put_sound,
            on_sound=lambda said: self._talk.sounds(said),
            on_dropped=self._cut_off,
        )
        self._talk = Talk(wiring.put, self._lang, on_over=self._line.restart)
        self._tools = DeviceTools(self._send_mcp, options)
        self._decoder = Decoder()
        self._agent = service.agent(self._line, vad, user=device.user, voice=device.voice)
        self._mode: Mode = "auto"
        self._listens = False
        self._held: Ear | None = None  # what is said while a button is held
        self._quiet_since: Seconds = 0.0

    async def run(self) -> None:
        """Do what the device says until it goes, or nobody says anything any more."""
        async with self._agent:
            self._agent.mute()  # until the device listens
            self._quiet_since = self._now()
            try:
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self._tell(), name="echat-xiaozhi-telling"),
                        group.create_task(self._watch(), name="echat-xiaozhi-watch"),
                    ]
                    if self._hello.features.mcp:
                        tools = self._offer_tools()
                        beside.append(group.create_task(tools, name="echat-xiaozhi-tools"))
                    while (said := await self._wiring.next()) is not None:
                        if isinstance(said, bytes):
                            self._hear(said)
                        elif isinstance(said, Goodbye):
                            break
                        else:
                            await self._do(said)
                    for task in beside:
                        task.cancel()
            finally:
                self._wiring.end()

    # --- what the device says ---------------------------------------------------------------------

    async def _do(self, message: Message) -> None:
        match message:
            case Listen(state="start", mode=mode):
                self._listen(mode)
            case Listen(state="stop"):
                self._stop_listening()
            case Listen(state="detect", text=text):
                self._woken(text)
            case Abort():
                await self._abort()
            case Mcp(payload=payload):
                self._tools.take(payload)

    def _listen(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "manual":
            self._agent.mute()
            if self._is_busy:
                self._agent.interrupt()
            self._held = self._agent.conversation.spoken()
        elif not self._listens or self._held is not None:
            self._held = None
            self._agent.mute(False)
        self._listens = True

    def _stop_listening(self) -> None:
        held, self._held = self._held, None
        self._listens = False
        if held is None:
            return  # silence follows, by which the turn ends
        held.push(self._line.framed(_TAIL, HEARD_RATE))
        if held.frames * FRAME_SECONDS > len(_TAIL) / HEARD_RATE:
            self._agent.conversation.answer(held)

    def _woken(self, text: str) -> None:
        """Somebody said the wake word, or the device passes words on."""
        if not text.strip():
            return
        does = self._options.wake if _letters(text) in self._wake_words else "answer"
        if does == "greet":
            self._agent.say(self._greeting, ReplyEmotion.HAPPY)
        elif does == "answer":
            self._agent.tell(text)

    async def _abort(self) -> None:
        self._talk.cut()
        self._wiring.drop_sound()
        self._agent.interrupt()
        await self._agent.conversation.settled()

    def _hear(self, packet: bytes) -> None:
        try:
            samples = self._decoder.decode(packet)
        except Fault as fault:
            self._wiring.blame(fault)
            return
        if not self._wiring.takes(len(samples) / HEARD_RATE):
            self._wiring.blame(Fault("sound comes faster than it is heard"))
            return
        if self._held is not None:
            if self._held.frames * FRAME_SECONDS >= self._options.utterance_seconds:
                self._stop_listening()
                return
            self._held.push(self._line.framed(samples, HEARD_RATE))
        elif self._listens and (self._mode == "realtime" or not self._talk.is_speaking):
            try:
                self._line.hear(samples, HEARD_RATE)
            except TooMuch:
                self._wiring.blame(Fault("too much sound waits"))

    # --- what the agent does ----------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        return self._talk.is_speaking or self._agent.state is State.THINKING

    async def _tell(self) -> None:
        async for event in self._agent.events():
            self._talk.tell(event)
            if isinstance(event, StateChanged):
                self._quiet_since = self._now()

    async def _watch(self) -> None:
        """End what nobody uses any more."""
        while True:
            await asyncio.sleep(_LOOK)
            quiet = self._now() - self._quiet_since
            if quiet >= self._options.quiet_seconds and not self._is_busy:
                self._wiring.let_go("nobody said anything for long", GOING)
                return

    async def _offer_tools(self) -> None:
        if not (tools := await self._tools.discover()):
            return
        try:
            self._agent.offer(tools)
        except (ConfigError, UnsupportedError) as error:
            log.info("a device's tools cannot be used: %s", error)

    def _cut_off(self) -> None:
        self._talk.cut()
        self._wiring.drop_sound()

    def _send_mcp(self, payload: dict[str, Any]) -> None:
        self._wiring.put({"type": "mcp", "payload": payload})

    def _now(self) -> Seconds:
        return asyncio.get_running_loop().time()


def _letters(text: str) -> str:
    """A text without marks, spaces and case."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LN")
