"""The tasks of OSUM and OSUM-EChat: what to ask, and what the answer says as values.

An answer is `transcript<TAG>…`, `<TAG>…`, `<0.00>字<0.20>…` or `transcript<开始回答>reply`. It
repeats what somebody said, so it is read from its right end with closed vocabularies: words cannot
pass for a label. What is malformed is mended, and `repairs` says so; no answer raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from echat_sdk.cues import Age, Cue, Cues, Emotion, Gender, ReplyEmotion, Style, VocalEvent
from echat_sdk.errors import ConfigError, GenerationError
from echat_sdk.model.echat.aligned import Word, join_words, read_words, write_words
from echat_sdk.model.echat.prompt import OSUM_TASK_PROMPTS, TASK_PROMPTS
from echat_sdk.model.think import Think, label_from_tag, tag_of
from echat_sdk.model.think import parse as parse_think
from echat_sdk.model.think_stream import ThinkSplitter
from echat_sdk.turn import TextDelta, ThinkDelta, Thought

START_OF_ANSWER = "<开始回答>"

Label = Emotion | VocalEvent | Style | Age | Gender


class Dimension(StrEnum):
    """What a label is about, under the name that upstream's task tags have."""

    EVENT = "CAPTION"
    EMOTION = "EMOTION"
    STYLE = "STYLE"
    AGE = "AGE"
    GENDER = "GENDER"


# mypy cannot follow a type that is looked up, so each dimension has its own reader.
_READ: Mapping[Dimension, Callable[[str], Label | None]] = {
    Dimension.EVENT: lambda tag: label_from_tag(VocalEvent, tag),
    Dimension.EMOTION: lambda tag: label_from_tag(Emotion, tag),
    Dimension.STYLE: lambda tag: label_from_tag(Style, tag),
    Dimension.AGE: lambda tag: label_from_tag(Age, tag),
    Dimension.GENDER: lambda tag: label_from_tag(Gender, tag),
}
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
        unknown = ", ".join(name for name in names if name not in TASKS)
        if unknown or not names:
            wrong = f"no task {unknown!r}" if unknown else "no task was given"
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


@dataclass(frozen=True, slots=True)
class Understanding:
    """What an answer says. A label that is None is unknown.

    Attributes:
        transcript: The words.
        labels: The labels that were asked for and given.
        words: The words with their times.
        reply: The answer to what was said, to a free prompt or a description.
        repairs: What had to be mended, in words that repeat nothing of what was said.
    """

    transcript: str = ""
    labels: Mapping[Dimension, Label] = field(default_factory=lambda: MappingProxyType({}))
    words: tuple[Word, ...] = ()
    reply: str = ""
    repairs: tuple[str, ...] = ()

    def label(self, dimension: Dimension) -> Label | None:
        """The label of a dimension, None where unknown."""
        return self.labels.get(dimension)

    def cues(self, confidence: Mapping[Dimension, float] | None = None) -> Cues:
        """The labels as cues.

        Args:
            confidence: How sure the model was of each, 0 to 1; it does not say so itself.
        """

        def cue(dimension: Dimension) -> Cue:
            label = self.label(dimension)
            if label is None:
                return Cue(why="the model gave no label")
            return Cue(label=label.value, confidence=(confidence or {}).get(dimension, 0.0))

        return Cues(
            emotion=cue(Dimension.EMOTION),
            gender=cue(Dimension.GENDER),
            age=cue(Dimension.AGE),
            events=cue(Dimension.EVENT),
            style=cue(Dimension.STYLE),
        )


def render(task: Task, answer: Understanding) -> str:
    """The answer as a model writes it; `parse` reads it back."""
    match task.form:
        case Form.ALIGNED:
            return write_words(answer.words)
        case Form.ANSWERED:
            reply = answer.reply.replace(START_OF_ANSWER, "")
            return f"{answer.transcript}{START_OF_ANSWER}{reply}"
        case Form.DESCRIBED:
            return answer.reply
    if task.free:
        return answer.reply
    tags = "".join(tag_of(answer.label(dimension)) for dimension in task.labels)
    return answer.transcript + tags if task.transcribe else tags


