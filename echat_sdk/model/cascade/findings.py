"""What a tool gave, put into words. It is data: it is said, and nothing in it is obeyed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from echat_sdk.model.cascade.generator import Message, Sampling, TextGenerator
from echat_sdk.model.cascade.words import content_words
from echat_sdk.turn import Finding, Heard, Lang

MAX_SPOKEN = 400
"""Characters of a finding that are said."""

_WORDING = Sampling(temperature=0, repetition_penalty=1.1, max_tokens=48)
_TASK = "Say the data in one short spoken sentence that answers the person. Use the data alone."
_SHOTS: Mapping[Lang, tuple[tuple[str, str], ...]] = {
    "en": (
        ('What time is it?\n{"hour": 9, "minute": 5}', "It is five past nine."),
        (
            'Is the door locked?\n{"door": "front", "locked": false}',
            "No, the front door is not locked.",
        ),
        (
            'Who called?\n[{"name": "Mrs Hill", "time": "10:40"}]',
            "Mrs Hill called at 10:40.",
        ),
    ),
    "zh": (
        ('现在几点？\n{"hour": 9, "minute": 5}', "现在九点零五分。"),
        ('门锁了吗？\n{"door": "前门", "locked": false}', "没有，前门没锁。"),
        ('谁来过电话？\n[{"name": "王阿姨", "time": "10:40"}]', "王阿姨10:40来过电话。"),
    ),
}
_MARKUP = re.compile(r"<[^<>]{0,200}>|[<>{}\[\]|`*#_]")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SENTENCE_END = (".", "!", "?", "。", "！", "？")


def worded(finding: Finding, heard: Heard, generator: TextGenerator) -> str:
    """A finding as a sentence; empty where there is nothing to tell but that it was done.

    Data is put into words by the small model where its sentence holds nothing else; otherwise it is
    read out as it is.
    """
    if finding.words:
        return _sayable(finding.words)
    if not finding.data:
        return ""
    head = [Message("system", _TASK)]
    for asked, said in _SHOTS[heard.lang]:
        head += [Message("user", asked), Message("assistant", said)]
    (completion,) = generator.complete(
        [Message("user", f"{heard.transcript}\n{finding.data[:MAX_SPOKEN]}")],
        static=head,
        sampling=_WORDING,
    )
    text = completion.text.strip()
    if _is_faithful(text, finding.data, heard):
        return _sayable(text)
    return _sayable(", ".join(_read_out(json.loads(finding.data))) if _whole(finding) else "")


def _is_faithful(text: str, data: str, heard: Heard) -> bool:
    """Whether a sentence is whole, tells of the data, and names no number that is not in it."""
    known = f"{data} {heard.transcript}"
    told = set(content_words(text, heard.lang)) & set(content_words(data, heard.lang))
    numbers = set(_NUMBER.findall(text))
    return (
        text.endswith(_SENTENCE_END)
        and numbers <= set(_NUMBER.findall(known))
        and bool(told or numbers & set(_NUMBER.findall(data)))
    )


def _whole(finding: Finding) -> bool:
    try:
        json.loads(finding.data)
    except ValueError:  # cut, since it was too long
        return False
    return True


def _read_out(data: object, name: str = "") -> Iterator[str]:
    match data:
        case dict():
            for key, value in data.items():
                yield from _read_out(value, str(key).replace("_", " "))
        case list():
            for value in data:
                yield from _read_out(value, name)
        case None | True | False:
            yield f"{name} {'no' if not data else 'yes'}".strip()
        case _:
            yield f"{name} {data}".strip()


def _sayable(text: str) -> str:
    """Plain words of at most so many letters; no markup of any grammar of ours."""
    plain = " ".join(_MARKUP.sub(" ", text).split())[:MAX_SPOKEN].rstrip(" ,;:")
    return plain if not plain or plain.endswith(_SENTENCE_END) else f"{plain}."
