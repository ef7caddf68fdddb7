"""What one engine may hold, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class EngineLimits(BaseModel):
    """What one engine may hold at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=8, ge=1, le=256, description="requests decoded in one batch")
    waiting: int = Field(default=64, ge=0, le=10_000, description="requests that may wait for one")
    positions: int = Field(
        default=4096, ge=64, le=131_072, description="positions of one conversation at most"
    )
    piece: int = Field(
        default=256, ge=1, le=131_072, description="prompt positions read between two tokens"
    )
    ahead: int = Field(
        default=256, ge=1, le=10_000, description="tokens decoded before anybody reads them"
    )
    quantum: int = Field(
        default=64, ge=1, le=10_000, description="tokens of a row before it may give way"
    )
    first_packet: int = Field(
        default=18, ge=1, le=1000, description="speech codes that make the first packet"
    )
    parked_bytes: int = Field(
        default=1 << 30, ge=1, description="keys and values kept outside of rows; see `parking`"
    )


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bytes of keys and values.

    Attributes:
        rows: Of the rows now.
        rows_most: Of the rows if one of them grows to its limit.
        parked: Of what is parked: waiting requests, conversations kept, fixed heads.
        parked_most: What may be parked; see `parking` for who gives way.
    """

    rows: int
    rows_most: int
    parked: int
    parked_most: int
