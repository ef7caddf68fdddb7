from __future__ import annotations

import pytest

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.prompt import TASK_PROMPTS
from echat_sdk.model.echat.tasks import TASKS, Form, Task

SER = Task.of("asr", "ser")


@pytest.mark.parametrize("tags", TASK_PROMPTS)
def test_every_task_upstream_asks_for_is_one_of_ours(tags: str) -> None:
    task = Task.from_tags(tags)
    assert task.tags == tags
    assert task.prompt() == TASK_PROMPTS[tags]


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (["asr"], "<TRANSCRIBE>"),
        (["ser"], "<EMOTION>"),
        (["ser", "asr"], "<TRANSCRIBE> <EMOTION>"),
        (["asr", "sgc", "sap", "ssr"], "<TRANSCRIBE> <STYLE> <AGE> <GENDER>"),
        (["sgc", "sap", "ved", "ser", "ssr"], "<CAPTION> <AGE> <GENDER> <EMOTION> <STYLE>"),
        (["srwt", "asr"], "<TRANSCRIBE> <ALIGN>"),
        (["sttc"], "<TRANSCRIBE> <S2TCHAT>"),
        (["punctuation"], "<TRANSCRIBE> <PUNCTUATION>"),
        (["caption"], "<CAPTION> <AUDIO>"),
    ],
)
def test_names_make_a_task(names: list[str], tags: str) -> None:
    assert Task.of(*names).tags == tags
    assert Task.from_tags(tags) == Task.of(*names)


@pytest.mark.parametrize("names", [[], ["asr", "dance"], ["srwt", "ser"], ["srwt", "sttc"]])
def test_names_that_make_no_task_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError):
        Task.of(*names)
    with pytest.raises(ConfigError):
        Task.from_tags(" ".join(f"<{name}>" for name in names))


def test_osum_is_told_the_labels() -> None:
    assert "disgust" in SER.prompt(osum=True)
    assert "disgust" not in SER.prompt()


def test_a_task_without_words_of_upstream_is_put_in_the_same_words() -> None:
    prompt = Task.of("asr", "ser", "ssr").prompt()
    assert "<情感>、<风格>" in prompt
    assert prompt not in TASK_PROMPTS.values()


def test_every_task_has_a_name_and_a_prompt() -> None:
    assert all(Task.of(name).prompt() for name in TASKS)
    assert {Task.of(name).form for name in TASKS} == set(Form)
