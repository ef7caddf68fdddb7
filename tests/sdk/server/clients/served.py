"""A real server with a real door, for clients that know nothing of us."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr

from echat_memory import GuestMemory, SQLMemory
from echat_sdk.agent.service import Service
from echat_sdk.consent import REMEMBERED, RUN
from echat_sdk.protocols import SpeechModel
from echat_sdk.server import app, rest
from echat_sdk.server.caller import Scope
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.server.serving import Listening, serve
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.vad import open_vad
from tests.sdk.server.tls import certificate

AUDIO = Path(__file__).parents[4] / "examples/audio"
USER = "ada"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that listens, and what a client has to know of it.

    Attributes:
        key: Opens sessions of `USER`, who agreed to be remembered.
        memory: Theirs.
        pem: The certificate of `localhost` that is to be trusted; None without TLS.
    """

    port: int
    key: str
    memory: SQLMemory
    pem: Path | None = None

    @property
    def http(self) -> str:
        if self.pem is None:
            return f"http://127.0.0.1:{self.port}/v1"
        return f"https://localhost:{self.port}/v1"

    @property
    def ws(self) -> str:
        return self.http.replace("http", "ws")


@contextmanager
def served(folder: Path, model: SpeechModel, *, tls: bool = False) -> Iterator[Served]:
    """A server in a thread of this process; its memory and its keys are files in a folder."""
    pem = certificate(folder) if tls else None
    keys = Keys(folder / "server-keys.json")
    key, _ = keys.new("a product", scopes=frozenset({Scope.REALTIME, Scope.SECRETS}), user=USER)
    limits, metrics = Limits(), Metrics()
    with closing(SQLMemory(folder / "echat.db", unasked=RUN)) as memory:
        memory.consent(USER, REMEMBERED)
        service = Service(model, memory, partial(GuestMemory, unasked=RUN), open_vad)
        server = app.build(
            service,
            access=Access(ClientSecrets(limits.secrets, limits.secrets_per_key), keys),
            limits=limits,
            metrics=metrics,
            realtime=Realtime(service, limits, metrics),
            routes=rest.routes(service),
        )
        ports: list[int] = []
        began, ending = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def main() -> None:
            loops.append(asyncio.get_running_loop())
            await serve(
                server,
                Listening(port=0, certificate=pem),
                drain=2,
                ending=ending,
                began=begin,
            )

        def begin(port: int) -> None:
            ports.append(port)
            began.set()

        thread = threading.Thread(target=lambda: asyncio.run(main()), name="server")
        thread.start()
        try:
            assert began.wait(10)
            yield Served(ports[0], key, memory, pem)
        finally:
            loops[0].call_soon_threadsafe(ending.set)
            thread.join(10)
            assert not thread.is_alive()


def speech(name: str) -> bytes:
    """One of the spoken examples as clients send sound: PCM16 at 24 kHz, little-endian."""
    samples, rate = soundfile.read(AUDIO / f"{name}.wav", dtype="int16")
    return np.asarray(soxr.resample(samples, rate, 24_000), "<i2").tobytes()