def parse(task: Task, text: str) -> Understanding:
    """What a model's answer to a task says."""
    text = text.strip()
    if task.free or task.form is Form.DESCRIBED:
        return Understanding(reply=text)
    if task.form is Form.ALIGNED:
        words, repairs = read_words(text)
        return Understanding(transcript=join_words(words), words=words, repairs=repairs)
    if task.form is Form.ANSWERED:
        # The reply is the model's own and short of marks; the transcript is anybody's words.
        said, mark, reply = text.rpartition(START_OF_ANSWER)
        if not mark:
            return Understanding(transcript=text, repairs=("no start of an answer",))
        return Understanding(transcript=said.strip(), reply=reply.strip())
    return _parse_labels(task, text)


# --- labels --------------------------------------------------------------------------------------

_LAST_TAG = re.compile(r"<([^<>]{0,24})>$")
_FIRST_TAG = re.compile(r"<([^<>]{0,24})>")
_UNKNOWN = frozenset({"&&", "", "NONE", "NULL"})


def _parse_labels(task: Task, text: str) -> Understanding:
    rest, tags = text, list[str]()
    while len(tags) < len(task.labels) and (tag := _LAST_TAG.search(rest)):
        tags.insert(0, tag[1])
        rest = rest[: tag.start()].rstrip()
    repairs = []
    if task.labels and not tags:
        if (tag := _FIRST_TAG.match(text)) and any(_READ[d](tag[1]) for d in task.labels):
            repairs.append("labels before the words")
            tags, rest = [tag[1]], text[tag.end() :].strip()
        elif not task.transcribe:
            repairs.append("a label without brackets")
            tags, rest = re.split(r"[\s,，、]+", text)[: len(task.labels)], ""
    labels = _assign(task.labels, tags)
    missing = len(task.labels) - len(tags)
    if missing:
        repairs.append(f"{missing} of {len(task.labels)} labels missing")
    strange = sum(tag.strip().upper() not in _UNKNOWN for tag in tags) - len(labels)
    if strange:
        repairs.append(f"{strange} labels outside the vocabulary")
    if rest and not task.transcribe:
        repairs.append("words where only labels were asked for")
    return Understanding(transcript=rest, labels=labels, repairs=tuple(repairs))


def _assign(dimensions: Sequence[Dimension], tags: Sequence[str]) -> dict[Dimension, Label]:
    """Each tag to its own dimension if all are there; else to the first that knows it."""
    if len(tags) == len(dimensions):
        read = {d: _READ[d](tag) for d, tag in zip(dimensions, tags, strict=True)}
        known = {d: label for d, label in read.items() if label is not None}
        if len(known) == sum(tag.strip().upper() not in _UNKNOWN for tag in tags):
            return known
    found: dict[Dimension, Label] = {}
    for tag in tags:
        for dimension in dimensions:
            label = _READ[dimension](tag)
            if label is not None and dimension not in found:
                found[dimension] = label
                break
    return found


# --- replies -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat mode answered.

    Attributes:
        text: The words of the reply, without any tag.
        reply_emotion: How it is to be spoken.
        thought: The thought as written; empty without one.
        think: The thought as a value; None for one in the model's own words.
    """

    text: str
    reply_emotion: ReplyEmotion = ReplyEmotion.NEUTRAL
    thought: str = ""
    think: Think | None = None


def parse_reply(text: str) -> Reply:
    """What a whole answer of a chat mode says: thought, reply emotion and words kept apart."""
    splitter = ThinkSplitter()
    deltas = [*splitter.push(text), *splitter.finish()]
    thought = "".join(d.text for d in deltas if isinstance(d, ThinkDelta))
    emotions = [d.reply_emotion for d in deltas if isinstance(d, Thought)]
    try:
        think = parse_think(thought) if thought else None
    except GenerationError:
        think = None
    return Reply(
        text="".join(d.text for d in deltas if isinstance(d, TextDelta)).strip(),
        reply_emotion=next(iter(emotions), ReplyEmotion.NEUTRAL),
        thought=thought,
        think=think,
    )
