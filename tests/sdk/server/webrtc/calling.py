"""A server on loopback, and a phone to call it with: aiortc as the client, and real time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import httpx2
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from echat_sdk.agent.service import Service
from echat_sdk.audio import Seconds, Waveform
from echat_sdk.protocols import SpeechModel
from echat_sdk.server import app as apps
from echat_sdk.server.caller import Caller
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.server.serving import Listening, serve
from echat_sdk.server.tickets import ClientSecrets
from echat_sdk.server.webrtc.call import take_at
from echat_sdk.server.webrtc.calls import Calls
from echat_sdk.testing import RAMMemory
from tests.sdk.server.realtime.talk import Listener, LoudVAD, Told, valid

RATE = 48_000


@dataclass
class Served:
    """A server that listens.

    Attributes:
        url: Of it.
        app: With its `state`.
        metrics: What it counted.
    """

    url: str
    app: Any
    metrics: Metrics

    @property
    def seats(self) -> int:
        return int(self.app.state.sessions.taken)

    async def emptied(self) -> None:
        async with asyncio.timeout(8):
            await self.app.state.sessions.emptied()


@asynccontextmanager
async def serving(
    model: SpeechModel,
    *,
    keys: Keys | None = None,
    limits: Limits | None = None,
    pages: Sequence[Any] = (),
    open_vad: Callable[[], Any] = LoudVAD,
    memory: Any = None,
) -> AsyncIterator[Served]:
    """A server in this loop; without keys whoever calls is Ada."""
    limits, metrics = limits or Limits(), Metrics()
    service = Service(model, memory or RAMMemory(), RAMMemory, open_vad)
    nobody = None if keys is not None else Caller("nobody", user="ada")
    app = apps.build(
        service,
        access=Access(ClientSecrets(100, 100), keys, nobody=nobody),
        limits=limits,
        metrics=metrics,
        realtime=Realtime(service, limits, metrics),
        calls=Calls(service, limits, metrics),
        pages=pages,
    )
    began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        work = serve(app, Listening(port=0), drain=0, ending=ending, began=began.set_result)
        group.create_task(work, name="server")
        try:
            yield Served(f"http://127.0.0.1:{await began}", app, metrics)
        finally:
            ending.set()


class Microphone(MediaStreamTrack):
    """Says what it is given, in real time, and silence else."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._samples = np.zeros(0, np.int16)
        self._at = 0
        self._began: Seconds | None = None

    def say(self, samples: Waveform) -> None:
        self._samples = np.concatenate((self._samples, samples))

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        self._began = self._began or now
        await asyncio.sleep(max(0.0, self._began + self._at / RATE - now))
        piece, self._samples = self._samples[:960], self._samples[960:]
        frame = AudioFrame.from_ndarray(
            np.pad(piece, (0, 960 - len(piece)))[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._at, Fraction(1, RATE)
        self._at += 960
        return frame


@dataclass
class Phone(Listener):
    """The caller's side.

    Attributes:
        heard: Pieces of 48 kHz mono and when they came.
    """

    patience = 12

    peer: RTCPeerConnection = field(
        default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[]))
    )
    microphone: Microphone = field(default_factory=Microphone)
    heard: list[tuple[Seconds, Waveform]] = field(default_factory=list)
    location: str = ""

    def __post_init__(self) -> None:
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.tracks: list[MediaStreamTrack] = []
        self.peer.on("track", self.tracks.append)
        self.channel = self.peer.createDataChannel("oai-events")
        self.channel.on("open", self.opened.set)
        self.channel.on("message", self._take)
        self.channel.on("close", self.closed.set)
        self.peer.on("connectionstatechange", self._changed)

    def _changed(self) -> None:
        if self.peer.connectionState in ("closed", "failed"):
            self.closed.set()

    def _take(self, message: str) -> None:
        event = json.loads(message)
        assert event["event_id"]
        valid(event)
        self.take(event)

    def send(self, *events: Told) -> None:
        for event in events:
            self.channel.send(json.dumps(event))

    async def offer(self, *, speaks: bool = True) -> str:
        if speaks:
            self.peer.addTrack(self.microphone)
        else:
            self.peer.addTransceiver("audio", direction="recvonly")
        offer = await self.peer.createOffer()
        take_at(self.peer, "127.0.0.1")  # a machine without a network is enough
        await self.peer.setLocalDescription(offer)
        return str(self.peer.localDescription.sdp)

    async def answered(self, sdp: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        async with asyncio.timeout(8):
            await self.opened.wait()

    async def record(self) -> None:
        """Hear what is said, until the end."""
        (track,) = self.tracks
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, AudioFrame)
            samples = frame.to_ndarray().reshape(-1, 2)[:, 0].astype(np.int16)
            self.heard.append((asyncio.get_running_loop().time(), samples))

    @property
    def sound(self) -> Waveform:
        return np.concatenate([samples for _, samples in self.heard] or [np.zeros(0, np.int16)])

    def at(self, kind: str) -> Seconds:
        return next(at for at, event in self.told if event["type"] == kind)


def http(served: Served, key: str = "") -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(base_url=served.url, headers=headers)


@asynccontextmanager
async def calling(
    served: Served, session: Told | None = None, *, key: str = "", speaks: bool = True
) -> AsyncIterator[Phone]:
    """A call that is up, and what is said in it recorded."""
    phone = Phone()
    try:
        async with http(served, key) as client:
            sdp = await phone.offer(speaks=speaks)
            if session is None:
                response = await client.post(
                    "/v1/realtime/calls",
                    content=sdp,
                    headers={"content-type": "application/sdp"},
                )
            else:
                form = {
                    "sdp": (None, sdp, "application/sdp"),
                    "session": (None, json.dumps(session), "application/json"),
                }
                response = await client.post("/v1/realtime/calls", files=form)
        assert response.status_code == 201, response.text
        assert response.headers["content-type"] == "application/sdp"
        phone.location = response.headers["location"]
        await phone.answered(response.text)
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(phone.record(), name="recording")
            try:
                await phone.until("session.created")
                yield phone
            finally:
                recording.cancel()
    finally:
        await phone.peer.close()
