from __future__ import annotations

from itertools import combinations

import pytest

from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.disclosure import EVERY, VERSION, Reminder, configured, disclosure

TOLD = {
    Purpose.INFER_EMOTION: ("how you feel", "情绪"),
    Purpose.INFER_GENDER: ("your gender", "性别"),
    Purpose.INFER_AGE: ("your age group", "年龄段"),
}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_says_that_it_is_an_ai_and_names_active_cues_only(lang: str) -> None:
    for n in range(4):
        for active in combinations(TOLD, n):
            text = disclosure(lang, {*active, Purpose.PROCESS_VOICE}).text  # type: ignore[arg-type]
            assert ("an AI" if lang == "en" else "人工智能") in text
            for purpose, (english, chinese) in TOLD.items():
                assert ((english if lang == "en" else chinese) in text) == (purpose in active)


def test_it_reads_as_it_is_said() -> None:
    assert disclosure("en", REMEMBERED).text == (
        "I am an AI, not a person. From your voice I judge how you feel, your gender and your age "
        "group. I keep your words and how you sounded; you can have it erased at any time."
    )
    assert disclosure("en", RUN - {Purpose.INFER_AGE}).text == (
        "I am an AI, not a person. From your voice I judge how you feel and your gender. "
        "When we are done I keep nothing."
    )
    assert disclosure("zh", {Purpose.INFER_EMOTION, *REMEMBERED} - RUN).text == (
        "我是人工智能，不是真人。我会保存你说的话、你说话时的情绪，你随时可以要求删除。"
    )
    assert disclosure("en", {Purpose.STORE_TRANSCRIPT}).text.endswith("I keep nothing.")


def test_each_text_has_a_version() -> None:
    assert disclosure("en", RUN).version == VERSION
    own, other = disclosure("en", RUN, own="Hello, machine."), disclosure("en", RUN, own="Hi.")
    assert own.text == "Hello, machine."
    assert len({own.version, other.version, VERSION}) == 3


def test_who_did_not_start_the_agent_themselves_is_told() -> None:
    assert configured("auto", "private", "en", RUN) == ""
    for deployment in ("service", "workplace", "education"):
        assert "an AI" in configured("auto", deployment, "en", RUN)  # type: ignore[arg-type]
        assert configured("off", deployment, "en", RUN) == ""  # type: ignore[arg-type]
    assert configured("Hello.", "private", "en", RUN) == "Hello."


def test_a_long_session_is_told_every_three_hours() -> None:
    reminder = Reminder(since=100.0)
    told = [at for at in range(100, 100 + 8 * 3600, 60) if reminder.is_due(float(at))]
    assert told == [100 + EVERY, 100 + 2 * EVERY]
