"""A robot in the terminal, driven by MQTT alone: a face, lights, a mouth, and two tools.

python examples/robot.py --hear examples/audio/sad.wav --say answer.wav    # no sound card needed
python examples/robot.py --host broker.example --ca ca.crt --cert robot1.crt --key robot1.key

It needs a broker, and a server with the transport `mqtt`: see plugins/echat_plugins/mqtt/README.md.
Without files it uses this machine's microphone and speaker (pip install "echat-sdk[audio]"). Ctrl-C
ends it. `--loss 0.02 --jitter 0.05` makes a bad network of a good one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from echat_plugins.mqtt import Broker, Device, DeviceOptions
from echat_plugins.mqtt.messages import (
    Affect,
    Answer,
    Bye,
    HeardEvent,
    TextEvent,
    ToolEvent,
    TurnEvent,
    Welcome,
)
from echat_sdk import read_audio, write_audio
from echat_sdk.audio import frames
from echat_sdk.errors import EChatError
from echat_sdk.io.local import LocalAudio
from echat_sdk.io.timed import TimedAudio
from echat_sdk.protocols import AudioIO
from echat_sdk.tools import Tool, tool

RATE = 24_000
EYES = {"neutral": "o", "happy": "^", "tender": "u", "sad": "-", "surprise": "O", "concern": "ò"}
NOBODY = Affect(
    at=0,
    state="listening",
    valence=0,
    arousal=0,
    emotion="neutral",
    gaze="away",
    gesture="none",
    mouth=0,
    type="affect",
)


class Robot:
    """A body of text: what its tools did, and what its face shows."""

    def __init__(self) -> None:
        self.light = "off"
        self.arm = ""
        self.words = Text()
        self.is_there = False

    def tools(self) -> list[Tool]:
        """What it can do."""

        @tool(
            examples={
                "wave at me": {},
                "can you wave": {},
                "wave your left hand": {"hand": "left"},
            },
            looks_only=False,
        )
        async def wave(hand: Literal["left", "right"] = "right") -> str:
            """Wave a hand."""
            self.arm = hand
            await asyncio.sleep(1)
            self.arm = ""
            return "There, I waved."

        @tool(
            examples={
                "turn your light blue": {"colour": "blue"},
                "make your light red": {"colour": "red"},
                "switch your light off": {"colour": "off"},
            }
        )
        async def light(colour: Literal["red", "green", "blue", "off"]) -> str:
            """Change the colour of the light."""
            self.light = colour
            return f"My light is {colour} now."

        return [wave, light]

    def face(self, affect: Affect) -> Panel:
        """It, as it is now."""
        eye = EYES[affect.emotion]
        eyes = f"{eye}   {eye}" if affect.gaze == "user" else f"  {eye}   {eye}"
        mouth = ("___", "\\_/", "( )", "(O)")[min(3, round(affect.mouth * 3))]
        tilt = {"none": "", "nod": "  (nods)", "tilt": "  (tilts its head)"}[affect.gesture]
        warm, stirred = round((affect.valence + 1) * 3), round((affect.arousal + 1) * 3)
        lights = Text.assemble(
            ("■ " * warm, "yellow"), ("■ " * (6 - warm), "blue"), "  ", ("● " * stirred, "red")
        )
        lamp = Text(f"light {self.light}", style="dim" if self.light == "off" else self.light)
        arms = {"left": "\\o ", "right": " o/", "": " o "}[self.arm]
        lines = [Text(eyes + tilt), Text(f" {mouth}"), Text(arms), lights, lamp, self.words]
        title = affect.state if self.is_there else "nobody there"
        return Panel(Align.center(Group(*lines)), title=title, width=60)


class BadNetwork(Device):
    """A device whose sound is lost, or late, on its way, in both directions."""

    loss = jitter = 0.0

    def send_audio(self, payload: bytes) -> None:
        """Send a frame, or lose it, or send it late."""
        self._later(super().send_audio, payload)

    def take_audio(self, payload: bytes) -> None:
        """Take a frame, or lose it, or take it late."""
        self._later(super().take_audio, payload)

    def _later(self, do: object, payload: bytes) -> None:
        assert callable(do)
        if random.random() >= self.loss:
            asyncio.get_running_loop().call_later(random.uniform(0, self.jitter), do, payload)


async def listen(device: Device, audio: AudioIO) -> None:
    """Send what the microphone hears; ends with a recording."""
    await device.ready()
    async for frame in audio.frames():
        device.hear(frame.samples)


async def speak(device: Device, audio: AudioIO) -> None:
    """Play what the agent says, at its time."""
    async for samples in device.sound():
        if device.speaker.is_speaking:
            await audio.play(samples)


async def show(device: Device, robot: Robot, live: Live | None, moved: list[str]) -> None:
    """Show the face 40 times a second; write down how it moved, the last half hour of it."""
    try:
        async with asyncio.timeout(5):
            await device.ready()
    except TimeoutError:
        print("no server answers yet; does one run? echat serve --with mqtt", file=sys.stderr)  # noqa: T201
        await device.ready()
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        affect, robot.is_there = device.affect or NOBODY, device.welcome is not None
        moved.append(json.dumps({"seconds": round(clock() - began, 3), **affect.model_dump()}))
        del moved[:-72_000]
        if live is not None:
            live.update(robot.face(affect))
        await asyncio.sleep(0.025)


async def tell(device: Device, robot: Robot, console: Console, shows: bool) -> None:
    """Write down what happens."""
    said = ""
    async for event in device.events():
        line = ""
        match event:
            case Welcome():
                line = event.disclosure
            case HeardEvent():
                sounds = "" if event.sounds == "unknown" else f"  (may sound {event.sounds})"
                line, said = f"you     {event.transcript}{sounds}", ""
            case TextEvent(text=text):
                said += text
                robot.words = Text(said, style="bold")
            case TurnEvent():
                line = f"robot   {event.reply}"
            case ToolEvent():
                line = f"tool    {event.name} {event.stage}"
            case Answer(ok=False):
                line = f"refused {event.code}: {event.message}"
            case Bye():
                line = f"bye     {event.reason}"
        if line and not shows:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


async def run(asked: argparse.Namespace, moved: list[str]) -> None:
    """Be a robot until the recording ends, or for ever; write down how its face moved."""
    files = {"ca_file": asked.ca, "cert_file": asked.cert, "key_file": asked.key}
    broker = Broker.model_validate(
        {"host": asked.host, "port": asked.port, "tls": True if asked.ca else None, **files}
    )
    options = DeviceOptions.model_validate(
        {
            "broker": broker,
            "tenant": asked.tenant,
            "device": asked.device,
            "sound": {"codec": asked.codec, "frame_ms": asked.frame, "hold_ms": 80},
            "outbox": asked.outbox,
        }
    )
    robot, console = Robot(), Console()
    shows = sys.stdout.isatty()
    BadNetwork.loss, BadNetwork.jitter = asked.loss, asked.jitter
    async with contextlib.AsyncExitStack() as stack:
        audio: AudioIO
        if asked.hear:
            audio = TimedAudio(frames(read_audio(asked.hear)), tail=asked.tail)
        else:
            audio = await stack.enter_async_context(LocalAudio())
        live = stack.enter_context(Live(console=console)) if shows else None
        device = await stack.enter_async_context(BadNetwork(options, tools=robot.tools()))
        async with asyncio.TaskGroup() as group:
            others = [
                group.create_task(speak(device, audio), name="speaker"),
                group.create_task(show(device, robot, live, moved), name="face"),
                group.create_task(tell(device, robot, console, shows), name="events"),
            ]
            await listen(device, audio)
            for task in others:
                task.cancel()
    if asked.say and isinstance(audio, TimedAudio):
        write_audio(asked.say, audio.recording(), RATE)


def arguments() -> Iterator[tuple[str, dict[str, object]]]:
    """What may be asked of it."""
    yield "--host", {"default": "localhost"}
    yield "--port", {"type": int, "default": 0}
    yield "--tenant", {"default": "home"}
    yield "--device", {"default": "robot1"}
    yield "--ca", {"type": Path}
    yield "--cert", {"type": Path}
    yield "--key", {"type": Path}
    yield "--hear", {"type": Path, "help": "a recording, in the microphone's place"}
    yield "--say", {"type": Path, "help": "a WAV file, in the speaker's place"}
    yield (
        "--tail",
        {"type": float, "default": 6.0, "help": "seconds it listens after the last word"},
    )
    yield "--codec", {"choices": ["pcm16", "opus"], "default": "opus"}
    yield "--frame", {"type": int, "choices": [20, 60], "default": 20}
    yield "--outbox", {"type": Path, "help": "a folder for commands while the broker is away"}
    yield "--log", {"type": Path, "help": "a file for how the face moved"}
    yield "--loss", {"type": float, "default": 0.0, "help": "share of the frames"}
    yield "--jitter", {"type": float, "default": 0.0, "help": "seconds"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, more in arguments():
        parser.add_argument(name, **more)
    options, face = parser.parse_args(), []
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run(options, face))
        except EChatError as error:
            sys.exit(f"error: {error}")
        except ValidationError as error:
            first = error.errors()[0]
            sys.exit(f"error: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    if options.log:
        options.log.write_text("\n".join(face))
