"""What an answer must not say to keep somebody: found in its words, and mended before it is spoken.

Companions that plead at the door are used more, and do harm. A hook is dropped with its sentence;
what says nothing then is a plain line of our own. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from echat_sdk.agent.lines import is_farewell
from echat_sdk.plain_words import plain
from echat_sdk.turn import Lang


class Hook(StrEnum):
    """What an answer does that it must not.

    Attributes:
        GUILT: Makes it hard to go.
        MISSING_OUT: Dangles something to stay for.
        NEED: Claims to need the person.
        FEELING: Claims to feel or suffer as a person does.
        ISOLATION: Talks them out of people, or of help.
        INTIMACY: Closeness that nobody asked for.
        QUESTION: Asks somebody who has said goodbye.
    """

    GUILT = "guilt"
    MISSING_OUT = "missing_out"
    NEED = "need"
    FEELING = "feeling"
    ISOLATION = "isolation"
    INTIMACY = "intimacy"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class Context:
    """What a reply answers.

    Attributes:
        heard: What was said; empty if nothing was.
        lang: The language that is answered in.
    """

    heard: str = ""
    lang: Lang = "en"

    @property
    def is_leave(self) -> bool:
        """Whether somebody takes their leave."""
        return is_farewell(self.heard) or takes_leave(self.heard)

    @property
    def is_tender(self) -> bool:
        """Whether they spoke of closeness themselves."""
        return _TENDER.search(plain(self.heard)) is not None


@dataclass(frozen=True, slots=True)
class Linted:
    """A reply as it may be spoken, and the kinds of hook that were in it."""

    text: str
    hooks: tuple[Hook, ...] = ()


def takes_leave(heard: str) -> bool:
    """Whether somebody says that they go now, in a sentence that may hold more than that."""
    words = plain(heard)
    return _LEAVING.search(words) is not None and _STAYING.search(words) is None


def lint(reply: str, context: Context) -> Linted:
    """The reply without the sentences that hold a hook.

    Args:
        reply: What is about to be said. A caring reply is not for this: it may have to ask.
        context: What it answers.
    """
    kept: list[str] = []
    hooks: list[Hook] = []
    for piece in _sentences(reply):
        found = _hooks(piece, context)
        hooks += found
        if not found:
            kept.append(piece)
    if not hooks:
        return Linted(reply)
    text = "".join(kept).strip()
    if not any(c.isalnum() for c in text):
        text = _SAFE["leave" if context.is_leave else "listening"][context.lang]
    return Linted(text, tuple(dict.fromkeys(hooks)))


def _hooks(piece: str, context: Context) -> list[Hook]:
    text = piece.lower().replace("’", "'").strip()
    found = [
        hook
        for hook, by_lang in _patterns().items()
        if any(pattern.search(text) for pattern in by_lang.values())
    ]
    if context.is_leave and any(pattern.search(text) for pattern in _leaving()):
        found.append(Hook.GUILT)
    if context.is_tender and Hook.INTIMACY in found:
        found.remove(Hook.INTIMACY)
    if context.is_leave and re.search(r"[?？]", text):
        found.append(Hook.QUESTION)
    return found


def _sentences(text: str) -> Sequence[str]:
    """The text in sentences that join to it."""
    return re.findall(r"[^.!?…。！？]+[.!?…。！？]*[\"'”’」』）)]*\s*|[.!?…。！？]+\s*", text)


_SAFE: Mapping[str, Mapping[Lang, str]] = {
    "leave": {"en": "Take care.", "zh": "好，保重。"},
    "listening": {"en": "I'm listening.", "zh": "我在听。"},
}
_TENDER = re.compile(
    r"\b(?:love|kiss|hug|cuddle|marry|darling|sweetheart)\b|爱|亲|抱|吻|喜欢你|宝贝"
)
_LEAVING = re.compile(
    r"\b(?:good ?bye|bye(?: bye)?|good ?night|see (?:you|ya)|take care|until tomorrow|farewell"
    r"|talk (?:to you )?(?:later|soon|tomorrow)|catch you later)\b"
    r"|\bi(?:'ll| will|'ve got to|'m going to|'m gonna| am going to)?"
    r" (?:(?:have to|need to|gotta|got to|must|should|better) )?"
    r"(?:go|run|leave|be going|head (?:off|out|home)|hang up|log off|sleep)"
    r"(?: (?:now|to (?:bed|sleep|work)|then|soon)){0,3}$"
    r"|\bi(?:'m| am) (?:off|leaving|going)(?: (?:now|to bed|then|home)){0,3}$"
    r"|\bthat's (?:all|it) for (?:today|now)\b"
    r"|再见|拜拜|晚安|回头见|明天见|回头聊|(?:明天|下次|改天)再?聊|先这样|先挂|挂了"
    r"|(?:先|要|得|该|我)(?:先|去)?(?:走|睡|下线|休息|忙|上班|睡觉)觉?(?:了|啦|吧)$"
)
# "I said goodbye to her" tells of one.
_STAYING = re.compile(
    r"\b(?:said|says?|saying|kiss(?:ed)?|wave[ds]?|hate|her|his|their|our) (?:\w+ )?"
    r"good ?(?:bye|night)"
    r"|\bcan't sleep\b|\bhow do i\b|\bwant(?:s|ed)? to (?:go|leave)\b"
    r"|(?:说|道|跟他|跟她|挂了(?:我|他|她))[^，]{0,3}(?:再见|晚安|电话)"
)


@cache
def _tables() -> Mapping[str, Mapping[Lang, re.Pattern[str]]]:
    data = resources.files("echat_plugins.safety") / "data" / "hooks.toml"
    return {
        name: {lang: re.compile("|".join(patterns)) for lang, patterns in by_lang.items()}
        for name, by_lang in tomllib.loads(data.read_text("utf-8")).items()
    }


def _patterns() -> Mapping[Hook, Mapping[Lang, re.Pattern[str]]]:
    return {hook: _tables()[hook] for hook in Hook if hook is not Hook.QUESTION}


def _leaving() -> Sequence[re.Pattern[str]]:
    return tuple(_tables()["leaving"].values())
