"""What kind of answer was followed by a lighter turn before, where the user had sounded low.

A turn after a low one is lighter more often than not, whatever was said; so a kind of answer counts
only where it did better than the others. Computed from the rows, and a hint at best.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, select

from echat_memory import rows
from echat_memory.schema import EmotionRow, PlanRow, TurnRow
from echat_sdk.turn import Lang

LOW = -0.2
"""A turn of less valence than this sounded low."""
ENOUGH = 4
"""Times that a kind of answer was tried after a low turn, and times that others were."""
LIGHTER = 0.2
"""By how much valence must have risen on average."""
BETTER = 0.1
"""By how much more than after other kinds of answers."""
READ_TURNS = 500
"""Turns that are looked at, the newest."""

_TURNS = (
    select(TurnRow.session_id, TurnRow.reply_emotion, PlanRow.strategy, EmotionRow.valence)
    .outerjoin(PlanRow, PlanRow.turn_id == TurnRow.id)
    .outerjoin(EmotionRow, and_(EmotionRow.turn_id == TurnRow.id, EmotionRow.source == rows.MODEL))
    .where(TurnRow.user_id == bindparam("user"))
    .order_by(TurnRow.id.desc())
    .limit(READ_TURNS)
)
_LISTENING = ("long", "more", "open-", "follow", "perhaps", "listen", "restat", "reflect")
_ASKING = ("asked", "topic-", "question")
_BY_VOICE = {
    "comforting": "comfort",
    "sad": "sharing",
    "sorry": "sharing",
    "tearful": "sharing",
    "happy": "brightness",
    "joyful": "brightness",
    "neutral": "calm",
}
_WORDS: dict[Lang, dict[str, str]] = {
    "en": {
        "listening": "listening quietly",
        "asking": "a gentle question",
        "comfort": "comforting words",
        "sharing": "words that shared the sadness",
        "brightness": "a bright tone",
        "calm": "a calm, plain answer",
    },
    "zh": {
        "listening": "安静地倾听",
        "asking": "温和地问一句",
        "comfort": "安慰的话",
        "sharing": "一起难过的话",
        "brightness": "明快的语气",
        "calm": "平静简单的回答",
    },
}


class Step(NamedTuple):
    """What a turn tells of answers that helped.

    Attributes:
        session: Its session's row.
        kind: Of its answer; see `kind_of`.
        valence: How the user sounded; None where that is unknown.
    """

    session: int
    kind: str
    valence: float | None


def what_helped(connection: Connection, user_id: int) -> str:
    """The kind of answer that helped this user before; empty where that cannot be told."""
    newest = connection.execute(_TURNS, {"user": user_id}).all()
    return best(
        [
            Step(row.session_id, kind_of(row.strategy or "", row.reply_emotion), row.valence)
            for row in reversed(newest)
        ]
    )


def best(turns: Sequence[Step]) -> str:
    """The kind of answer after which valence rose most; of turns in order, empty for none."""
    rises: defaultdict[str, list[float]] = defaultdict(list)
    for (session, kind, valence), after in pairwise(turns):
        if valence is None or valence > LOW or not kind:
            continue
        if after.session == session and after.valence is not None:
            rises[kind].append(after.valence - valence)
    means = {kind: sum(seen) / len(seen) for kind, seen in rises.items() if len(seen) >= ENOUGH}
    if not means:
        return ""
    winner = max(means, key=means.__getitem__)
    others = [rise for kind, seen in rises.items() if kind != winner for rise in seen]
    if len(others) < ENOUGH or means[winner] < LIGHTER:
        return ""
    return winner if means[winner] - sum(others) / len(others) >= BETTER else ""


def kind_of(strategy: str, voice: str) -> str:
    """The kind of an answer: by the move that was chosen, else by the voice it was spoken with."""
    if strategy.startswith(_LISTENING):
        return "listening"
    if strategy.startswith(_ASKING):
        return "asking"
    if strategy.startswith(("care", "tool", "memory", "no-memory", "fact", "repeat")):
        return ""  # what was said then was not chosen for comfort
    return _BY_VOICE.get(voice, "")


def helped_line(kind: str, lang: Lang) -> str:
    """The hint in words that hedge; empty for no kind."""
    if kind not in _WORDS[lang]:
        return ""
    if lang == "zh":
        return f"以前用户低落时，{_WORDS[lang][kind]}好像有帮助。"
    return f"When they sounded low before, {_WORDS[lang][kind]} seemed to help."
