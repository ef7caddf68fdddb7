"""The tasks of OSUM and OSUM-EChat: what may be asked about an utterance, and in which words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from echat_sdk.errors import ConfigError
from echat_sdk.model.echat.prompt import OSUM_TASK_PROMPTS, TASK_PROMPTS


class Dimension(StrEnum):
    """What a label is about, under the name that upstream's task tags have."""

    EVENT = "CAPTION"
    EMOTION = "EMOTION"
    STYLE = "STYLE"
    AGE = "AGE"
    GENDER = "GENDER"


_IN_CHINESE: Mapping[Dimension, str] = {
    Dimension.EVENT: "音频事件",
    Dimension.EMOTION: "情感",
    Dimension.STYLE: "风格",
    Dimension.AGE: "年龄",
    Dimension.GENDER: "性别",
}
# Upstream writes these three before age and gender, except in its two longest tasks.
_ORDER = tuple(Dimension)
_DESCRIBED_TAGS = "<CAPTION> <AUDIO>"
_DESCRIBED_PROMPT = "请用文字描述这段音频的内容。"
_LONG_ORDERS = (
    (Dimension.AGE, Dimension.GENDER, Dimension.STYLE, Dimension.EMOTION),
    (Dimension.EVENT, Dimension.AGE, Dimension.GENDER, Dimension.EMOTION, Dimension.STYLE),
)


class Form(StrEnum):
    """What else an answer is, beside its labels."""

    PLAIN = ""
    ALIGNED = "ALIGN"
    PUNCTUATED = "PUNCTUATION"
    ANSWERED = "S2TCHAT"
    DESCRIBED = "AUDIO"


_LABEL_TASKS: Mapping[str, Dimension] = {
    "ved": Dimension.EVENT,
    "ser": Dimension.EMOTION,
    "ssr": Dimension.STYLE,
    "sap": Dimension.AGE,
    "sgc": Dimension.GENDER,
}
_FORM_TASKS: Mapping[str, Form] = {
    "asr": Form.PLAIN,
    "srwt": Form.ALIGNED,
    "punctuation": Form.PUNCTUATED,
    "sttc": Form.ANSWERED,
    "caption": Form.DESCRIBED,
}
ASK = "ask:"
"""Begins a task in the user's own words."""

TASKS = (*_FORM_TASKS, *_LABEL_TASKS)
"""Names of the tasks that `Task.of` takes."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked about an utterance.

    Attributes:
        labels: Labels asked for, in the order in which they are answered.
        transcribe: Whether the words are asked for.
        form: What else the answer is.
        free: A prompt in the user's own words; the answer is then taken as it comes.
    """

    labels: tuple[Dimension, ...] = ()
    transcribe: bool = True
    form: Form = Form.PLAIN
    free: str = ""

    @classmethod
    def of(cls, *names: str) -> Task:
        """The task that names make together: `asr ser` is words and emotion, `ser` emotion alone.

        `ask: ...` stands alone, and is a question of one's own.

        Raises:
            ConfigError: no such task, or two that cannot be one.
        """
        if len(names) == 1 and names[0].startswith(ASK):
            return cls(transcribe=False, free=names[0].removeprefix(ASK).strip())
        unknown = [name for name in names if name not in TASKS]
        if unknown or not names:
            wrong = f"no task {', '.join(unknown)!r}" if unknown else "no task was given"
            raise ConfigError(f"{wrong}; one or more of {', '.join(TASKS)}")
        forms = {_FORM_TASKS[n] for n in names if n in _FORM_TASKS and n != "asr"}
        labels = {_LABEL_TASKS[n] for n in names if n in _LABEL_TASKS}
        if len(forms) + bool(labels) > 1:
            raise ConfigError(
                f"tasks {', '.join(names)} cannot be asked at once; srwt, punctuation and sttc go "
                "alone, or with asr, which they include; caption goes alone"
            )
        words = "asr" in names or bool(forms - {Form.DESCRIBED})
        return cls(_ordered(labels), words, next(iter(forms), Form.PLAIN))

    @classmethod
    def from_tags(cls, tags: str) -> Task:
        """The task of a `task` field in the data, such as `<TRANSCRIBE> <EMOTION>`.

        Raises:
            ConfigError: not a task about an utterance.
        """
        if tags == _DESCRIBED_TAGS:
            return cls.of("caption")
        names = re.findall(r"<([^<>]+)>", tags)
        labels = tuple(Dimension(name) for name in names if name in [*Dimension])
        forms = [Form(name) for name in names if name in [f for f in Form if f]]
        if not names or len(labels) + len(forms) + names.count("TRANSCRIBE") != len(names):
            raise ConfigError(f"no task {tags!r}; tags such as <TRANSCRIBE> <EMOTION>")
        return cls(labels, "TRANSCRIBE" in names, forms[0] if forms else Form.PLAIN)

    @property
    def tags(self) -> str:
        """The task as the data names it; empty for a free prompt."""
        if self.form is Form.DESCRIBED:
            return _DESCRIBED_TAGS
        names = ["TRANSCRIBE"] * self.transcribe + [*self.labels] + [self.form] * bool(self.form)
        return "" if self.free else " ".join(f"<{name}>" for name in names)

    def prompt(self, *, osum: bool = False) -> str:
        """What to write to the model: upstream's own words where it has some for this task.

        Args:
            osum: Whether it is OSUM, whose prompts name the labels.
        """
        if self.free:
            return self.free
        known = OSUM_TASK_PROMPTS if osum else TASK_PROMPTS
        if self.tags in known:
            return known[self.tags]
        if self.tags in TASK_PROMPTS:
            return TASK_PROMPTS[self.tags]
        if self.form is Form.DESCRIBED:
            return _DESCRIBED_PROMPT
        asked = "、".join(f"<{_IN_CHINESE[label]}>" for label in self.labels)
        if self.transcribe:
            return f"请将以下音频内容进行转录，并在文本结尾分别添加{asked}标签。"
        return f"请对以下音频进行分析，分别返回{asked}标签。"


def _ordered(labels: set[Dimension]) -> tuple[Dimension, ...]:
    known = (order for order in _LONG_ORDERS if set(order) == labels)
    return next(known, tuple(label for label in _ORDER if label in labels))
