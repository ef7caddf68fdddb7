"""Answers from memory: what was told is given back, and what was not told is not made up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from echat_sdk.model.cascade.words import content_words, flip, lexicon, patterns, sentence
from echat_sdk.plain_words import plain
from echat_sdk.safety.danger import detect
from echat_sdk.second_person import UNSPOKEN, bare, to_second_person
from echat_sdk.turn import Episode, Lang, Recollection

MAX_FACTS = 3
"""Most facts told at once when somebody asks what is known of them."""

_PHRASES = patterns("cues")


def _pairs(name: str) -> dict[str, str]:
    return {row.partition(" ")[0]: row.partition(" ")[2] for row in lexicon(name)}


# Words of a question that also tell what kind of fact it asks for.
_KINDS: Mapping[Lang, Mapping[str, str]] = {
    "en": _pairs("fact_kinds_en"),
    "zh": _pairs("fact_kinds_zh"),
}
_SAME = _pairs("synonyms")


def asks_memory(text: str, lang: Lang) -> bool:
    """Whether the words ask what the agent remembers of the person."""
    words = plain(text)
    return bool(_PHRASES["asks_memory"][lang].search(words))


def remembered(text: str, recollection: Recollection, lang: Lang) -> list[str]:
    """Sentences that answer such a question, in the second person; empty where nothing fits."""
    words = plain(text)
    # Whoever asks what is known is not told of what they do not want to speak of.
    facts = [bare(fact) for fact in recollection.facts if not fact.startswith(UNSPOKEN)]
    if _PHRASES["asks_last"][lang].search(words):
        if found := _told_then(words, recollection.episodes, lang):
            return found  # "what did I say about Spain"
        if _ABOUT[lang].search(words):
            return _best(words, facts, lang)
        said = [turn.transcript for turn in recollection.turns if turn.transcript]
        return [_quote(said[-1], lang)] if said else []
    if _PHRASES["asks_all"][lang].search(words):
        return [to_second_person(fact, lang) for fact in facts[:MAX_FACTS]]
    if _PHRASES["asks_self"][lang].search(words):
        mine = "用户叫" if lang == "zh" else "their name is"
        return [to_second_person(f, lang) for f in facts if f.startswith(mine)][:1]
    return _best(words, facts, lang) or _told_then(words, recollection.episodes, lang)


def _told_then(words: str, episodes: Sequence[Episode], lang: Lang) -> list[str]:
    """What was said earlier of all that a question is about; words of danger are not repeated."""
    matter = _roots(_ASKING[lang].sub(" ", words), lang)
    if not matter:
        return []
    # Of three words one may be another form: "take" for "took".
    need = (len(matter) + 1) // 2 if lang == "zh" else len(matter) - (len(matter) > 2)
    kinds = _kinds(words, lang)
    for episode in episodes:
        said = max(
            _SENTENCE.findall(episode.said),
            key=lambda s: len(matter & _roots(plain(s), lang)),
            default="",
        )
        shared = len(matter & _roots(plain(episode.said), lang))
        if kinds and not any(kind in plain(episode.said) for kind in kinds):
            continue  # who asks for a name is not told of a journey
        if shared >= need and said and not detect(episode.said):
            return [f"{_when(episode.when, lang)}{_quote(said.strip(), lang)}"]
    return []


def _roots(words: str, lang: Lang) -> set[str]:
    if lang == "zh":
        return {t for t in _terms(words, lang) if len(t) > 1}
    return {_ENDING.sub("", term) for term in _terms(words, lang)}


def _when(when: str, lang: Lang) -> str:
    if lang == "zh":
        return when
    return "earlier today " if when == "today" else f"{when} "


_ABOUT: Mapping[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\babout (?!me\b)\w"),
    "zh": re.compile(r"关于"),
}
_CALLED: Mapping[Lang, re.Pattern[str]] = {
    "en": re.compile(r"their [\w ]+ is called "),
    "zh": re.compile(r"用户的\w+?叫"),
}
_FORM_WORDS = frozenset("对把被跟给和做觉")
_SENTENCE = re.compile(r"[^.!?。！？…]+")
_ENDING = re.compile(r"(?:ing|ed|e?s|e|y|ies)$")
_ASKING: Mapping[Lang, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:remember|recall|remind|know|tell|told|say|said|mention(?:ed)?|talk(?:ed)?|spoke|about"
        r"|when|what|where|who|how|which|thing|things|story|ever|again|happened|did|do|was|were|can"
        r"|still|hey|please|okay|last|time|doing|think|feel)\b"
    ),
    "zh": re.compile(
        r"什么时候|什么|怎么样?|说过|讲过|提过|说|讲|提到|告诉过?|关于|的?事情?|有没有|是不是|上次|以前|之前|觉得|感觉|对|跟|和|过|呢"
    ),
}


def _best(words: str, facts: Sequence[str], lang: Lang) -> list[str]:
    wanted = _terms(_ASKING[lang].sub(" ", words), lang)
    kinds = _kinds(words, lang)
    # Its matter must be shared, not only its kind: the sister's name is not the dog's.
    matter = wanted - set(_KINDS[lang]) - {"name", "called", "remember", "tell", "told", "old"}
    if lang == "zh":
        matter -= _FORM_WORDS
    # All of it must be there: of the car's colour the favourite colour tells nothing.
    need = (len(matter) + 1) // 2 if lang == "zh" else len(matter) - (len(matter) > 2)
    scored = []
    for fact in facts:
        has = _terms(plain(fact), lang)
        shared = len(matter & has)
        kind = any(k in plain(fact) for k in kinds)
        if shared < need or not (shared or kind):
            continue
        scored.append((2 * shared + kind, fact))
    if not scored:
        return []
    top = max(score for score, _ in scored)
    best = [fact for score, fact in scored if score == top]
    # Two names of one are both told: which of them is right is not known here.
    called = _CALLED[lang].match(best[0])
    alike = [fact for fact in best if called and fact.startswith(called[0])]
    return [to_second_person(fact, lang) for fact in (alike or best[:1])][:2]


def _kinds(words: str, lang: Lang) -> set[str]:
    return {
        k
        for word, kind in _KINDS[lang].items()
        if word in _split(words, lang)
        for k in kind.split()
    }


def _split(words: str, lang: Lang) -> set[str] | str:
    return words if lang == "zh" else set(words.replace("'s", "").split())


def _terms(words: str, lang: Lang) -> set[str]:
    if lang == "zh":
        text = re.sub("用户|你|我|还|记得|知道|叫|什么|名字|吗|呢|的|是|了|在|哪里?|谁", " ", words)
        return {run[i : i + 2] for run in text.split() for i in range(max(1, len(run) - 1))}
    return {_SAME.get(w, w) for w in content_words(words.replace("'s", ""), lang)} - {"know", "you"}


def _quote(said: str, lang: Lang) -> str:
    short = said if len(said) <= 120 else said[:120].rsplit(" ", 1)[0] + "…"
    told = flip(short, lang).rstrip(".!?。！？ ")
    return f"你说{told}" if lang == "zh" else f"you said {told[:1].lower() + told[1:]}"


def as_answer(sentences: Sequence[str], lang: Lang) -> str:
    """The sentences as one answer."""
    if lang == "zh":
        return "，".join(sentences).translate(_FULL_WIDTH) + "。"
    if len(sentences) > 1:
        return f"You told me that {', '.join(sentences[:-1])}, and {sentences[-1]}."
    return sentence(sentences[0]) + "."


# Whisper writes half-width marks in Chinese.
_FULL_WIDTH = str.maketrans({",": "，", "!": "！", "?": "？", ";": "；", ":": "："})
