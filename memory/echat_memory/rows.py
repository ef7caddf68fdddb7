"""A turn as the columns of its rows, and back again. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from echat_memory.schema import Base, CueRow, EmotionRow
from echat_sdk.cues import Cue, Cues, Emotion, ReplyEmotion, affect
from echat_sdk.turn import SafetyEvent, Timings, Turn, TurnStatus

MODEL = "model"
"""The source of an emotion that the speech model heard."""
USER_REPORT = "user_report"
"""The source of an emotion that the user named; it outranks all others."""

_REPLY_EMOTIONS = {emotion.word: emotion for emotion in ReplyEmotion}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as the store has it.

    Attributes:
        id: What `remember` returned.
        session: Turns with the same one belong to one sitting.
        at: When it was remembered, in UTC.
        turn: The turn.
        felt: What the user said that they felt in it; None where they did not.
    """

    id: str
    session: str
    at: datetime
    turn: Turn
    felt: Emotion | None = None


def storable(text: str) -> str:
    """The text with U+FFFD for what a database cannot hold: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\ufffd", text)


def turn_columns(turn: Turn) -> dict[str, Any]:
    """The columns of a turn's own row, its cues aside."""
    return {
        "status": turn.status.value,
        "transcript": storable(turn.transcript),
        "lang": turn.lang,
        "think": storable(turn.think),
        "reply": storable(turn.reply),
        "reply_emotion": turn.reply_emotion.word,
        "model": storable(turn.model),
        "timings": {k: _finite(v) for k, v in asdict(turn.timings).items() if v is not None},
        "seconds": _finite(turn.seconds),
    }


def cue_columns(cues: Cues) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    """The rows of a turn's cues. A cue that says nothing at all has none."""
    if cues.emotion != Cue():
        yield EmotionRow, {"source": MODEL, **emotion_columns(cues.emotion)}
    for kind in ("gender", "age", "events", "style"):
        cue: Cue = getattr(cues, kind)
        if cue != Cue():
            yield CueRow, {"kind": kind, **_cue(cue)}


def emotion_columns(emotion: Cue) -> dict[str, Any]:
    """The columns of an emotion, whoever named it."""
    valence, arousal = affect(emotion) or (None, None)
    return {"valence": valence, "arousal": arousal, **_cue(emotion)}


def turn_of(row: Row[Any], words: Mapping[str, str], cues: Mapping[str, Cue]) -> Turn:
    """The turn that was remembered; `words` are those columns of it that may be sealed."""
    return Turn(
        transcript=words["transcript"],
        lang="zh" if row.lang == "zh" else "en",
        cues=Cues(**cues),
        think=words["think"],
        reply=words["reply"],
        reply_emotion=_REPLY_EMOTIONS[row.reply_emotion],
        strategy=row.strategy or "",
        status=TurnStatus(row.status),
        timings=Timings(**row.timings),
        seconds=row.seconds,
        model=row.model,
        safety=_safety_of(row),
    )


def safety_columns(event: SafetyEvent) -> dict[str, str]:
    """The columns of a safety event, cut to what they hold."""
    widths = {"category": 32, "severity": 16, "detector": 64, "action": 64}
    return {name: storable(getattr(event, name))[:width] for name, width in widths.items()}


def _safety_of(row: Row[Any]) -> SafetyEvent | None:
    if row.category is None:
        return None
    return SafetyEvent(row.category, row.severity, row.detector, row.action)


def cue_of(row: Row[Any]) -> Cue:
    """The cue that was remembered."""
    return Cue(
        label=row.label,
        confidence=row.confidence,
        distribution=MappingProxyType(row.distribution),
        why=row.abstained,
    )


def _cue(cue: Cue) -> dict[str, Any]:
    return {
        "label": storable(cue.label),
        "confidence": _finite(cue.confidence),
        "distribution": {storable(k): _finite(p) for k, p in cue.distribution.items()},
        "abstained": storable(cue.why),
    }


def _finite(number: float) -> float:
    """The number as a Python float; 0 for NaN and the infinities, which databases refuse."""
    return float(number) if math.isfinite(number) else 0.0
