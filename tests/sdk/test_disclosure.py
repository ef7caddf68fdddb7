from __future__ import annotations

from itertools import combinations

import pytest

from echat_sdk.consent import REMEMBERED, RUN, Purpose
from echat_sdk.disclosure import EVERY, VERSION, Reminder, configured, disclosure, question

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


def test_who_is_asked_is_told_what_would_be_judged_if_they_agree() -> None:
    assert disclosure("en", RUN - {Purpose.INFER_AGE}, is_asked=True).text == (
        "I am an AI, not a person. If you agree, I judge how you feel and your gender from your "
        "voice. When we are done I keep nothing."
    )
    assert disclosure("zh", {Purpose.INFER_EMOTION}, is_asked=True).text == (
        "我是人工智能，不是真人。如果你同意，我会从你的声音判断你的情绪。谈话结束后，我什么都不保存。"
    )
    assert "agree" not in disclosure("en", {Purpose.PROCESS_VOICE}, is_asked=True).text


def test_a_question_names_all_that_is_asked_for() -> None:
    assert question("en", [Purpose.PROCESS_VOICE]) == "May I listen to you?"
    assert question("en", [Purpose.INFER_EMOTION, Purpose.PROCESS_VOICE]) == (
        "May I listen to you, and judge from your voice how you feel?"
    )
    assert question("zh", RUN - {Purpose.INFER_AGE}) == (
        "我可以听你说话，从你的声音判断你的心情，并从你的声音猜测你的性别吗？"
    )
    assert question("en", [Purpose.TRAIN], is_again=True).startswith("Sorry, I did not get that.")
    for lang in ("en", "zh"):
        asked = [question(lang, [purpose]) for purpose in Purpose]  # type: ignore[arg-type]
        assert len({*asked}) == len(Purpose)
