"""What the small model is asked: to read a moment, and to answer a question of fact.

It is not asked to comfort. Half a billion parameters that were trained on code answer feelings with
phrases; but they tell well what a sentence is about, and that reading can be checked: the kind is
one of a closed list, and the topic must be a piece of what the person said.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from echat_sdk.model.cascade.generator import Message, Sampling
from echat_sdk.model.cascade.words import content_words, lexicon, plain
from echat_sdk.turn import Lang

KINDS = {
    "joy": "good",
    "kindness": "good",
    "hope": "good",
    "daily": "talk",
    "loss": "bad",
    "unfair": "bad",
    "worry": "bad",
    "setback": "bad",
    "tired": "bad",
    "lonely": "bad",
    "pain": "bad",
    "shame": "bad",
    "conflict": "bad",
}
"""What the model may call a moment, and the kind of moment that it is."""

READING = Sampling(temperature=0, repetition_penalty=1, max_tokens=14)
ANSWERING = Sampling(temperature=0, repetition_penalty=1.1, max_tokens=32)
MAX_HEARD_CHARS = 600
"""More of an utterance than this is not shown to the model; its end is what counts."""

_READ = (
    f"Say in one word what kind of moment the person tells of ({', '.join(KINDS)}), "
    "then what it is about, in the person's own words."
)
_FACT: dict[Lang, str] = {
    "en": (
        "Answer the question in one short spoken sentence. If you are not sure, say: I don't know."
    ),
    "zh": "用一句简短的口语回答问题。如果不确定，就说：我不知道。",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model makes of a moment.

    Attributes:
        kind: `good`, `bad` or `talk`.
        topic: What it is about, as the person said it; empty if the model made it up.
    """

    kind: str
    topic: str


def reading_head(lang: Lang) -> tuple[Message, ...]:
    """The fixed head of the reading prompt."""
    return _head(f"read_{lang}.jsonl", _READ)


def fact_head(lang: Lang) -> tuple[Message, ...]:
    """The fixed head of the prompt for questions of fact."""
    return _head(f"fact_{lang}.jsonl", _FACT[lang])


def is_copied(answer: str, asked: str, lang: Lang) -> bool:
    """Whether an answer only hands back what an example of the head says to another question."""
    said = set(content_words(answer, lang)) - set(content_words(asked, lang))
    head = [message.text for message in fact_head(lang) if message.role != "system"]
    return any(
        said and said <= set(content_words(example, lang)) and plain(question) != plain(asked)
        for question, example in zip(head[::2], head[1::2], strict=True)
    )


@cache
def _head(name: str, system: str) -> tuple[Message, ...]:
    data = resources.files("echat_sdk.model.cascade") / "data" / name
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines() if line.strip()]
    head = [Message("system", system)]
    for row in rows:
        head += [Message("user", row["user"]), Message("assistant", row["assistant"])]
    return tuple(head)


def question(heard: str) -> list[Message]:
    """The part of a prompt that changes: what was said, as data."""
    return [Message("user", heard[-MAX_HEARD_CHARS:])]


def read(completion: str, heard: str) -> Reading | None:
    """What the model wrote, believed only as far as it can be checked."""
    kind, _, topic = completion.strip().partition(":")
    if kind.strip() not in KINDS:
        return None
    return Reading(KINDS[kind.strip()], _own_words(topic.strip(" .。\n"), heard))


_EMPTY = frozenset(lexicon("no_topic"))
_NOT_A_THING = re.compile(
    r"\b(?:i|i'm|you|your|we|he|she|they|am|is|are|was|were|do|did|don't|can't|won't|nobody|to)\b|[你您我他她]|了$",
    re.IGNORECASE,
)


def _own_words(topic: str, heard: str) -> str:
    """The topic, with "the" before it where the person had another article; empty if not theirs."""
    low = heard.lower()
    topic = (
        topic if topic.isupper() or not heard.startswith(topic) else topic[:1].lower() + topic[1:]
    )
    if _NOT_A_THING.search(topic):
        return ""
    if topic and topic.lower() in low and topic.lower() not in _EMPTY:
        return topic if 2 <= len(topic) <= 32 else ""
    bare = topic.lower().removeprefix("the ")
    # "My novel" read as "the novel": the person's own determiner is put back.
    for own in ("my", "our", "a", "an", "his", "her", "their"):
        if f"{own} {bare}" in low and bare not in _EMPTY:
            return f"{own} {bare}" if len(bare) <= 32 else ""
    return ""
