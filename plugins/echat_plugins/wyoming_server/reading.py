"""Events off a socket, under limits: what a header claims is believed only as far as it is allowed.

The library reads whatever length a header claims. Here it is looked at before a byte of it is read.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from wyoming.event import Event

from echat_plugins.wyoming_server.faults import BrokenOff
from echat_plugins.wyoming_server.options import WyomingOptions


async def read_event(reader: asyncio.StreamReader, options: WyomingOptions) -> Event | None:
    """The next event; None at the end of the stream.

    Args:
        reader: Made with `limit=options.header_bytes`.
        options: Caps on sizes and times.

    Raises:
        BrokenOff: it is no event, or one that is too large.
        TimeoutError: nothing came, or not the rest of it.
    """
    async with asyncio.timeout(options.idle_seconds):
        try:
            line = await reader.readline()
        except ValueError as error:  # of asyncio: longer than the limit
            raise BrokenOff(
                f"a header is longer than {options.header_bytes:,} bytes", "too-large"
            ) from error
    if not line:
        return None
    header = _object(line, "a header")
    kind = header.get("type")
    if not isinstance(kind, str):
        raise BrokenOff("a header has no type; expected a text", "malformed")
    data_length = _length(header, "data_length", options.header_bytes)
    payload_length = _length(header, "payload_length", options.payload_bytes)
    data = header.get("data") or {}
    if not isinstance(data, dict):
        raise BrokenOff("data: expected an object", "malformed")
    payload = None
    async with asyncio.timeout(options.event_seconds):
        try:
            if data_length:
                data = {**data, **_object(await reader.readexactly(data_length), "data")}
            if payload_length:
                payload = await reader.readexactly(payload_length)
        except asyncio.IncompleteReadError:
            return None
    return Event(kind, data, payload)


def _length(header: dict[str, Any], name: str, most: int) -> int:
    length = header.get(name)
    if length is None:
        return 0
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise BrokenOff(f"{name}: expected a number of bytes", "malformed")
    if length > most:
        raise BrokenOff(f"{name}: at most {most:,} bytes are taken, got {length:,}", "too-large")
    return length


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenOff(f"{what} is no JSON", "malformed") from error
    if not isinstance(found, dict):
        raise BrokenOff(f"{what}: expected an object", "malformed")
    return found
