from __future__ import annotations

import pytest

from echat_sdk.model.cascade.prompt import (
    MAX_HEARD_CHARS,
    fact_head,
    is_copied,
    question,
)
from echat_sdk.turn import Lang


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_examples_of_facts_teach_to_say_that_one_does_not_know(lang: Lang) -> None:
    answers = [m.text for m in fact_head(lang) if m.role == "assistant"]
    unknown = "I don't know." if lang == "en" else "我不知道。"
    assert 1 < answers.count(unknown) < len(answers) / 2


def test_only_the_end_of_a_long_utterance_is_shown() -> None:
    (message,) = question("a" * 5000 + "end")
    assert len(message.text) == MAX_HEARD_CHARS
    assert message.text.endswith("end")


def test_an_answer_copied_from_an_example_is_found() -> None:
    copied = "William Shakespeare wrote Don Quixote."
    assert is_copied(copied, "Who wrote Don Quixote?", "en")
    assert not is_copied("William Shakespeare wrote Hamlet.", "Who wrote Hamlet?", "en")
    assert not is_copied("The capital of Peru is Lima.", "What is Peru's capital?", "en")
