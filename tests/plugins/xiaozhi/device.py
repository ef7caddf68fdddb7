"""A device as the protocol describes it, and a server for it in this loop."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import websockets
from websockets.asyncio.client import ClientConnection, connect

from echat_plugins.xiaozhi import Xiaozhi, XiaozhiOptions
from echat_sdk.agent.service import Service
from echat_sdk.audio import Waveform
from echat_sdk.protocols import Memory, SpeechModel
from echat_sdk.testing import FakeModel, RAMMemory
from echat_sdk.testing.audio import ScriptedVAD

DEVICE, CLIENT = "24:0a:c4:00:01:10", "9b0e4a6e-0d6c-4d1f-8d3c-3f2a1b0c9d8e"
WITHIN = 60.0
"""Seconds that a test waits; a quick one ends before, by its own time limit."""

FRAME = 960
"""Samples of 60 ms, at 16 kHz."""


class LoudVAD(ScriptedVAD):
    """Takes for speech what is louder than Opus makes of silence."""

    def is_speech(self, frame: Any) -> bool:
        return bool(np.abs(frame.samples).max() > 300)


def service_of(
    model: SpeechModel | None = None, memory: Memory | None = None, **more: Any
) -> Service:
    return Service(
        model or FakeModel(), memory or RAMMemory(), RAMMemory, LoudVAD, lang="en", **more
    )


@asynccontextmanager
async def serving(service: Service | None = None, **options: object) -> AsyncIterator[int]:
    """A server that listens; its port."""
    transport = Xiaozhi(XiaozhiOptions.model_validate({"port": 0, **options}))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(transport.run(service or service_of()), name="xiaozhi")
        async with asyncio.timeout(WITHIN):
            port = await transport.listening()
        try:
            yield port
        finally:
            serving.cancel()


def tone(seconds: float, rate: int = 16_000) -> Waveform:
    at = np.arange(round(seconds * rate)) / rate
    return np.asarray(8000 * np.sin(2 * np.pi * 300 * at), np.int16)


def silence(seconds: float) -> Waveform:
    return np.zeros(round(seconds * 16_000), np.int16)


class Microphone:
    """Opus as a device makes it: 16 kHz, 60 ms."""

    def __init__(self) -> None:
        codec = self._codec = av.CodecContext.create("libopus", "w")
        codec.sample_rate, codec.time_base = 16_000, Fraction(1, 16_000)
        codec.layout, codec.format = av.AudioLayout("mono"), av.AudioFormat("s16")
        codec.options = {"frame_duration": "60"}
        self._at = 0

    def packets(self, samples: Waveform) -> list[bytes]:
        made = []
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            piece = samples[start : start + FRAME]
            frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, self._at
            self._at += FRAME
            made += [bytes(packet) for packet in self._codec.encode(frame)]
        return made


def speaker(packets: list[bytes]) -> Waveform:
    """What is heard of packets, at 48 kHz."""
    codec = av.CodecContext.create("libopus", "r")
    codec.sample_rate, codec.layout = 48_000, av.AudioLayout("mono")
    pieces = [f.to_ndarray()[0] for each in packets for f in codec.decode(av.Packet(each))]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


@dataclass
class Device:
    """A device that is connected, and what it was told and sent.

    Attributes:
        told: Messages, and when each came.
        packets: Opus, and when each came.
    """

    socket: ClientConnection
    version: int = 1
    microphone: Microphone = field(default_factory=Microphone)
    session: str = ""
    told: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    packets: list[tuple[float, bytes]] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    tools: Mapping[str, Any] = field(default_factory=dict)
    called: list[dict[str, Any]] = field(default_factory=list)
    paged: bool = False

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps({"session_id": self.session, **message}))

    async def hello(self, *, mcp: bool = False, **more: Any) -> dict[str, Any]:
        params = {"format": "opus", "sample_rate": 16_000, "channels": 1, "frame_duration": 60}
        hello = {"type": "hello", "version": self.version, "transport": "websocket"}
        features = {"features": {"mcp": mcp}, "audio_params": params}
        await self.socket.send(json.dumps({**hello, **features, **more}))
        answer = await self.until("hello")
        self.session = answer["session_id"]
        return answer

    async def listen(self, state: str, mode: str = "auto", **more: Any) -> None:
        await self.say(type="listen", state=state, mode=mode, **more)

    async def send(self, samples: Waveform, *, paced: bool = False) -> None:
        for packet in self.microphone.packets(samples):
            await self.send_packet(packet)
            if paced:
                await asyncio.sleep(0.06)

    async def send_packet(self, packet: bytes) -> None:
        if self.version == 2:
            packet = struct.pack(">HHIII", 2, 0, 0, 0, len(packet)) + packet
        elif self.version == 3:
            packet = struct.pack(">BBH", 0, 0, len(packet)) + packet
        await self.socket.send(packet)

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Take what comes up to a message."""
        async with asyncio.timeout(WITHIN):
            while True:
                got = await self._take()
                wanted = {"type": kind, **fields}
                if got is not None and wanted.items() <= got.items():
                    return got

    async def _take(self) -> dict[str, Any] | None:
        got, now = await self.socket.recv(), asyncio.get_running_loop().time()
        if isinstance(got, bytes):
            self.packets.append((now, self._unpacked(got)))
            return None
        message: dict[str, Any] = json.loads(got)
        self.told.append((now, message))
        if message["type"] == "mcp":
            await self._serve(message["payload"])
        return message

    def _unpacked(self, frame: bytes) -> bytes:
        if self.version == 1:
            return frame
        if self.version == 2:
            version, kind, _, stamp, size = struct.unpack_from(">HHIII", frame)
            assert (version, kind) == (2, 0)
            self.stamps.append(stamp)
            frame = frame[16:]
        else:
            kind, _, size = struct.unpack_from(">BBH", frame)
            assert kind == 0
            frame = frame[4:]
        assert len(frame) == size
        return frame

    async def _serve(self, asked: dict[str, Any]) -> None:
        """Be a server of the Model Context Protocol."""
        result: dict[str, Any]
        match asked["method"]:
            case "initialize":
                result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}}
            case "tools/list":
                names = list(self.tools)
                at = int(asked["params"]["cursor"] or 0)
                upto = at + 1 if self.paged else len(names)
                result = {"tools": [{"name": n, **self.tools[n]} for n in names[at:upto]]}
                if upto < len(names):
                    result["nextCursor"] = str(upto)
            case "tools/call":
                self.called.append(asked["params"])
                told = self.tools[asked["params"]["name"]].get("_gives", "true")
                if told is None:
                    return
                result = {"content": [{"type": "text", "text": told}], "isError": told == "no"}
        payload = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        await self.say(type="mcp", payload=payload)

    def kinds(self) -> list[str]:
        """What it was told, in order."""
        return [
            f"{each['type']} {each['state']}" if "state" in each else each["type"]
            for _, each in self.told
        ]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for _, each in self.told if each["type"] == kind]

    def heard(self) -> Waveform:
        return speaker([packet for _, packet in self.packets])


@asynccontextmanager
async def device(
    port: int,
    *,
    version: int = 1,
    token: str = "",
    name: str = DEVICE,
    client: str = CLIENT,
    **more: Any,
) -> AsyncIterator[Device]:
    """One that has connected."""
    headers = {"Protocol-Version": str(version), "Device-Id": name, "Client-Id": client}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    url = f"ws://127.0.0.1:{port}/xiaozhi/v1/"
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        yield Device(socket, version, **more)


async def refused(port: int, path: str = "/xiaozhi/v1/", **headers: str) -> int:
    """With which status a device is not let in; 101 where it is."""
    given = {"Device-Id": DEVICE, "Client-Id": CLIENT, **headers}
    try:
        url = f"ws://127.0.0.1:{port}{path}"
        async with connect(url, additional_headers=given, proxy=None):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code
