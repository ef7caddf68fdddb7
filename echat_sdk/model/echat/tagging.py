"""What a training answer begins with: a thought made of the sample's labels, the reply's own tag.

As we write both, and as upstream's pipelines do (`reference_…`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from echat_sdk.cues import Age, Emotion, Gender, ReplyEmotion, VocalEvent
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.think import (
    CLOSING,
    THINK,
    THINK_END,
    UNKNOWN_TAG,
    Think,
    label_from_tag,
    render,
    reply_emotion_from_tag,
)

UNKNOWN = f"<{UNKNOWN_TAG}>"
"""A label that nobody knows."""

_NEUTRAL = f"<{ReplyEmotion.NEUTRAL.value}>"
_LEADING = re.compile(r"<([^<>]+)>")
_OLDER = ("CONFUSED", "SARCASM", "EMBARRASSED", "CURIOUS", "WORRIED", "SHY")
"""Reply tags of older data that have no heir among today's eleven."""


def reply_tag(text: str, mode: Mode, *, tag: bool) -> tuple[str, str]:
    """The reply emotion as a tag, and the text with it in front (`tag`) or without."""
    if mode is Mode.UNDERSTAND:
        return _NEUTRAL, text
    leading = _LEADING.match(text)
    emotion = reply_emotion_from_tag(leading[1]) if leading else None
    if leading and leading[1] in _OLDER:
        emotion = ReplyEmotion.NEUTRAL
    bare = text[leading.end() :].lstrip() if leading and emotion else text
    written = f"<{(emotion or ReplyEmotion.NEUTRAL).value}>"
    carries = tag and (emotion is not None or mode.hears)
    return written, written + bare if carries else bare


def reference_reply_tag(text: str, mode: Mode, *, tag: bool) -> tuple[str, str]:
    """Upstream's `reply_tag`: without `tag`, anything in brackets is taken for an emotion."""
    if not tag:
        match = re.match(r"^<([^<>]+)>(.*)$", text)
        return (f"<{match[1]}>", match[2].lstrip()) if match else (_NEUTRAL, text)
    if mode is Mode.UNDERSTAND or not mode.hears:
        return _NEUTRAL, text
    leading = _LEADING.match(text)
    if not leading:
        return _NEUTRAL, _NEUTRAL + text
    if leading[1] in [emotion.value for emotion in ReplyEmotion]:
        return leading[0], text
    # Tags of older data are made neutral, wherever they stand.
    return _NEUTRAL, text.replace(leading[0], _NEUTRAL)


def thought(said: str, extra: Mapping[str, Any], emotion: str) -> str:
    """The thought in tags, its marks included; labels that `extra` lacks are written as unknown."""

    def tag(key: str) -> str:
        return str(extra.get(key, "")).strip("<> ")

    think = Think(
        transcript=said,
        age=label_from_tag(Age, tag("age")),
        gender=label_from_tag(Gender, tag("gender")),
        emotion=label_from_tag(Emotion, tag("q_emotion")),
        event=label_from_tag(VocalEvent, tag("caption")),
        reply_emotion=reply_emotion_from_tag(emotion.strip("<>")) or ReplyEmotion.NEUTRAL,
    )
    return render(think, "tag", "zh")


_DEFAULTS = {
    "age": ("年龄为", "<ADULT>"),
    "gender": ("性别为", "<MALE>"),
    "q_emotion": ("情感为", "<NEUTRAL>"),
    "caption": ("声音事件为", "<OTHER>"),
}


def reference_thought(said: str, extra: Mapping[str, Any], emotion: str, *, unknown: bool) -> str:
    """Upstream's `thought`: it escapes nothing; a label that is absent may become a default."""

    def slot(key: str, default: str) -> str:
        if key not in extra:
            return UNKNOWN if unknown else default
        label = str(extra[key])
        return label if "<" in label or ">" in label else f"<{label}>"

    slots = ",".join(f"{name}:{slot(key, d)}" for key, (name, d) in _DEFAULTS.items())
    return f"{THINK}用户说的话是:{said},{slots},推测使用的回复情感为:{emotion},{CLOSING}{THINK_END}"
