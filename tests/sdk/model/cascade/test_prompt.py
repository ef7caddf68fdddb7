from __future__ import annotations

import pytest

from echat_sdk.model.cascade.prompt import (
    KINDS,
    MAX_HEARD_CHARS,
    Reading,
    fact_head,
    is_copied,
    question,
    read,
    reading_head,
)
from echat_sdk.turn import Lang


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_examples_keep_the_form_that_is_read_back(lang: Lang) -> None:
    head = reading_head(lang)
    assert head[0].role == "system"
    for said, answer in zip(head[1::2], head[2::2], strict=True):
        assert (said.role, answer.role) == ("user", "assistant")
        reading = read(answer.text, said.text)
        assert reading is not None
        assert reading.topic


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_examples_of_facts_teach_to_say_that_one_does_not_know(lang: Lang) -> None:
    answers = [m.text for m in fact_head(lang) if m.role == "assistant"]
    unknown = "I don't know." if lang == "en" else "我不知道。"
    assert 1 < answers.count(unknown) < len(answers) / 2


def test_a_topic_is_believed_if_the_person_said_it() -> None:
    heard = "They sold my old bike without asking."
    assert read("unfair: my old bike", heard) == Reading("bad", "my old bike")
    assert read("unfair: the old bike", heard) == Reading("bad", "my old bike")
    assert read("unfair: the red car", heard) == Reading("bad", "")


@pytest.mark.parametrize("topic", ["they", "I told you", "today", "nobody", "x" * 40])
def test_a_topic_that_is_no_thing_is_dropped(topic: str) -> None:
    heard = f"They said that today nobody came and I told you {'x' * 40}."
    assert read(f"loss: {topic}", heard) == Reading("bad", "")


@pytest.mark.parametrize("written", ["", "grief: my bike", "As an AI language model", "joy joy"])
def test_anything_but_the_form_is_no_reading(written: str) -> None:
    assert read(written, "my bike") is None


def test_every_kind_is_one_that_can_be_answered() -> None:
    assert set(KINDS.values()) == {"good", "bad", "talk"}


def test_only_the_end_of_a_long_utterance_is_shown() -> None:
    (message,) = question("a" * 5000 + "end")
    assert len(message.text) == MAX_HEARD_CHARS
    assert message.text.endswith("end")


def test_an_answer_copied_from_an_example_is_found() -> None:
    copied = "William Shakespeare wrote Don Quixote."
    assert is_copied(copied, "Who wrote Don Quixote?", "en")
    assert not is_copied("William Shakespeare wrote Hamlet.", "Who wrote Hamlet?", "en")
    assert not is_copied("The capital of Peru is Lima.", "What is Peru's capital?", "en")
