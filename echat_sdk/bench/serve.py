"""What a server carries, and what it adds: live sessions on loopback, over a scripted model.

The server is a process of its own and the clients are this one. A frame counts as taken once an
event that was sent right behind it is answered: what is in the way of that, on either side and
between them, is in the figure. The agent without a server is given the same sound in this process,
so that the difference between the two is the server.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from echat_sdk.agent import Agent
from echat_sdk.audio import FRAME_SECONDS, Seconds, Waveform
from echat_sdk.bench.serve_server import Orders, Served, scripted
from echat_sdk.bench.serve_talkers import (
    CYCLE,
    DETECTION,
    RATE,
    SPEECH,
    Kept,
    converse,
    one_cycle,
    refused,
)
from echat_sdk.errors import EChatError
from echat_sdk.io.callback import CallbackAudio
from echat_sdk.server.realtime.turn_taking import TurnTaking
from echat_sdk.testing import RAMMemory
from echat_sdk.turn_policy import TurnPolicy
from echat_sdk.vad import open_vad

_ALONE = 4
"""Conversations at once where latency is compared."""

_HELD = 4  # frames that a resampler holds back at a session's end, and what fills none
_ENDING: Seconds = 15.0
_SETTLED: Seconds = 2 * CYCLE  # by when a session holds what it will hold


@dataclass(frozen=True, slots=True)
class ServeBench:
    """What one run found; milliseconds where a name says so.

    Attributes:
        sessions: At once.
        seconds: Each of them.
        frame_ms: Sound in one event.
        taken_ms: From when a frame was due at its client until it was taken, p50, p99, at worst.
        client_ms: Of that, what the clients were late themselves.
        lag_ms: How late the server's event loop came to what was due.
        sent: Frames of 20 ms that were sent.
        dropped: Of them, those that no session heard.
        asked: Questions.
        answered: Answers that came whole.
        lost: Sessions that did not last.
        errors: Errors that nobody asked for.
        refused: How one session more was refused, as a program and as a page sees it.
        grown_mb: Resident memory at the end, less that when all had talked for two questions.
        resident_mb: At the end.
        cpu_ms: Processor time of the server for 20 ms of one session.
        alone_ms: From the end of a question to the first sound, without a server, p50 and p95.
        served_ms: The same at a client.
    """

    sessions: int
    seconds: Seconds
    frame_ms: int
    taken_ms: tuple[float, float, float]
    client_ms: tuple[float, float, float]
    lag_ms: tuple[float, float, float]
    sent: int
    dropped: int
    asked: int
    answered: int
    lost: int
    errors: int
    refused: str
    grown_mb: float | None
    resident_mb: float | None
    cpu_ms: float
    alone_ms: tuple[float, float]
    served_ms: tuple[float, float]

    @property
    def added_ms(self) -> float:
        """What the server adds at p95: to be sure, what it takes then is not expected of others."""
        return self.served_ms[1] - self.alone_ms[0]


def run(
    *,
    sessions: int = 50,
    seconds: Seconds = 60.0,
    frame_ms: int = 20,
    turns: int = 5,
    step: Callable[[str], None] = lambda what: None,
) -> ServeBench:
    """Compare latency, then have sessions talk.

    Args:
        sessions: At once; the server takes no more.
        seconds: How long each talks.
        frame_ms: Sound in one event.
        turns: Questions of each conversation where latency is compared.
        step: Told what is done now.

    Raises:
        EChatError: the server did not start, or ended.
    """
    frame = frame_ms / 1000
    step("asking without a server")
    alone = asyncio.run(_alone(turns, frame))
    step("asking a server")
    quiet = Kept()
    with _serving(_ALONE) as (port, _, _):
        asyncio.run(converse(port, _ALONE, turns * CYCLE, frame, quiet))
    step(f"{sessions} sessions")
    kept, memory, told = Kept(), _Memory(), ""
    with _serving(sessions) as (port, pid, ended):
        told = asyncio.run(_loaded(port, pid, sessions, seconds, frame, kept, memory))
        served = ended()
    sent = round(kept.sent / FRAME_SECONDS)
    return ServeBench(
        sessions=sessions,
        seconds=seconds,
        frame_ms=frame_ms,
        taken_ms=_three(kept.delays),
        client_ms=_three(kept.lates),
        lag_ms=served.lag_ms,
        sent=sent,
        dropped=max(0, sent - served.heard - _HELD * sessions),
        asked=kept.asked,
        answered=kept.answered,
        lost=kept.lost,
        errors=len(kept.errors),
        refused=told,
        grown_mb=memory.grown,
        resident_mb=memory.last,
        cpu_ms=1000 * served.cpu / max(1, sent),
        alone_ms=_two(alone),
        served_ms=_two(quiet.firsts),
    )


async def _loaded(
    port: int,
    pid: int,
    sessions: int,
    seconds: Seconds,
    frame: Seconds,
    kept: Kept,
    memory: _Memory,
) -> str:
    async with asyncio.TaskGroup() as group:
        talking = group.create_task(
            converse(port, sessions, seconds, frame, kept), name="bench-sessions"
        )
        await asyncio.sleep(CYCLE + min(seconds / 4, _SETTLED))  # by when all are there
        told = await refused(port)
        while not talking.done():
            memory.look(pid)
            await asyncio.wait([talking], timeout=1.0)
    return told


async def _alone(turns: int, frame: Seconds) -> list[Seconds]:
    """From the end of each question to the first sound of its answer, of agents in this process."""
    found: list[Seconds] = []
    async with asyncio.TaskGroup() as group:
        for number in range(_ALONE):
            await asyncio.sleep(0.05)
            group.create_task(_ask(turns, frame, found), name=f"bench-alone-{number}")
    return found


async def _ask(turns: int, frame: Seconds, found: list[Seconds]) -> None:
    clock = asyncio.get_running_loop().time
    ended: Seconds | None = None

    def play(_: Waveform) -> None:
        nonlocal ended
        if ended is not None:
            found.append(clock() - ended)
            ended = None

    audio = CallbackAudio(play, input_rate=RATE)
    agent = Agent(
        scripted(),
        RAMMemory(),
        user="bench",
        audio=audio,
        vad=open_vad("webrtc"),
        policy=TurnTaking.from_json(DETECTION).policy(TurnPolicy()),
    )
    sound, step = one_cycle(), round(frame * RATE)
    spoken, due = round(SPEECH / frame), clock()
    async with agent:
        for _ in range(turns):
            for number, start in enumerate(range(0, len(sound), step)):
                due += frame
                await asyncio.sleep(due - clock())
                audio.hear(sound[start : start + step])
                if number == spoken - 1:
                    ended = due


@contextmanager
def _serving(sessions: int) -> Iterator[tuple[int, int, Callable[[], Served]]]:
    """A server in a process of its own: its port, its id, and what ends it."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "echat_sdk.bench.serve_server",
            Orders(sessions=sessions).model_dump_json(),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            if not first.isdecimal():
                raise EChatError(f"the server did not start: {first[:80] or 'it said nothing'}")
            yield int(first), process.pid, lambda: _end(process)
        finally:
            if process.poll() is None:
                process.terminate()


def _end(process: subprocess.Popen[str]) -> Served:
    try:
        told, _ = process.communicate(timeout=_ENDING)
        return Served.model_validate_json(told.strip())
    except (subprocess.TimeoutExpired, ValidationError) as error:
        raise EChatError("the server did not end in order") from error


class _Memory:
    """Resident memory of a process, in MB; None where the system does not tell."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.last: float | None = None

    @property
    def grown(self) -> float | None:
        return None if self.last is None or self._first is None else self.last - self._first

    def look(self, pid: int) -> None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("VmRSS:"):
                self.last = int(line.split()[1]) / 1000
        if self._first is None:
            self._first = self.last


def _three(seconds: list[Seconds]) -> tuple[float, float, float]:
    if not seconds:
        return (0.0, 0.0, 0.0)
    p50, p99, worst = (round(1000 * float(x), 2) for x in np.percentile(seconds, (50, 99, 100)))
    return p50, p99, worst


def _two(seconds: list[Seconds]) -> tuple[float, float]:
    if not seconds:
        raise EChatError("no question was answered: the machine is too busy, or the server failed")
    p50, p95 = (round(1000 * float(x), 2) for x in np.percentile(seconds, (50, 95)))
    return p50, p95
