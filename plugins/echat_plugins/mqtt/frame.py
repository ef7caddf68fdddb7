"""One frame of sound on the wire: 16 bytes of header, big-endian, then the codec's bytes.

    byte  0      version, 1
    byte  1      codec: 1 PCM16 (little-endian, mono), 2 Opus (one packet, mono)
    byte  2      length in milliseconds: 20 or 60
    byte  3      0; what it holds else is for later versions, and not looked at
    byte  4-7    stream: made anew with each hello, so that no frame of an earlier one counts
    byte  8-11   sequence number: 0 for a stream's first frame, one more for each that follows
    byte 12-15   timestamp: milliseconds from the beginning of the stream to the frame's first
                 sample; it jumps where nothing was sent, the sequence number does not

Sound of a microphone is 16 kHz, that of an agent 24 kHz.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

VERSION = 1
HEADER = struct.Struct("!BBBxIII")
MOST = 2**32 - 1

Milliseconds = Literal[20, 60]
LENGTHS: tuple[int, ...] = get_args(Milliseconds)


class Codec(IntEnum):
    """How a frame's samples are written."""

    PCM16 = 1
    OPUS = 2


_CODECS = frozenset(int(codec) for codec in Codec)


class FrameError(ValueError):
    """Bytes that are no frame; says why, and holds none of them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        codec: Of its bytes.
        length: In milliseconds.
        stream: Whose frames these are.
        sequence: Which of them.
        timestamp: When it begins, in milliseconds from the stream's beginning.
        data: The codec's bytes; never empty.
    """

    codec: Codec
    length: Milliseconds
    stream: int
    sequence: int
    timestamp: int
    data: bytes

    def render(self) -> bytes:
        """As it goes over the wire."""
        head = HEADER.pack(
            VERSION, self.codec, self.length, self.stream, self.sequence, self.timestamp & MOST
        )
        return head + self.data

    @classmethod
    def parse(cls, payload: bytes) -> Frame:
        """The frame that `render` wrote.

        Raises:
            FrameError: it is none.
        """
        if len(payload) <= HEADER.size:
            raise FrameError(f"{len(payload)} bytes; a frame has more than {HEADER.size}")
        version, codec, length, stream, sequence, timestamp = HEADER.unpack_from(payload)
        if version != VERSION:
            raise FrameError(f"version {version}; expected {VERSION}")
        if codec not in _CODECS:
            raise FrameError(f"codec {codec}; expected 1 (PCM16) or 2 (Opus)")
        if length not in LENGTHS:
            raise FrameError(f"{length} ms; expected 20 or 60")
        return cls(Codec(codec), length, stream, sequence, timestamp, payload[HEADER.size :])
