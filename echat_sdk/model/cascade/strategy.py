"""How to answer: from the words and the voice to a mood, a kind of moment and written answers.

Rules only, no model. The order is ESConv's: take up what happened and how it feels, then ask or
offer, and no advice before that. Where words and voice disagree, the voice leads, and the answer
says so in words that hedge.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from echat_sdk.cues import Cues, Emotion, ReplyEmotion, VocalEvent
from echat_sdk.model.cascade.bank import Match, fill, lines
from echat_sdk.model.cascade.words import (
    clauses,
    flip,
    patterns,
    plain,
    reflection,
    sentence,
)
from echat_sdk.turn import Heard, Lang, Recollection

LONG_WORDS = 70
"""An utterance of more words (Chinese: 1.5 times as many characters) is answered as a whole."""


class Mood(StrEnum):
    """How the voice colours the answer; the keys of the written answers."""

    LOW = "low"
    HOT = "hot"
    AFRAID = "afraid"
    UP = "up"
    START = "start"
    ICK = "ick"
    PLAIN = "plain"


_MOODS = {
    Emotion.SAD: Mood.LOW,
    Emotion.ANGER: Mood.HOT,
    Emotion.FEAR: Mood.AFRAID,
    Emotion.HAPPY: Mood.UP,
    Emotion.SURPRISE: Mood.START,
    Emotion.DISGUST: Mood.ICK,
}
_HEAVY = frozenset({"loss", "bad", "wrong", "threat"})
_R = ReplyEmotion
_REPLY: Mapping[str, Mapping[Mood, ReplyEmotion]] = {
    "loss": {Mood.LOW: _R.SAD},
    "wrong": {Mood.ICK: _R.DISGUSTED},
    "bad": {Mood.ICK: _R.DISGUSTED},
    "threat": {Mood.ICK: _R.DISGUSTED},
    "good": {
        Mood.UP: _R.HAPPY,
        Mood.PLAIN: _R.JOYFUL,
        Mood.START: _R.SURPRISED,
        Mood.HOT: _R.NEUTRAL,
        Mood.ICK: _R.NEUTRAL,
    },
    "talk": {
        Mood.UP: _R.JOYFUL,
        Mood.PLAIN: _R.NEUTRAL,
        Mood.START: _R.SURPRISED,
        Mood.HOT: _R.NEUTRAL,
        Mood.ICK: _R.NEUTRAL,
    },
    "bye": {Mood.UP: _R.HAPPY, Mood.PLAIN: _R.JOYFUL, Mood.HOT: _R.NEUTRAL},
}
_GROUP = {"loss": "loss", "bad": "bad", "wrong": "bad", "threat": "bad", "good": "good"}


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of the moment before an answer is chosen.

    Attributes:
        kind: As in `bank.Situation`.
        mood: Of the voice.
        laughs: Whether a laugh was heard.
    """

    kind: str
    mood: Mood
    laughs: bool = False

    @property
    def reply_emotion(self) -> ReplyEmotion:
        """What the answer is spoken with; comfort where nothing else is written."""
        return _REPLY.get(self.kind, {}).get(self.mood, _R.COMFORTING)


def mood_of(cues: Cues) -> Mood:
    """The mood of a voice. Crying counts over the label, laughter where there is none."""
    event, label = cues.events.label, cues.emotion.label
    if event == VocalEvent.CRY:
        return Mood.LOW
    if event == VocalEvent.SCREAM and label not in (Emotion.HAPPY, Emotion.ANGER):
        return Mood.AFRAID
    mood = _MOODS.get(Emotion(label), Mood.PLAIN) if cues.emotion.is_known else Mood.PLAIN
    if event == VocalEvent.LAUGH and mood in (Mood.PLAIN, Mood.LOW, Mood.START):
        return Mood.UP
    if event == VocalEvent.SIGH and mood is Mood.PLAIN:
        return Mood.LOW
    return mood


