"""What the small model is asked: what somebody feels, and the answer to a question of fact.

It is not asked to comfort. Half a billion parameters that were trained on code answer feelings with
phrases.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from echat_sdk.model.cascade.generator import Message, Sampling
from echat_sdk.model.cascade.words import content_words
from echat_sdk.plain_words import plain
from echat_sdk.turn import Lang

ANSWERING = Sampling(temperature=0, repetition_penalty=1.1, max_tokens=32)
MAX_HEARD_CHARS = 600
"""More of an utterance than this is not shown to the model; its end is what counts."""

FEEL = "They feel"
"""How the model's answer about a moment begins; what would come next is read (`moment`)."""

_MOMENT = "What does the person feel: grief, sadness, anger, fear, tired, lonely, joy or nothing?"
_FACT: dict[Lang, str] = {
    "en": (
        "Answer the question in one short spoken sentence. If you are not sure, say: I don't know."
    ),
    "zh": "用一句简短的口语回答问题。如果不确定，就说：我不知道。",
}


def moment_head() -> tuple[Message, ...]:
    """The fixed head of the prompt that tells what somebody feels; one for both languages."""
    return (Message("system", _MOMENT),)


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
