"""The server's side of `echat bench serve`: a real one on loopback, over a scripted model.

Run as `python -m echat_sdk.bench.serve_server ORDERS`. Prints its port, serves until its input
ends, and prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.agent.service import Service
from echat_sdk.audio import AudioFrame, Seconds
from echat_sdk.bridge import Worker
from echat_sdk.protocols import VAD
from echat_sdk.server import app
from echat_sdk.server.caller import Caller
from echat_sdk.server.door import Access
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.server.serving import Listening, serve
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.testing import FakeModel, Line, RAMMemory
from echat_sdk.vad import open_vad

CLAUSES = ("I am so glad that you told me about it.", " Take your time, I am here with you.")

_LOOK: Seconds = 0.02


class Orders(BaseModel):
    """What a server is to be.

    Attributes:
        sessions: It takes at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: int = Field(ge=1, le=1000)


class Served(BaseModel):
    """What a server found of itself.

    Attributes:
        heard: Frames of 20 ms that were heard, of all sessions.
        cpu: Seconds of processor time since it listened, all threads together.
        lag_ms: How late the event loop came to what was due, p50, p99 and at worst.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    heard: int
    cpu: float
    lag_ms: tuple[float, float, float]


def scripted() -> FakeModel:
    """The model that the server serves, and that it is compared with."""
    return FakeModel(Line("what do you make of it", CLAUSES))


class _Counted:
    """A detector that counts what it hears."""

    def __init__(self, vad: VAD, ears: _Ears) -> None:
        self._vad, self._ears = vad, ears

    def is_speech(self, frame: AudioFrame) -> bool:
        self._ears.heard += 1
        return self._vad.is_speech(frame)

    def reset(self) -> None:
        self._vad.reset()


class _Ears:
    def __init__(self) -> None:
        self.heard = 0

    def open(self) -> VAD:
        return _Counted(open_vad("webrtc"), self)


async def run(orders: Orders) -> Served:
    """Serve until the standard input ends."""
    ears, lags = _Ears(), [0.0]
    limits = Limits(sessions=orders.sessions, sessions_per_key=orders.sessions)
    metrics = Metrics()
    service = Service(scripted(), RAMMemory(), RAMMemory, ears.open)
    access = Access(ClientSecrets(1, 1), nobody=Caller("bench"))
    served = app.build(
        service,
        access=access,
        limits=limits,
        metrics=metrics,
        realtime=Realtime(service, limits, metrics),
    )
    ending, thread, began = asyncio.Event(), Worker("bench-input"), 0.0

    def listens(port: int) -> None:
        nonlocal began
        began = time.process_time()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()

    async def until_told() -> None:
        await thread.call(sys.stdin.read)
        ending.set()

    async def watch() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _LOOK
            await asyncio.sleep(_LOOK)
            lags.append(1000 * (clock() - due))

    async with asyncio.TaskGroup() as group:
        group.create_task(until_told(), name="bench-input")
        watching = group.create_task(watch(), name="bench-watch")
        await serve(served, Listening(port=0), drain=0, ending=ending, began=listens)
        watching.cancel()
    thread.let_go()
    p50, p99, worst = (float(x) for x in np.percentile(lags, (50, 99, 100)))
    return Served(heard=ears.heard, cpu=time.process_time() - began, lag_ms=(p50, p99, worst))


def main() -> None:
    """Serve what the first argument orders."""
    orders = Orders.model_validate_json(sys.argv[1])
    sys.stdout.write(asyncio.run(run(orders)).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
