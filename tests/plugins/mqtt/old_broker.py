"""As much of a broker as a client needs to see that MQTT 5 is not spoken there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from echat_plugins.mqtt import Broker

CONNECT, PUBLISH, SUBSCRIBE, PING = 1, 3, 8, 12


@dataclass
class OldBroker:
    """A broker of MQTT 3.1.1.

    Attributes:
        versions: Of the protocol, that clients asked for.
    """

    broker: Broker = field(default_factory=Broker)
    versions: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind = (await reader.readexactly(1))[0] >> 4
                size = (await reader.readexactly(1))[0]  # all that we are sent is short, but one
                if size & 0x80:
                    size = (size & 0x7F) | (await reader.readexactly(1))[0] << 7
                body = await reader.readexactly(size)
                if kind == CONNECT:
                    self.versions.append(body[6])
                    is_5 = body[6] == 5
                    writer.write(b"\x20\x02\x00" + (b"\x01" if is_5 else b"\x00"))
                    if is_5:
                        break
                elif kind == SUBSCRIBE:
                    writer.write(b"\x90\x04" + body[:2] + b"\x01\x01")
                elif kind == PUBLISH:
                    length = int.from_bytes(body[:2], "big")
                    writer.write(b"\x40\x02" + body[2 + length : 4 + length])
                elif kind == PING:
                    writer.write(b"\xd0\x00")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def old_broker() -> AsyncIterator[OldBroker]:
    old = OldBroker()
    server = await asyncio.start_server(old.serve, "127.0.0.1", 0)
    async with server:
        old.broker = Broker(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        yield old
