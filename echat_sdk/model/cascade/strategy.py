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
from echat_sdk.model.cascade import reflect_en, reflect_zh
from echat_sdk.model.cascade.bank import Match, fill, lines
from echat_sdk.model.cascade.moment import HARD
from echat_sdk.model.cascade.words import patterns, sentence
from echat_sdk.plain_words import plain
from echat_sdk.turn import Heard, Lang, Recollection, Turn

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
        if moment.kind == "talk" or (moment.kind in _HEAVY and mood in (Mood.HOT, Mood.AFRAID)):
            chosen = _coloured({Mood.PLAIN: chosen}, moment, lang)
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


def more(before: str, lang: Lang) -> Sequence[str]:
    """Answers to a fragment that goes on with what was told before.

    Args:
        before: Kind of the moment before, from `kind_before` in `thinker`.
        lang: Language of the answer.
    """
    return lines(lang)["more"][_GROUP.get(before, "talk")]


def is_fragment(text: str, lang: Lang) -> bool:
    """Whether the words only go on with something: short, and without an "I" of their own."""
    short = len(text) <= _ECHO_CHARS if lang == "zh" else len(text.split()) <= _ECHO_WORDS
    return short and not _SUBJECT.match(plain(text))


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
        heads = [head for head in map(without_question, rest) if head]
        tails = [f"{head}{gap}{tail}" for head in heads for tail in extra["tail"][mood]]
        return tails or list(extra["talk"][mood])
    return [f"{lead}{gap}{answer}" for answer in rest for lead in extra["lead"][mood]]


def without_question(answer: str) -> str:
    """The answer without the sentences that ask."""
    parts = re.findall(r"[^.!?。！？]+[.!?。！？]+", answer)
    return "".join(p for p in parts if p[-1] not in "?？").strip()


def open_answers(
    heard: Heard, kind: str, mood: Mood, before: Turn | None = None
) -> tuple[Moment, list[str]]:
    """Answers to what fits no situation, the person's own words given back where that is safe.

    Args:
        heard: The utterance.
        kind: One of `moment.KINDS`.
        mood: Of the voice.
        before: The last turn, if there was one.
    """
    lang = heard.lang
    echo = _REFLECT[lang](heard.transcript, before)
    written = lines(lang)
    # What a hard kind has no lines of its own for is simply bad in that mood.
    kinds = (kind, "bad") if kind in HARD else (kind,)
    found: list[str] = []
    for ending in ("-echo", "") if echo else ("",):
        if not found:  # their own words say more than any line
            found += next(
                (w[mood] for k in kinds if mood in (w := written.get(k + ending, {}))), ()
            )
    return Moment(kind, mood), [fill(template, {"echo": echo}, lang) for template in found]


_REFLECT = {"en": reflect_en.reflect, "zh": reflect_zh.reflect}
_ECHO_WORDS = 9
_ECHO_CHARS = 13

_SUBJECT = re.compile(r"(?:i|i'm|i've|i'd|i'll|we|we're|we've)\b|我")

SURE = 0.6
"""A feeling is answered if it is at least this likely; else the moment is `talk`."""

CERTAIN = 0.8
"""In a plain voice and plain words, a hard moment is answered as one if it is this likely."""

_SPLIT = 0.45  # less likely, it is not said whether it is grief, worry or another hard thing

_ODDS: Mapping[Mood, Mapping[str, float]] = {
    Mood.LOW: {"hard": 3, "loss": 1.5, "lonely": 1.5, "good": 0.3},
    Mood.HOT: {"hard": 2, "wrong": 2.5, "good": 0.3},
    Mood.AFRAID: {"hard": 2, "threat": 2.5, "good": 0.3},
    Mood.ICK: {"hard": 3, "good": 0.3},
    Mood.UP: {"hard": 0.2, "good": 4},
}
_WORD_ODDS: Mapping[int, Mapping[str, float]] = {
    1: {"hard": 0.25, "good": 6},
    -1: {"hard": 6, "good": 0.25},
}


def tune(shares: Mapping[str, float], mood: Mood, valence: int) -> str:
    """The kind of an open moment, from what was read, the voice and the words.

    The voice and plain words multiply the odds of what was read. A feeling is taken for told if it
    is then `SURE`: to answer plain talk as talk is a smaller fault than to be glad or sorry beside
    the point.

    Args:
        shares: The probability of each kind, from `moment.MomentReader`.
        mood: Of the voice.
        valence: From `words.valence`.
    """
    weighed = dict(shares)
    for odds in (_ODDS.get(mood, {}), _WORD_ODDS.get(valence, {})):
        for kind in weighed:
            weighed[kind] *= odds.get(kind, 1.0) * (odds.get("hard", 1.0) if kind in HARD else 1.0)
    whole = sum(weighed.values())
    hard = sum(share for kind, share in weighed.items() if kind in HARD)
    if weighed["good"] >= SURE * whole:
        return "good"
    if hard < SURE * whole:
        return "talk"
    likeliest = max(HARD, key=lambda kind: weighed.get(kind, 0.0))
    return likeliest if weighed.get(likeliest, 0.0) >= _SPLIT * whole else "bad"


def is_certain(shares: Mapping[str, float]) -> bool:
    """Whether a hard moment was read so surely that it needs no sign in voice or words."""
    return sum(shares[kind] for kind in HARD) >= CERTAIN * sum(shares.values())


def fits(kind: str, shares: Mapping[str, float], mood: Mood) -> bool:
    """Whether a situation of this kind can be what was told.

    Patterns see words only: "the museum lent my drawing", glad, is no debt. Where the voice does
    not bear a situation out, the reading may rule it out.

    Args:
        kind: Of the situation that matched.
        shares: As in `tune`.
        mood: Of the voice.
    """
    told = tune(shares, mood, 0)
    return told != "good" if kind in _HEAVY else told not in HARD


def is_doubtful(kind: str, mood: Mood) -> bool:
    """Whether the voice speaks against a situation of this kind."""
    if kind == "good":
        return mood in (Mood.LOW, Mood.HOT, Mood.AFRAID, Mood.ICK)
    return kind in _HEAVY and mood is Mood.UP


_PHRASES = patterns("cues")
_ANYONE = re.compile(
    r"\bhow (?:do|long (?:do|should)|much \w+ (?:do|should)|can) (?:you|i|we) "
    r"(?=spell|say|pronounce|clean|boil|cook|bake|remove|get rid|fry|freeze)"
)


def is_long(text: str, lang: Lang) -> bool:
    """Whether so much was said that one thing of it should not be picked out."""
    return (len(text) / 1.5 if lang == "zh" else len(text.split())) > LONG_WORDS


def is_fact_question(text: str, lang: Lang) -> bool:
    """Whether the words ask about the world, and about nobody in this conversation."""
    words = _ANYONE.sub("how do people", plain(text))
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
    earlier = list(said)
    openings, endings = set(map(_opening, earlier)), set(map(_ending, earlier))
    # A repeated question is as tiring as a repeated opening.
    return sorted(turned, key=lambda c: (_opening(c) in openings) + (_ending(c) in endings))


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
