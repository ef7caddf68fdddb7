"""Sound on the wire: base64 of PCM16 at 24 kHz, or of G.711 at 8 kHz."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from echat_sdk.audio import Hertz, Waveform
from echat_sdk.server.realtime.faults import Fault

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

_PIECE = 1 << 17  # characters that are decoded at once: half a millisecond; whole samples


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How sound travels.

    Attributes:
        name: Its media type.
    """

    name: FormatName = "audio/pcm"

    @property
    def rate(self) -> Hertz:
        """Samples a second."""
        return 24_000 if self.name == "audio/pcm" else 8_000

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 2 if self.name == "audio/pcm" else 1

    async def decode(self, text: str) -> Waveform:
        """Samples out of base64; a long one in pieces, so that others have their turn between.

        Returns:
            int16. Shape [S].

        Raises:
            Fault: it is not base64, or ends within a sample.
        """
        samples = np.empty(len(text) // 4 * 3 // self.width, np.int16)
        length = 0
        for start in range(0, len(text), _PIECE):
            if start:
                await asyncio.sleep(0)
            if length * self.width * 4 != start * 3:  # the piece before was padded
                raise _no_base64()
            piece = self._piece(text[start : start + _PIECE])
            samples[length : length + len(piece)] = piece
            length += len(piece)
        return samples[:length]

    def _piece(self, text: str) -> Waveform:
        try:
            raw = binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise _no_base64() from error
        if len(raw) % self.width:
            raise Fault(
                f"audio ends within a sample of {self.width} bytes",
                code="invalid_audio",
                param="audio",
            )
        if self.name == "audio/pcm":
            return np.frombuffer(raw, "<i2").astype(np.int16, copy=False)
        return _TABLES[self.name][np.frombuffer(raw, np.uint8)]

    def encode(self, samples: Waveform) -> str:
        """Base64 of samples at `rate`."""
        if self.name == "audio/pcm":
            raw = samples.astype("<i2").tobytes()
        else:
            raw = _CODES[self.name][samples.view(np.uint16)].tobytes()
        return base64.b64encode(raw).decode("ascii")


PCM16 = WireFormat()
"""What a session speaks that says nothing of it."""


def _no_base64() -> Fault:
    return Fault("audio is not base64", code="invalid_audio", param="audio")


def _mu_law() -> npt.NDArray[np.int16]:
    """What each code of ITU-T G.711's mu-law stands for, in 16 bits."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = ((code >> 4) & 7).astype(np.int32)
    mantissa = (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _a_law() -> npt.NDArray[np.int16]:
    """What each code of ITU-T G.711's A-law stands for, in 16 bits."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    mantissa = ((code & 15).astype(np.int32) << 4) + 8
    size = np.where(exponent, (mantissa + 0x100) << np.maximum(exponent - 1, 0), mantissa)
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _nearest(table: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """The code that stands for what is nearest to each int16, which is given as uint16."""
    order = np.argsort(table, kind="stable")
    values = table[order].astype(np.int32)
    samples = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    above = np.clip(np.searchsorted(values, samples), 1, len(values) - 1)
    is_lower = samples - values[above - 1] <= values[above] - samples
    nearest: npt.NDArray[np.uint8] = order[np.where(is_lower, above - 1, above)].astype(np.uint8)
    return nearest


_TABLES = {"audio/pcmu": _mu_law(), "audio/pcma": _a_law()}
_CODES = {name: _nearest(table) for name, table in _TABLES.items()}
