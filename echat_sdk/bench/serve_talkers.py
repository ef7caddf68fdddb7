"""The clients of `echat bench serve`: who talks to a server as microphones do, and keeps time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from echat_sdk.audio import Hertz, Seconds, Waveform
from echat_sdk.server.realtime.codec import PCM16

RATE: Hertz = 24_000
SPEECH: Seconds = 1.0
CYCLE: Seconds = 6.0
"""A question, its answer, and a pause."""

DETECTION = {"type": "server_vad", "silence_duration_ms": 500}
"""By silence alone: who is learnt to pause longer is answered later, whatever the server adds."""

_PROBE: Seconds = 0.5  # between two looks at how long it takes until a frame is taken


@dataclass(slots=True)
class Kept:
    """What the clients of a run found.

    Attributes:
        delays: From when a frame was due until an event right behind it was answered, so that the
            frame was taken; what this process was late itself is in it.
        lates: What this process was late itself.
        sent: Seconds of sound.
        asked: Questions that had the time to be answered.
        answered: Answers that came whole.
        firsts: From the end of a question to the first sound of its answer.
        errors: Codes of errors that nobody asked for.
        lost: Sessions that did not last.
    """

    delays: list[Seconds] = field(default_factory=list)
    lates: list[Seconds] = field(default_factory=list)
    sent: Seconds = 0.0
    asked: int = 0
    answered: int = 0
    firsts: list[Seconds] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: int = 0


def voice(seconds: Seconds) -> Waveform:
    """What detectors take for a voice: harmonics of a low pitch, that swell as syllables do."""
    at = np.arange(round(seconds * RATE)) / RATE
    pitch = 2 * np.pi * (130 * at + 3 * np.sin(2 * np.pi * 2 * at))
    tones = np.sum([np.sin(n * pitch) / n for n in range(1, 20)], axis=0)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)
    spoken: Waveform = (4000 * swell * tones).astype(np.int16)
    return spoken


def one_cycle() -> Waveform:
    """A question, and silence until the next."""
    whole = np.zeros(round(CYCLE * RATE), np.int16)
    whole[: round(SPEECH * RATE)] = voice(SPEECH)
    return whole


async def converse(port: int, sessions: int, seconds: Seconds, frame: Seconds, kept: Kept) -> None:
    """Have so many sessions talk for so long, in whole cycles, begun evenly over one."""
    step = round(frame * RATE)
    sound = one_cycle()
    frames = [
        json.dumps({"type": "input_audio_buffer.append", "audio": PCM16.encode(piece)})
        for piece in np.split(sound, range(step, len(sound), step))
    ]
    async with asyncio.TaskGroup() as group:
        for number in range(sessions):
            talker = _Talker(port, frames, frame, kept)
            await asyncio.sleep(CYCLE / sessions)
            group.create_task(talker.run(seconds), name=f"bench-talker-{number}")


async def refused(port: int) -> str:
    """How a session is refused that is one too many: `503 1013`; with `let in` for what is not."""
    told = []
    try:
        async with connect(_url(port), proxy=None):
            told.append("let in")
    except InvalidStatus as error:
        told.append(str(error.response.status_code))
    origin: Any = f"http://127.0.0.1:{port}"  # a page is told by a close
    async with connect(_url(port), origin=origin, proxy=None) as page:
        try:
            await page.recv()
            told.append("let in")
        except ConnectionClosed as closed:
            told.append(str(closed.rcvd.code if closed.rcvd else "lost"))
    return " ".join(told)


class _Talker:
    def __init__(self, port: int, frames: Sequence[str], frame: Seconds, kept: Kept) -> None:
        self._port, self._frames, self._frame, self._kept = port, frames, frame, kept
        self._probes: dict[str, Seconds] = {}
        self._ended_at: Seconds | None = None  # of a question that is not answered yet

    async def run(self, seconds: Seconds) -> None:
        try:
            async with (
                connect(_url(self._port), proxy=None, compression=None, max_size=None) as socket,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._read(socket), name="bench-reader")
                await self._talk(socket, seconds)
                await socket.close()
        except* (ConnectionClosed, OSError):
            self._kept.lost += 1

    async def _talk(self, socket: ClientConnection, seconds: Seconds) -> None:
        kept, clock = self._kept, asyncio.get_running_loop().time
        ear = {"input": {"turn_detection": DETECTION}}
        asked = {"type": "session.update", "session": {"type": "realtime", "audio": ear}}
        await socket.send(json.dumps(asked))
        due, every = clock(), max(1, round(_PROBE / self._frame))
        a_cycle = len(self._frames)
        spoken = round(SPEECH / self._frame)
        count = max(1, round(seconds / CYCLE)) * a_cycle
        for number, text in enumerate(islice(cycle(self._frames), count)):
            due += self._frame
            await asyncio.sleep(due - clock())
            kept.lates.append(max(0.0, clock() - due))
            await socket.send(text)
            kept.sent += self._frame
            if number % every == 0:
                name = f"probe_{number}"
                self._probes[name] = due
                probe = {"type": "conversation.item.retrieve", "item_id": "none", "event_id": name}
                await socket.send(json.dumps(probe))
            if number % a_cycle == spoken - 1:
                self._ended_at = due
            if number % a_cycle == a_cycle - 1:
                kept.asked += 1

    async def _read(self, socket: ClientConnection) -> None:
        kept, clock = self._kept, asyncio.get_running_loop().time
        async for text in socket:
            event = json.loads(text)
            match event["type"]:
                case "error":
                    asked = self._probes.pop(event["error"]["event_id"] or "", None)
                    if asked is None:
                        kept.errors.append(str(event["error"]["code"]))
                    else:
                        kept.delays.append(clock() - asked)
                case "response.output_audio.delta" if self._ended_at is not None:
                    kept.firsts.append(clock() - self._ended_at)
                    self._ended_at = None
                case "response.done":
                    kept.answered += event["response"]["status"] == "completed"


def _url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/v1/realtime?model=echat"
