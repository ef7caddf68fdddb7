"""The empathy trace of a reply: what was heard, felt, remembered and chosen; as a record, in words.

Made from the rows when it is asked for. What was erased since is missing from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from echat_memory import recall, sealing
from echat_memory.comfort import helped_line
from echat_memory.earlier import told_then
from echat_memory.facts import Fact, FactKind, line
from echat_memory.plans import Remembered, read
from echat_memory.schema import FactRow, PlanRow
from echat_sdk.cues import UNKNOWN, Cue
from echat_sdk.turn import Episode, Lang, SafetyEvent, Turn

_PLAN = select(PlanRow.remembered).where(PlanRow.turn_id == bindparam("turn"))
_FACTS = select(FactRow.id, FactRow.kind, FactRow.subject, FactRow.value, FactRow.valid_from).where(
    FactRow.user_id == bindparam("user"), FactRow.id.in_(bindparam("facts", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Why a turn was answered as it was.

    Attributes:
        turn_id: The store's id of the turn.
        at: When it was remembered, in UTC.
        turn: What was heard (`transcript`), felt (`cues`), chosen (`strategy`, `reply_emotion`) and
            said (`reply`).
        last_turns: How many turns before it the reply was given.
        facts: The facts that it was given, as they were told then.
        episodes: The earlier turns that it was given.
        mood: The mood line that it was given; empty for none.
        helped: The line on what had helped before; empty for none.
    """

    turn_id: str
    at: datetime
    turn: Turn
    last_turns: int = 0
    facts: tuple[str, ...] = ()
    episodes: tuple[Episode, ...] = ()
    mood: str = ""
    helped: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "turn": self.turn_id,
            "at": self.at.isoformat(),
            "status": self.turn.status.value,
            "heard": {"transcript": self.turn.transcript, "lang": self.turn.lang},
            "felt": self.turn.cues.to_json(),
            "remembered": {
                "last_turns": self.last_turns,
                "facts": list(self.facts),
                "episodes": [
                    {"said": e.said, "when": e.when, "sounded": e.sounded} for e in self.episodes
                ],
                "mood": self.mood,
                "helped": self.helped,
            },
            "chosen": {
                "strategy": self.turn.strategy,
                "reply_emotion": self.turn.reply_emotion.word,
            },
            "safety": None if self.turn.safety is None else asdict(self.turn.safety),
            "said": self.turn.reply,
            "in_words": dict(in_words(self)),
        }


def trace(connection: Connection, who: str, turn_id: int | None) -> Trace | None:
    """The trace of a turn of this user, the last one for None; None where there is no such turn."""
    found = recall.newest(connection, who, 1 + recall.MOOD_TURNS, until=turn_id)
    if not found or turn_id not in (None, found[0].id):
        return None
    row, before = found[0], found[1:]
    ((_, turn),) = recall.turns_of(connection, found[:1])
    plan = connection.execute(_PLAN, {"turn": row.id}).one_or_none()
    given = (
        Remembered()
        if plan is None
        else read(
            sealing.words(connection, PlanRow, row.id, row.user_id, plan._mapping)["remembered"]
        )
    )
    return Trace(
        turn_id=str(row.id),
        at=row.created_at,
        turn=turn,
        last_turns=given.turns,
        facts=_facts(connection, row, given, turn.lang),
        episodes=told_then(connection, row.user_id, given.episodes, row.created_at, turn.lang),
        mood=recall.mood_of(before, row.created_at, turn.lang) if given.mood else "",
        helped=helped_line(given.helped, turn.lang),
    )


def _facts(connection: Connection, row: Row[Any], given: Remembered, lang: Lang) -> tuple[str, ...]:
    found: dict[int, str] = {}
    for each in connection.execute(_FACTS, {"user": row.user_id, "facts": given.facts}):
        words = sealing.words(connection, FactRow, each.id, row.user_id, each._mapping)
        found[each.id] = line(
            Fact(FactKind(each.kind), words["subject"], words["value"]),
            told=each.valid_from.date(),
            today=row.created_at.date(),
            lang=lang,
        )
    return tuple(found[fact] for fact in given.facts if fact in found)


# --- in words --------------------------------------------------------------------------------

