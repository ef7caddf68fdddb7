from __future__ import annotations

import pytest

from echat_plugins.safety.reply_lint import Context, lint
from echat_plugins.safety.usage import EVERY, usage_reminder
from echat_sdk.disclosure import Reminder
from echat_sdk.turn import Lang


@pytest.mark.parametrize(
    ("spent", "lang", "told"),
    [
        (EVERY, "en", "about 3 hours"),
        (3600.0, "en", "about an hour"),
        (EVERY, "zh", "大约三个小时"),
        (40 * 3600.0, "zh", "大约40个小时"),
    ],
)
def test_the_time_that_was_spent_is_told(spent: float, lang: Lang, told: str) -> None:
    assert told in usage_reminder(spent, lang)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_reminder_asks_nothing_and_holds_nobody(lang: Lang) -> None:
    text = usage_reminder(EVERY, lang)
    assert not set(text) & set("?？")
    assert lint(text, Context("Bye.", lang)).hooks == ()


def test_it_is_due_every_three_hours() -> None:
    reminder = Reminder(every=EVERY)
    assert [reminder.is_due(hour * 3600.0) for hour in (1, 2, 3, 4, 5, 6)] == [
        False, False, True, False, False, True,
    ]  # fmt: skip
