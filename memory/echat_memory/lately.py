"""What a reply is told of a user's mood: one hedged line, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from echat_memory.mood import mood_line
from echat_memory.mood_filter import evidence, forward, likeliest
from echat_memory.mood_home import InsufficientData
from echat_memory.mood_report import TurnMood, days, sittings, split, standing
from echat_sdk.cues import UNKNOWN
from echat_sdk.turn import Lang

APART = 1.0
"""Spreads from the home base within which a mood is as usual."""


def line(turns: Sequence[TurnMood], *, now: datetime, lang: Lang) -> str:
    """One hedged sentence on how the user has been of late.

    How most turns sounded, each as the filter sees it; and whether that is lower or higher than is
    usual for them, where these turns are enough to know. Empty where both are unsure.

    Args:
        turns: The last ones, in whatever order.
        now: The present moment.
        lang: The language of the line.
    """
    parted = sittings(turns)
    labels = [label for sitting in parted for label in _labels(sitting)]
    found = [split(sitting, UTC) for sitting in parted]
    _, _, away = standing(found, days(found), today=now.astimezone(UTC).date())
    valence = 0.0 if isinstance(away, InsufficientData) else away.valence
    return mood_line(labels, lang, than_usual=(valence > APART) - (valence < -APART))


def _labels(sitting: Sequence[TurnMood]) -> list[str]:
    """What each turn of a sitting sounded like to the filter; what is unknown stays so."""
    seen = [evidence(turn.label, turn.confidence, turn.distribution) for turn in sitting]
    return [
        UNKNOWN if turn is None else likeliest(belief)
        for turn, belief in zip(seen, forward(seen), strict=True)
    ]