def moment_of(match: Match, heard: Heard, before: str) -> Moment:
    """The moment that a situation and a voice make.

    Args:
        match: The situation found.
        heard: The utterance.
        before: Kind of the moment before, from `kind_before`.
    """
    mood = mood_of(heard.cues)
    laughs = heard.cues.events.label == VocalEvent.LAUGH
    kind = match.situation.kind
    if kind == "follow":
        kind = before if before in _GROUP else "talk"
    elif match.situation.name in _SHORT and mood is Mood.PLAIN and before in _HEAVY:
        mood = Mood.LOW  # a bare "yes" after bad news is answered gently
    return Moment(kind, mood, laughs)


_SHORT = frozenset({"yes", "no", "hm", "dont-know"})


def answers(match: Match, moment: Moment, lang: Lang) -> list[str]:
    """The written answers to a situation in this moment, slots filled; best kind first."""
    situation, mood = match.situation, moment.mood
    written = situation.answers
    slots = dict(match.slots)
    slots["about"] = fill(situation.about, slots, lang) or ("这件事" if lang == "zh" else "that")
    if situation.kind == "follow":
        chosen: Sequence[str] = written[_GROUP.get(moment.kind, "talk")]
    elif mood in written:
        chosen = written[mood]
    elif moment.kind in _HEAVY and mood is Mood.UP:
        chosen = lines(lang)["clash-up"]["laugh" if moment.laughs else "bright"]
    elif moment.kind == "good" and mood in (Mood.LOW, Mood.HOT, Mood.AFRAID, Mood.ICK):
        chosen = lines(lang)["clash-down"][mood]
    else:
        chosen = _coloured(written, moment, lang)
    return [fill(template, slots, lang) for template in chosen]


def told_again(match: Match, moment: Moment, lang: Lang) -> list[str]:
    """Answers to what was told before in the same words, where the language has any."""
    slots = dict(match.slots)
    slots["about"] = fill(match.situation.about, slots, lang) or "that"
    written = lines(lang).get("again", {}).get(_GROUP.get(moment.kind, "talk"), ())
    return [fill(template, slots, lang) for template in written]


def _coloured(written: Mapping[str, Sequence[str]], moment: Moment, lang: Lang) -> list[str]:
    """Answers of another mood, with a word for this one before or after."""
    mood = moment.mood
    order = ("up", "plain") if moment.kind == "good" else ("plain", "low", "up")
    rest = next(written[m] for m in order if m in written)
    if mood is Mood.PLAIN or moment.kind == "bye":
        return list(rest)
    extra = lines(lang)
    gap = "" if lang == "zh" else " "
    if moment.kind == "talk" and mood in extra["tail"]:
        heads = [_without_question(answer) for answer in rest]
        return [f"{h}{gap}{t}" if h else t for h in heads for t in extra["tail"][mood]]
    return [f"{lead}{gap}{answer}" for answer in rest for lead in extra["lead"][mood]]


def _without_question(answer: str) -> str:
    parts = re.findall(r"[^.!?。！？]+[.!?。！？]+", answer)
    return "".join(p for p in parts if p[-1] not in "?？").strip()


def open_answers(
    heard: Heard, kind: str, topic: str, *, mood: Mood | None = None
) -> tuple[Moment, list[str]]:
    """Answers to what fits no situation, made with the person's own words.

    Args:
        heard: The utterance.
        kind: `bad`, `good` or `talk`, as far as it could be read.
        topic: What it is about, as the person said it; empty if that could not be read.
        mood: Instead of the mood of the voice.
    """
    lang = heard.lang
    moment = Moment(kind, mood or mood_of(heard.cues))
    slots = {"topic": _named(flip(topic, lang), lang), "echo": reflection(heard.transcript, lang)}
    if lang == "en" and not _echoes_well(heard.transcript):
        slots["echo"] = ""
    written = lines(lang)
    names = [f"{kind}-{slot}" for slot in ("echo", "topic") if slots[slot]]
    found = written[next((name for name in names if name in written), kind)][moment.mood]
    return moment, [fill(template, slots, lang) for template in found]


def _named(topic: str, lang: Lang) -> str:
    """The topic as one speaks of what is known now: "a letter" is "that letter" from here on."""
    if lang == "zh" or topic[:1].isupper():
        return topic
    article, _, noun = topic.partition(" ")
    if article in ("a", "an"):
        return f"that {noun}"
    return topic if article in _DETERMINERS and noun else ""