_FEELINGS: Mapping[Lang, Mapping[str, str]] = {
    "en": {
        "sad": "sad",
        "anger": "angry",
        "neutral": "calm, without a strong feeling",
        "happy": "happy",
        "surprise": "surprised",
        "fear": "afraid",
        "disgust": "disgusted",
        "other": "moved by something that has no name here",
    },
    "zh": {
        "sad": "难过",
        "anger": "生气",
        "neutral": "平静",
        "happy": "开心",
        "surprise": "惊讶",
        "fear": "害怕",
        "disgust": "厌恶",
        "other": "有说不清的情绪",
    },
}
_VOICES_ZH = {
    "joyful": "愉悦",
    "sorry": "抱歉",
    "happy": "开心",
    "angry": "愤怒",
    "surprised": "惊讶",
    "disgusted": "厌恶",
    "sad": "悲伤",
    "afraid": "害怕",
    "tearful": "哭腔",
    "comforting": "安慰",
    "neutral": "中立",
}


def in_words(found: Trace, lang: Lang | None = None) -> tuple[tuple[str, str], ...]:
    """The trace in words that hedge: heard, felt, remembered, chosen, said, each with its words.

    Args:
        found: The trace.
        lang: Language of the sentences; None for that of the turn.
    """
    return _in_chinese(found) if (lang or found.turn.lang) == "zh" else _in_english(found)


def _in_english(found: Trace) -> tuple[tuple[str, str], ...]:
    turn = found.turn
    known = [*found.facts, *filter(None, [found.mood, found.helped])]
    known += [
        f"{e.when} they said: {e.said.rstrip('.')}"
        + (f" (sounding {_feeling(e.sounded, 'en')})" * bool(e.sounded))
        for e in found.episodes
    ]
    if found.last_turns:
        known.insert(0, "what was just spoken of")
    chose = f"the move {turn.strategy!r}, in" if turn.strategy else "to speak in"
    return (
        ("heard", turn.transcript or "no words"),
        ("felt", _felt(turn.cues.emotion, "en")),
        ("remembered", f"{'; '.join(known)}." if known else "nothing"),
        *_danger(turn.safety, "en"),
        ("chosen", f"{chose} a {turn.reply_emotion.word} voice."),
        ("said", turn.reply or "nothing that was heard"),
    )


def _in_chinese(found: Trace) -> tuple[tuple[str, str], ...]:
    turn = found.turn
    known = [*found.facts, *(text.rstrip("。") for text in (found.mood, found.helped) if text)]
    known += [
        f"{e.when}用户说过：{e.said.rstrip('。')}"
        + (f"（听起来{_feeling(e.sounded, 'zh')}）" * bool(e.sounded))
        for e in found.episodes
    ]
    if found.last_turns:
        known.insert(0, "刚才聊的内容")
    chose = f"“{turn.strategy}”，" if turn.strategy else ""
    return (
        ("听到", turn.transcript or "没有话语"),
        ("感受", _felt(turn.cues.emotion, "zh")),
        ("想起", f"{'；'.join(known)}。" if known else "没有"),
        *_danger(turn.safety, "zh"),
        ("选择", f"{chose}用{_VOICES_ZH[turn.reply_emotion.word]}的语气。"),
        ("说", turn.reply or "没有被听到的话"),
    )


def _danger(event: SafetyEvent | None, lang: Lang) -> tuple[tuple[str, str], ...]:
    """What danger the words told of, as the detector calls it."""
    if event is None:
        return ()
    if lang == "zh":
        told = f"话里有危险的迹象（{event.category}，{event.severity}，{event.detector}）。"
        return (("危险", told),)
    told = f"the words told of a danger ({event.category}, {event.severity}, by {event.detector})"
    return (("danger", f"{told}: {event.action}."),)


def _feeling(label: str, lang: Lang) -> str:
    return _FEELINGS[lang].get(label, label)


def _felt(emotion: Cue, lang: Lang) -> str:
    """The apparent emotion, hedged; what else it may have been; or why it is not known."""
    if not emotion.is_known:
        if lang == "zh":
            return "听不出情绪。"
        return f"how they sounded is not known{f' ({emotion.why})' if emotion.why else ''}."
    shares = sorted(emotion.distribution.items(), key=lambda item: -item[1])
    other = next((k for k, p in shares if k not in (emotion.label, UNKNOWN) and p >= _PERHAPS), "")
    feeling = _feeling(emotion.label, lang)
    if lang == "zh":
        perhaps = f"，也可能是{_feeling(other, lang)}" if other else ""
        return f"听起来像是{feeling}（把握{emotion.confidence:.0%}）{perhaps}。"
    perhaps = f", or perhaps {_feeling(other, lang)}" if other else ""
    return f"they seemed to sound {feeling} ({emotion.confidence:.0%} sure){perhaps}."


_PERHAPS = 0.2  # the share from which a second feeling is told
