"""When a stream speaks, and how carefully: latency and work against smoothness."""

from __future__ import annotations

import math
from dataclasses import dataclass

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.token2wav.flow import GUIDANCE, STEPS


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """When a stream speaks; counts are codes, 25 a second.

    Attributes:
        first: how many codes the first chunk waits for. It gives sound for all but the overlap.
        growth: each further chunk waits for so many times as many new codes as the one before.
        most: the most new codes that a chunk waits for.
        overlap: codes at a chunk's end that are held back and made again with their future known.
        look_back: codes before the overlap that are made again to be heard as the past.
    """

    first: int = 15
    growth: float = 1.5
    most: int = 50
    overlap: int = 5
    look_back: int = 20

    def __post_init__(self) -> None:
        """Refuse what no stream can follow; raises ConfigError."""
        faults = (
            (self.overlap < 2, f"overlap {self.overlap} is less than 2 codes"),
            (self.first <= self.overlap, f"first {self.first} is not above the overlap"),
            (self.most < 1, f"most {self.most} is less than 1 code"),
            (not 1 <= self.growth <= 100, f"growth {self.growth} is not from 1 to 100"),
            (self.look_back < 0, f"look_back {self.look_back} is below 0"),
        )
        found = [fault for wrong, fault in faults if wrong]
        if found:
            raise ConfigError(f"this chunk plan cannot be: {'; '.join(found)}")

    def after(self, size: int) -> int:
        """How many new codes the chunk after one of `size` codes waits for."""
        return max(1, min(self.most, math.ceil(size * self.growth)))


DEFAULT_PLAN = ChunkPlan()


@dataclass(frozen=True, slots=True)
class Solving:
    """How the flow is solved; see `FlowMatching.forward`."""

    steps: int = STEPS
    guidance: float = GUIDANCE

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not (1 <= self.steps <= 100 and 0 <= self.guidance <= 10):
            raise ConfigError(
                f"{self.steps} steps with guidance {self.guidance}; "
                "allowed are 1 to 100 steps and guidance 0 to 10"
            )