_DETERMINERS = frozenset(["the", "your", "his", "her", "their", "this", "that", "these", "those"])


def _echoes_well(text: str) -> bool:
    """Whether the whole of it can be said back: short, and about the person's own life."""
    return (
        len(text.split()) <= _ECHO_WORDS
        and len(clauses(text, "en")) == 1
        and bool(_OWN.search(plain(text)))
    )


_ECHO_WORDS = 8
_OWN = re.compile(r"\b(?:i|i'm|i've|me|my|we|we're|our|us)\b")


def tune(kind: str, mood: Mood, valence: int, heard: Heard) -> str:
    """The kind of an open moment, where what was read, the voice and the words may disagree.

    Args:
        kind: What the model read: `bad`, `good` or `talk`.
        mood: Of the voice.
        valence: From `words.valence`; the model's reading is overruled by plain words.
        heard: The utterance. English that is neither glad nor bad is `talk`, whatever the model
            reads in it: it calls "my grandfather was a baker" kindness and "the kids are by the
            door" tired. Only of their own lives are people simply glad.
    """
    if valence:
        return "good" if valence > 0 else "bad"
    if heard.lang == "en":
        return "good" if mood is Mood.UP and _OWN.search(plain(heard.transcript)) else "talk"
    if mood is Mood.LOW:
        return "bad" if kind == "bad" else "talk"
    if mood in (Mood.HOT, Mood.AFRAID, Mood.ICK):
        return "talk" if kind == "good" else "bad"
    if mood is Mood.UP:
        return "talk" if kind == "bad" else kind
    # With neither words nor voice to back it, the reading alone is too weak to be glad or sorry on.
    return "talk"


_PHRASES = patterns("cues")


def is_long(text: str, lang: Lang) -> bool:
    """Whether so much was said that one thing of it should not be picked out."""
    return (len(text) / 1.5 if lang == "zh" else len(text.split())) > LONG_WORDS


def is_fact_question(text: str, lang: Lang) -> bool:
    """Whether the words ask about the world, and about nobody in this conversation."""
    words = plain(text)
    return bool(_PHRASES["question"][lang].search(words)) and not _PHRASES["people"][lang].search(
        words
    )


def is_question(text: str, lang: Lang) -> bool:
    """Whether the words ask anything at all."""
    return text.rstrip().endswith(("?", "？")) or bool(
        _PHRASES["question"][lang].search(plain(text))
    )


def choose(candidates: Sequence[str], words: str, said: Iterable[str]) -> list[str]:
    """The candidates in the order to try, seeded by the words; what was said lately comes last."""
    if not candidates:
        return []
    start = zlib.crc32(words.encode("utf-8", "ignore")) % len(candidates)
    turned = [*candidates[start:], *candidates[:start]]
    openings = {_opening(reply) for reply in said}
    # A repeated question is as tiring as a repeated opening.
    return sorted(turned, key=lambda c: (_opening(c) in openings) + (_ending(c) in openings))


def _opening(reply: str) -> str:
    return plain(reply)[:24]


def _ending(reply: str) -> str:
    return plain(reply)[-24:]


def name_it(reply: str, transcript: str, recollection: Recollection, lang: Lang) -> str:
    """The reply with a name that memory knows in the place of "your dog"."""
    said = plain(transcript)
    for fact in recollection.facts:
        named = _NAMED[lang].search(fact)
        if named is None or named[2].lower() in said:
            continue
        noun, name = re.escape(named[1]), named[2]
        mine, yours = (noun, f"你家?的?{noun}")
        if lang == "en":
            mine, yours = rf"\b(?:my|our) {noun}\b", rf"\b[Yy]our {noun}\b"
        if re.search(mine, said):
            return sentence(re.sub(yours, name.replace("\\", ""), reply))
    return sentence(reply)


_NAMED = {
    "en": re.compile(r"\btheir ([\w ]{1,30}?) is (?:called|named) ([\w'-]{1,30})"),
    "zh": re.compile(r"用户的(\S{1,8}?)叫([^\s，。]{1,12})"),
}
