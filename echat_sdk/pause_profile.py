"""How somebody pauses while they speak, learnt from the pauses after which they went on.

A value of a few numbers that can be kept with a user: it starts from what most people do, leans to
what this speaker does as evidence comes, and forgets slowly.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from echat_sdk.audio import Seconds
from echat_sdk.turn_policy import TurnPolicy

USUAL: Seconds = 0.5
"""The mean pause within a turn of somebody whom nobody knows yet."""

LONGEST: Seconds = 3.0
"""A longer pause counts as this: who fetched a cup of tea did not look for a word."""

MOST = 40
"""Pauses that a profile is made of; older ones fade."""

_PRIOR = 6  # pauses that the usual one weighs as much as


class PauseProfile(BaseModel):
    """What is known of one speaker's pauses.

    Attributes:
        mean: Of the pauses that were heard; without meaning where `count` is 0.
        count: How many they weigh as much as, up to `MOST`: a later one then moves the mean by a
            40th.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Annotated[Seconds, Field(ge=0, le=LONGEST)] = USUAL
    count: Annotated[int, Field(ge=0, le=MOST)] = 0

    def after(self, pause: Seconds) -> PauseProfile:
        """The profile once the speaker went on after a pause."""
        count = min(self.count + 1, MOST)
        known = min(max(pause, 0.0), LONGEST)
        mean = self.mean + (known - self.mean) / count
        return PauseProfile(mean=min(max(mean, 0.0), LONGEST), count=count)

    def patience(self, policy: TurnPolicy) -> float:
        """By how much this speaker needs longer, from 1 to the policy's `most_patience`.

        Nobody is hurried: who pauses less than most people is waited for as they are.
        """
        believed = (USUAL * _PRIOR + self.mean * self.count) / (_PRIOR + self.count)
        return min(max(believed / USUAL, 1.0), policy.most_patience)
