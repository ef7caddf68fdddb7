"""Words seen from the other side: what somebody said about themselves, turned to the second person.

Pure text, English and Chinese: "nobody called me" becomes "nobody called you". Only the words are
turned; what may be given back to somebody is for `reflection` to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

from echat_sdk.plain_words import plain
from echat_sdk.turn import Lang

_EN_PAIRS = {
    "i'm": "you're",
    "i've": "you've",
    "i'd": "you'd",
    "i'll": "you'll",
    "im": "you're",
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "we": "you",
    "we're": "you're",
    "we've": "you've",
    "we'd": "you'd",
    "we'll": "you'll",
    "us": "you",
    "our": "your",
    "ours": "yours",
    "ourselves": "yourselves",
}
_EN_VERBS = {"am": "are", "was": "were", "wasn't": "weren't", "ain't": "aren't"}
# Words between "I" and its verb: "I really was".
_EN_ADVERBS = frozenset(
    [
        "just",
        "really",
        "still",
        "also",
        "only",
        "always",
        "never",
        "actually",
        "so",
        "too",
        "even",
        "already",
    ]
)
_ZH_PAIRS = (("我们", "你们"), ("咱们", "你们"), ("俺", "你"), ("我", "你"))
_TOKEN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*|[^A-Za-z]+")
_CJK = re.compile(r"[㐀-鿿]")
_EN_LEAD = re.compile(
    r"^(?:(?:well|so|oh|um+|uh+|hmm*|hey|hi|hello|yeah|yes|no|and|but|because|then|okay|ok|look|wow|"
    r"ugh|god|oh my god|honestly|actually|basically|anyway|you know(?: what)?|guess what|i mean|"
    r"i think(?: that)?|i guess|i feel like|just|today)\b[\s,]*)+",
    re.IGNORECASE,
)
_ZH_LEAD = re.compile(
    r"^(?:(?:嗯|呃|啊|哎呀?|唉|那个|就是|其实|然后|但是|可是|因为|所以|今天|我觉得|我跟你说|你知道吗)"
    r"[\s,，]*)+"
)


@cache
def lexicon(name: str) -> tuple[str, ...]:
    """A list of words of `data/lexicon.json`."""
    data = resources.files("echat_sdk.model.cascade") / "data" / "lexicon.json"
    return tuple(json.loads(data.read_text("utf-8"))[name])


def patterns(name: str) -> Mapping[str, Mapping[Lang, re.Pattern[str]]]:
    """The phrases of `data/<name>.json`: by what they tell, then by language."""
    data = resources.files("echat_sdk.model.cascade") / "data" / f"{name}.json"
    tables = json.loads(data.read_text("utf-8"))
    return {
        key: {lang: re.compile("|".join(phrases)) for lang, phrases in table.items()}
        for key, table in tables.items()
    }


def without_lead(words: str, lang: Lang) -> str:
    """Smooth words without "well", "to be honest" and the like at their head."""
    return _LEAD[lang].sub("", words).strip() or words


_LEAD: Mapping[Lang, re.Pattern[str]] = {
    "en": re.compile(
        r"^(?:(?:well|so|oh|okay|ok|yeah|and|but|i mean|honestly|actually|basically|anyway|look|"
        r"hey|right|to be honest|by the way|you know|no|yes) (?=\w+ \w))+"
    ),
    "zh": re.compile(
        r"^(?:(?:那个|就是说?|怎么说呢|其实|然后|说实话|哎呀?|唉|啊|诶|哦|对了|跟你说|你知道吗|"
        r"但是?|可是?|而且|所以|不过)(?: |(?=..)))+"
    ),
}


def content_words(text: str, lang: Lang) -> list[str]:
    """The words that carry the matter; for Chinese, pairs of characters."""
    if lang == "zh":
        run = "".join(c for c in plain(text) if _CJK.match(c))
        return [run[i : i + 2] for i in range(len(run) - 1)]
    return [w for w in plain(text).split() if w.isdigit() or (w not in _STOP and len(w) > 2)]


_STOP = frozenset(lexicon("stop"))
_CUES = patterns("cues")
_NEGATION_REACH = 3  # words: "not a bad day", "didn't really hurt"


def valence(text: str, lang: Lang) -> int:
    """1 for words that are plainly glad, -1 for plainly bad ones, 0 for both or neither."""
    words = plain(text)
    if idiom := _CUES["idiom"].get(lang):  # "can't wait" holds neither a "can't" nor a "wait"
        words = idiom.sub(" ", words)
    return int(_told("good", words, lang)) - int(_told("bad", words, lang))


def _told(kind: str, words: str, lang: Lang) -> bool:
    negation = _CUES["not"][lang]
    found = _CUES[kind][lang].finditer(words)
    if lang == "zh":
        return any(found) and not (kind == "good" and negation.search(words))
    return any(
        not negation.search(" ".join(words[: match.start()].split()[-_NEGATION_REACH:]))
        for match in found
    )


def flip(text: str, lang: Lang) -> str:
    """First person turned to second: "I lost my dog" -> "you lost your dog".

    The case of other words is kept; "I" becomes "you" wherever it stands.
    """
    if lang == "zh":
        for ours, theirs in _ZH_PAIRS:
            text = text.replace(ours, theirs)
        return text
    out: list[str] = []
    turned = False  # whether the last words were a turned "I", so that its verb must follow
    for token in _TOKEN.findall(text.replace("’", "'")):
        low = token.lower()
        if low in _EN_PAIRS:
            new = _EN_PAIRS[low]
            out.append(new)
            turned = low in ("i", "we") or low.endswith(("'m", "'ve", "'d", "'ll", "'re"))
        elif low in _EN_VERBS and (turned or low == "am"):
            # "am I" is turned from its verb on: "are you".
            out.append(_EN_VERBS[low])
            turned = False
        else:
            out.append(token)
            turned = turned and (not token.strip() or low in _EN_ADVERBS)
    flipped = "".join(out)
    return re.sub(r"\b([Ww])as you\b", r"\1ere you", flipped)


def clauses(text: str, lang: Lang) -> list[str]:
    """The text cut at its punctuation, fillers at the head of a piece taken off."""
    lead = _ZH_LEAD if lang == "zh" else _EN_LEAD
    comma = r",\s*" if lang == "zh" else r",\s+"  # in English "1,000" is one number
    pieces = re.split(rf"[.!?;:…。！？；：\n，、]+|{comma}|\s+-+\s+|—", text)
    return [p for piece in pieces if (p := lead.sub("", piece.strip()).strip())]


def sentence(text: str) -> str:
    """The text with a capital at its head."""
    return text[:1].upper() + text[1:]
