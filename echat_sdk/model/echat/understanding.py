"""What a model's answer to a task says, as values.

An answer is `transcript<TAG>…`, `<TAG>…`, `<0.00>字<0.20>…` or `transcript<开始回答>reply`. It
repeats what somebody said, so it is read from its right end with closed vocabularies: words cannot
pass for a label. What is malformed is mended, and `repairs` says so; no answer raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from echat_sdk.cues import Age, Cue, Cues, Emotion, Gender, ReplyEmotion, Style, VocalEvent
from echat_sdk.errors import GenerationError
from echat_sdk.model.echat.aligned import Word, join_words, read_words, write_words
from echat_sdk.model.echat.tasks import Dimension, Form, Task
from echat_sdk.model.think import Think, label_from_tag, tag_of
from echat_sdk.model.think import parse as parse_think
from echat_sdk.model.think_stream import ThinkSplitter
from echat_sdk.turn import TextDelta, ThinkDelta, Thought

START_OF_ANSWER = "<开始回答>"

Label = Emotion | VocalEvent | Style | Age | Gender


# mypy cannot follow a type that is looked up, so each dimension has its own reader.
_READ: Mapping[Dimension, Callable[[str], Label | None]] = {
    Dimension.EVENT: lambda tag: label_from_tag(VocalEvent, tag),
    Dimension.EMOTION: lambda tag: label_from_tag(Emotion, tag),
    Dimension.STYLE: lambda tag: label_from_tag(Style, tag),
    Dimension.AGE: lambda tag: label_from_tag(Age, tag),
    Dimension.GENDER: lambda tag: label_from_tag(Gender, tag),
}


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
