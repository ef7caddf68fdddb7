"""How long what is kept of somebody stays. Sound is not among it: the memory holds none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Days = Annotated[float, Field(gt=0, le=36_500)]


class Retention(BaseModel):
    """Days after which each kind of thing is deleted; in `config.toml` under `[retention]`.

    Attributes:
        think_days: Thoughts of the agent, which tell what it made of a voice.
        turns_days: Words, answers and all else of a turn; facts that no longer hold; and how
            somebody pauses, once they were not heard for as long.
        emotions_days: How a turn sounded, where that is to go before the turn does. Nothing of it
            stays, for moods are worked out from these rows.
        facts_days: Facts that hold, once their user was not heard for as long.
        facts_by_kind_days: Kinds of fact that pass, from when they were told.
        safety_days: Safety events, which hold no words.
        records_days: Answers about consent that newer ones replaced, the audit log, receipts; and
            users who were not heard for as long, with all that is left of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    think_days: Days = 7
    turns_days: Days = 90
    emotions_days: Days = 90
    facts_days: Days = 365
    facts_by_kind_days: Mapping[str, Days] = Field(
        default_factory=lambda: {"event": 60.0, "news": 90.0, "state": 45.0}
    )
    safety_days: Days = 365
    records_days: Days = 3 * 365


USUAL = Retention()
