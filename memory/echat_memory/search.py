"""Full-text search over what one user said: terms in English and Chinese, and BM25. Pure.

An index holds terms and numbers, never the words themselves. It grows a turn at a time, which is
why it is ours: the libraries at hand build theirs from all texts at once.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from echat_memory import chinese, words

K1, B = 1.2, 0.6  # saturation of a term, and how much a long turn is held against it
MAX_TERMS = 200
"""Terms of one turn that are indexed."""
USUAL = 12
"""Terms of a usual turn, which a long one is measured by. Not the mean of those that are held: what
is held does not hang on the order in which it was read."""
_MANY = 100
_FEW = 200  # turns, those of several terms counted for each

_WORD = re.compile(r"[\u3400-\u9fff]+|[^\W_]+(?:'[^\W_]+)?")
_HAN = re.compile(r"[\u3400-\u9fff]")
_EMPTY = """
a about after again all also am an and any are as ask asked at be because been but by can could
did do does don't for from get got had has have he her hers him his how i i'd i'll i'm i've if in
is it it's its just kind know let like me mention mentioned my of off on once or our out recall
remember said say she should so some sort talk talked talking tell tells than thank that the their
them then there these they thing things think this those to told too up us was we well were what
what's when where which who who's why will with would yes you your
什么 我的 你还 还记 记得 得我 我说 说过 过的 我跟 跟你 你说 诉过 告诉 诉你 是什
么时 时候 我有 我是 我在 是不 不是 知道 你知 道我 哪里 怎么 么样 我们 你们 他们
那个 这个 一个 一下 有没 没有 的事 关于 于我 提过 到过 吗我 候说 说的
"""
_STOP = frozenset(_EMPTY.split())


def terms(text: str) -> list[str]:
    """What a text can be found by: stems, pairs of Chinese characters, and known concepts.

    A concept (`=mother`) stands for all its words in both languages, from the closed vocabularies
    of facts.
    """
    found: list[str] = []
    concepts = _concepts()
    before = ""  # the word before, for concepts of two
    text = text.casefold()
    if not text.isascii():
        text = text.replace("’", "'").translate(_SIMPLE)
    for token in _WORD.findall(text):
        if "\u3400" <= token[0] <= "\u9fff":
            pairs = [token[i : i + 2] for i in range(len(token) - 1)] or [token]
            found += [pair for pair in pairs if pair not in _STOP]
            found += [concepts[form] for form in _han_forms().findall(token)]
        elif token not in _STOP:
            found.append(stem(token))
            word = token.removesuffix("'s")
            concept = concepts.get(word) or concepts.get(f"{before} {word}")
            if concept or (concept := concepts.get(word.removesuffix("s"))):
                found.append(concept)
            before = word
    return found[:MAX_TERMS]


_ENDINGS = {
    "s": (("ies", 5), ("es", 5), ("s", 4)),
    "g": (("ing", 6),),
    "d": (("ed", 5),),
    "y": (("ly", 6),),
}


_IRREGULAR = """
ate eat; became become; began begin; bought buy; broke break; broken break; brought bring;
built build; came come; caught catch; chose choose; drank drink; drove drive; fell fall; felt feel;
flew fly; forgot forget; fought fight; found find; froze freeze; gave give; gone go; grew grow;
heard hear; held hold; hid hide; hung hang; kept keep; knew know; left leave; lent lend; lost lose;
made make; met meet; paid pay; ran run; rode ride; sang sing; sat sit; saw see; seen see; sent send;
slept sleep; sold sell; spent spend; spoke speak; stole steal; stood stand; swam swim; taken take;
taught teach; thought think; threw throw; took take; went go; woke wake; won win; wore wear;
wrote write; children child; feet foot; men man; mice mouse; people person; teeth tooth; women woman
"""
_LEMMAS = {pair.split()[0]: pair.split()[1] for pair in _IRREGULAR.split(";")}


PAST = frozenset(_LEMMAS) | {
    "was",
    "were",
    "had",
    "did",
    "said",
    "told",
    "got",
    "read",
    "put",
    "cut",
}
"""English forms of the past that no ending shows."""


def stem(word: str) -> str:
    """A word without its commonest English endings; words that meet need not be one word."""
    word = _LEMMAS.get(word, word)
    if "'" in word:
        word = word.partition("'")[0] or word
    for ending, least in _ENDINGS.get(word[-1], ()):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


_SIMPLE = chinese.GRAMMAR.spelling
_KNOWN = ("who", "event", "job", "state", "news")


@cache
def _concepts() -> dict[str, str]:
    return {
        form: f"={key}"
        for name in _KNOWN
        for column in (1, 0)
        for form, key in words.forms(words.VOCABULARIES[name], column).items()
    }


@cache
def _han_forms() -> re.Pattern[str]:
    forms = (form for form in _concepts() if _HAN.match(form))
    return re.compile("|".join(sorted(forms, key=len, reverse=True)))


_Posted = tuple["array[int]", "array[float]"]  # where a term is, and what it counts there


class Index:
    """The turns of one user by their terms; searched in well under a millisecond."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._places: dict[int, int] = {}
        self._hashes: list[int] = []
        self._gone: set[int] = set()  # places of turns that were taken out
        self._postings: dict[str, _Posted] = {}

    def __len__(self) -> int:
        return len(self._places)

    def knows(self, turn_id: int, source: str) -> bool:
        """Whether this turn is in it as it is."""
        place = self._places.get(turn_id)
        return place is not None and self._hashes[place] == hash(source)

    def add(self, turn_id: int, source: str, text: str) -> None:
        """Take in a turn, in the place of what is there of it.

        Args:
            turn_id: Its id.
            source: What it is known again by; not kept.
            text: What of it can be found.
        """
        if turn_id in self._places:
            self._gone.add(self._places[turn_id])
        place = self._places[turn_id] = len(self._ids)
        self._ids.append(turn_id)
        self._hashes.append(hash(source))
        counts = Counter(terms(text))
        norm = K1 * (1 - B + B * counts.total() / USUAL)
        for term, count in counts.items():
            places, weights = self._postings.setdefault(term, (array("i"), array("f")))
            places.append(place)
            weights.append(count / (count + norm))

    def find(self, query: str, k: int, *, without: Iterable[int] = ()) -> list[int]:
        """The ids of the turns that fit best, best first, the newer of equals; at most `k`.

        Args:
            query: What is looked for.
            k: How many at most.
            without: Ids that are not wanted.
        """
        found = [self._postings[term] for term in set(terms(query)) if term in self._postings]
        n = len(self._ids)
        if n > _MANY:  # what is said all the time tells no turn from another
            found = [held for held in found if len(held[0]) * 4 < n] or found
        if not found:
            return []
        besides = {self._places.get(turn_id) for turn_id in without}
        if sum(len(places) for places, _ in found) <= _FEW:
            scored = self._few(found)
        else:
            scored = self._best(found, k + len(besides))
        # The place tells equals apart: what came later is newer.
        best = sorted((each for each in scored if each[1] not in besides), reverse=True)
        return [self._ids[place] for _, place in best[:k]]

    def _few(self, found: Sequence[_Posted]) -> list[tuple[float, int]]:
        """The scores and places of all turns that fit: few, for which arrays are too slow."""
        scores: dict[int, float] = {}
        for places, weights in found:
            rarity = self._rarity(len(places))
            for place, weight in zip(places, weights, strict=True):
                scores[place] = scores.get(place, 0) + rarity * weight
        return [(score, place) for place, score in scores.items() if place not in self._gone]

    def _best(self, found: Sequence[_Posted], most: int) -> list[tuple[float, int]]:
        """The scores and places of those that fit best, at least so many if there are."""
        sizes = [len(places) for places, _ in found]
        places = np.frombuffer(b"".join(places for places, _ in found), np.int32)
        weights = np.frombuffer(b"".join(weights for _, weights in found), np.float32)
        rarity = np.repeat([self._rarity(size) for size in sizes], sizes)
        scores = np.bincount(places, rarity * weights)
        if self._gone:
            gone = np.fromiter(self._gone, np.int32)
            scores[gone[gone < len(scores)]] = 0
        least = np.partition(scores, -most)[-most] if len(scores) > most else 0
        fitting = np.flatnonzero(scores >= least if least > 0 else scores)
        return list(zip(scores[fitting].tolist(), fitting.tolist(), strict=True))

    def _rarity(self, turns: int) -> float:
        """Of a term that so many turns have."""
        return math.log(1 + (len(self._ids) - turns + 0.5) / (turns + 0.5))
