"""Binary frames, as the three versions of the protocol pack them. Big-endian."""

from __future__ import annotations

import struct
from typing import Literal

from echat_plugins.xiaozhi.faults import Fault

Version = Literal[1, 2, 3]

_OPUS, _JSON = 0, 1  # types
_HEAD_2 = struct.Struct(">HHIII")  # version, type, reserved, timestamp in ms, size
_HEAD_3 = struct.Struct(">BBH")  # type, reserved, size


def packed(opus: bytes, version: Version, at_ms: int) -> bytes:
    """A frame with sound.

    Args:
        opus: One packet.
        version: Of the protocol.
        at_ms: When it is to be heard, from the beginning of the session; told by version 2.
    """
    match version:
        case 1:
            return opus
        case 2:
            return _HEAD_2.pack(2, _OPUS, 0, at_ms % 2**32, len(opus)) + opus
        case 3:
            return _HEAD_3.pack(_OPUS, 0, len(opus)) + opus


def unpacked(frame: bytes, version: Version) -> bytes | str:
    """What a frame holds: Opus, or the text of a message.

    Raises:
        Fault: it is no such frame.
    """
    if version == 1:
        return frame
    head = _HEAD_2 if version == 2 else _HEAD_3
    if len(frame) < head.size:
        raise Fault(f"a frame of {len(frame)} bytes has no head of {head.size}")
    if version == 2:
        claimed, kind, _, _, size = head.unpack_from(frame)
        if claimed != 2:
            raise Fault(f"a frame says that it is of version {claimed}, not 2")
    else:
        kind, _, size = head.unpack_from(frame)
    body = frame[head.size :]
    if size != len(body):
        raise Fault(f"a frame claims {size} bytes and holds {len(body)}")
    if kind == _JSON:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise Fault("a message is no UTF-8") from error
    if kind != _OPUS:
        raise Fault(f"a frame of type {kind}; 0 is Opus, 1 is JSON")
    return body
