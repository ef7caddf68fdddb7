"""What is said to who asks what is kept of them, or to forget it: our own lines. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Literal

from echat_sdk.consent import Purpose
from echat_sdk.second_person import UNSPOKEN, bare, to_second_person
from echat_sdk.turn import Known, Lang

MOST_TOLD = 4
"""Facts that are told aloud; of more their number is told."""

Sentences = tuple[str, ...]

Said = Literal[
    "today", "last", "all", "all, and no more", "nothing", "sure", "kept", "cannot", "failed"
]

LINES: dict[Said, dict[Lang, Sentences]] = {
    "today": {
        "en": ("Done.", "All that you told me today is erased."),
        "zh": ("好的。", "今天你对我说的，我全都删掉了。"),
    },
    "last": {
        "en": ("Done.", "What you said just now is erased."),
        "zh": ("好的。", "你刚才说的，我已经删掉了。"),
    },
    "all": {
        "en": ("Done.", "All that I knew about you is erased."),
        "zh": ("好的。", "我知道的关于你的一切都删掉了。"),
    },
    "all, and no more": {
        "en": (
            "Done.",
            "All that I knew about you is erased.",
            "From here on I keep nothing, unless you agree to it again.",
        ),
        "zh": (
            "好的。",
            "我知道的关于你的一切都删掉了。",
            "从现在起，除非你再次同意，我什么都不会保存。",
        ),
    },
    "nothing": {
        "en": ("There is nothing of that to erase; I have not kept it.",),
        "zh": ("这些我没有保存，没有什么要删的。",),
    },
    "sure": {
        "en": ("Shall I erase all that I know about you, for good?",),
        "zh": ("要我把我知道的关于你的一切永远删掉吗？",),
    },
    "kept": {
        "en": ("All right, I have erased nothing.",),
        "zh": ("好的，我什么都没有删。",),
    },
    "cannot": {
        "en": ("I cannot erase that myself here.", "Please ask whoever runs me."),
        "zh": ("在这里我自己删不了。", "请告诉我的管理者。"),
    },
    "failed": {
        "en": ("I could not erase it just now.", "Please ask me again in a moment."),
        "zh": ("我现在没能删掉。", "请过一会儿再说一次。"),
    },
}

_KEEPS: dict[Lang, dict[str, str]] = {
    "en": {Purpose.STORE_TRANSCRIPT: "your words", Purpose.STORE_EMOTION: "how you sounded"},
    "zh": {Purpose.STORE_TRANSCRIPT: "你说的话", Purpose.STORE_EMOTION: "你说话时的情绪"},
}
_MONTHS = """
    January February March April May June July August September October November December
""".split()  # noqa: SIM905 - as it is read


def told(
    known: Known,
    lang: Lang,
    *,
    allowed: Collection[str] | None = None,
    since: date | None = None,
    today: date,
    shown: str = "",
) -> Sentences:
    """What is kept of somebody, in a few sentences to them.

    Args:
        known: What the memory has.
        lang: Language of the sentences.
        allowed: The purposes that they are used for; None where nobody is asked.
        since: The day of `known.since` where they live.
        today: The day there.
        shown: How they see all of it.
    """
    if not (known.turns or known.facts):
        return _guest(known, lang)
    keeps = [
        words for purpose, words in _KEEPS[lang].items() if allowed is None or purpose in allowed
    ]
    facts = [bare(fact) for fact in known.facts if not fact.startswith(UNSPOKEN)]
    facts = [to_second_person(fact, lang) for fact in facts]
    more = len(known.facts) - len(facts[:MOST_TOLD])
    make = _in_chinese if lang == "zh" else _in_english
    mood = to_second_person(known.mood, lang)
    return tuple(
        filter(
            None,
            (
                _facts(facts[:MOST_TOLD], more, lang),
                make(known.turns, keeps, _day(since, today, lang)),
                mood,
                _how(shown, lang),
            ),
        )
    )


def _guest(known: Known, lang: Lang) -> Sentences:
    if lang == "zh":
        held = "刚才说的，我只在谈话时记着，谈完就没有了。"
        return ("关于你，我什么都没有保存。", *([held] * bool(known.held)))
    held = "What we said just now I only hold while we talk; then it is gone."
    return ("I keep nothing about you.", *([held] * bool(known.held)))


def _facts(facts: Sequence[str], more: int, lang: Lang) -> str:
    if lang == "zh":
        rest = f"还有另外{more}件事" if facts else f"{more}件事，这里不念出来"
        told_ = [*facts, *([rest] * bool(more))]
        return f"你告诉过我：{'，'.join(told_)}。" if told_ else ""
    things = "thing" if more == 1 else "things"
    rest = f"{more} other {things}" if facts else f"{more} {things} that I do not say aloud"
    told_ = [*(f"that {fact}" for fact in facts), *([rest] * bool(more))]
    if not told_:
        return ""
    return f"You told me {', '.join(told_[:-1])}{' and ' * bool(told_[1:])}{told_[-1]}."


def _in_english(turns: int, keeps: Sequence[str], since: str) -> str:
    if not turns:
        return f"I keep that {since}." if since else ""
    what = " and ".join(keeps) or "a part"
    return f"I keep {what} from {turns} {'exchange' if turns == 1 else 'exchanges'}, {since}."


def _in_chinese(turns: int, keeps: Sequence[str], since: str) -> str:
    if not turns:
        return f"这些是我{since}知道的。" if since else ""
    return f"{since}，我保存了{turns}次对话里{'和'.join(keeps) or '的一部分'}。"


def _day(day: date | None, today: date, lang: Lang) -> str:
    if day is None or day >= today:
        return "今天" if lang == "zh" else "from today"
    if lang == "zh":
        year = f"{day.year}年" * (day.year != today.year)
        return f"从{year}{day.month}月{day.day}日起"
    return f"since {day.day} {_MONTHS[day.month - 1]}" + f" {day.year}" * (day.year != today.year)


def _how(shown: str, lang: Lang) -> str:
    if lang == "zh":
        way = f"想看全部内容，请用 {shown}" if shown else "想看全部内容，请问我的管理者"
        return f"{way}；也可以让我忘掉。"
    way = f"To see all of it, use {shown}" if shown else "Whoever runs me can show you all of it"
    return f"{way}; or tell me to forget it."
