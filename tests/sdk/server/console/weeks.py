"""Weeks of turns, as the memory itself sums them up."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from echat_memory.mood_report import TurnMood, report
from echat_sdk.cues import UNKNOWN

NOW = datetime(2026, 4, 26, 18, tzinfo=UTC)


def weeks(days: int = 42) -> dict[str, Any]:
    turns = []
    for back in range(days):
        if back % 7 == 5:
            continue  # a day of rest
        value = 0.35 * math.sin(back / 4.5) - 0.012 * (14 - back if back < 14 else 0)
        label = "happy" if value > 0.1 else "sad" if value < -0.1 else "neutral"
        at = NOW - timedelta(days=back)
        turns += [
            TurnMood(at, 4.0, label, 0.7, MappingProxyType({}), value, value / 2, ""),
            TurnMood(
                at + timedelta(minutes=1),
                2.0,
                UNKNOWN,
                0,
                MappingProxyType({}),
                None,
                None,
                "short",
            ),
        ]
    return report(turns, now=NOW, zone=UTC).to_json()
