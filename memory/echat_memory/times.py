"""What "on Friday", said some days ago, means today; so that a fact does not grow false. Pure."""

from __future__ import annotations

from datetime import date

from echat_memory.words import TIMES, chinese
from echat_sdk.turn import Lang

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OFFSETS = {"today": 0, "tonight": 0, "tomorrow": 1, "the day after tomorrow": 2, "yesterday": -1}
# Days after which it has certainly been.
_WITHIN = {"this week": 6, "this weekend": 6, "next week": 13, "this month": 30, "next month": 61}
_SOON = 31


def words_now(when: str, told: date, today: date, lang: Lang) -> tuple[bool, str]:
    """Whether a time that was told lies behind us, and words for it today.

    Args:
        when: A key of `words.TIMES`; empty if none was told.
        told: The day on which it was said.
        today: The present day.
        lang: Language of the words.

    Returns:
        (is past, words), such as (False, "tomorrow") or (True, "5 days ago").
    """
    due = _days_until(when, told)
    if due is not None:
        days = (told - today).days + due
        return days < 0, _distance(days, today, lang, told_today=when if told == today else "")
    if told == today and when:
        return False, chinese(TIMES, when) if lang == "zh" else when
    if (today - told).days <= _WITHIN.get(when, _SOON):
        return False, "最近" if lang == "zh" else "soon"
    return True, "前些时候" if lang == "zh" else "some time ago"


def ago(days: int, lang: Lang) -> str:
    """Words for a day that lies so many days behind: `yesterday`, `12 days ago`."""
    if days <= 1:
        key = "today" if days <= 0 else "yesterday"
        return chinese(TIMES, key) if lang == "zh" else key
    return f"{days}天前" if lang == "zh" else f"{days} days ago"


def _days_until(when: str, told: date) -> int | None:
    """Days from the telling to the day itself; None where no single day was named."""
    if when.startswith("on "):
        return (_WEEKDAYS.index(when.removeprefix("on ")) - told.weekday()) % 7
    return _OFFSETS.get(when)


def _distance(days: int, today: date, lang: Lang, *, told_today: str) -> str:
    key = told_today or {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days)
    if key is None and 1 < days < 7:
        key = f"on {_WEEKDAYS[(today.weekday() + days) % 7]}"
    if key is not None:
        return chinese(TIMES, key) if lang == "zh" else key
    return f"{-days}天前" if lang == "zh" else f"{-days} days ago"
