"""Chinese text to the sounds that Kokoro reads: words, pinyin, then the sounds of each syllable.

Kokoro was trained on sounds of the Mandarin rules of `misaki` 0.9; the table here gives the same
ones for every syllable. Digits are read as numbers, Latin words by the English rules.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache, lru_cache, partial
from threading import Lock
from typing import Any

from echat_sdk.errors import ModelMissingError
from echat_sdk.model.cascade.english import english_phonemizer
from echat_sdk.model.cascade.mandarin_numbers import read_numbers

_INITIALS = {
    "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k",
    "k": "kʰ", "h": "x", "j": "ʨ", "q": "ʨʰ", "x": "ɕ", "zh": "ꭧ", "ch": "ꭧʰ", "sh": "ʂ", "r": "ɻ",
    "z": "ʦ", "c": "ʦʰ", "s": "s", "": "",
}  # fmt: skip
# Each final as sounds with `0` where its tone goes.
_FINALS = {
    "a": "a0", "ai": "ai0", "an": "a0n", "ang": "a0ŋ", "ao": "au0", "e": "ɤ0", "ei": "ei0",
    "en": "ə0n", "eng": "ə0ŋ", "er": "ɚ0", "i": "i0", "ia": "ja0", "ian": "jɛ0n", "iang": "ja0ŋ",
    "iao": "jau0", "ie": "je0", "in": "i0n", "ing": "i0ŋ", "iong": "jʊ0ŋ", "iou": "jou0",
    "io": "jɔ0", "ong": "ʊ0ŋ", "ou": "ou0", "u": "u0", "ua": "wa0", "uai": "wai0", "uan": "wa0n",
    "uang": "wa0ŋ", "uei": "wei0", "uen": "wə0n", "ueng": "wə0ŋ", "uo": "wo0", "o": "wo0",
    "ü": "y0", "üe": "ɥe0", "üan": "ɥɛ0n", "ün": "y0n", "ê": "ɛ0",
}  # fmt: skip
_ALONE = {"o": "ɔ0", "hm": "hm0", "hng": "hŋ0", "m": "m0", "n": "n0", "ng": "ŋ0"}
_BUZZING = frozenset({"zh", "ch", "sh", "r", "z", "c", "s"})  # here the final "i" is no [i]
_TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}
_PAUSES = str.maketrans(
    {"，": ", ", "、": ", ", "。": ". ", "！": "! ", "？": "? ", "；": "; ", "：": ": ", "～": ", "}
)
_RUN = re.compile(r"([\u4e00-\u9fff]+)|([A-Za-zÀ-ÿ][A-Za-zÀ-ÿ' ]*)|([^\u4e00-\u9fffA-Za-zÀ-ÿ]+)")
_LOADING = Lock()
_LONGEST_WORD = 16  # characters, in the dictionary of jieba
_SILENT = re.compile(r"[^\s,.;:!?…—]")


def mandarin_sounds(text: str) -> str:
    """The sounds of a cleaned Chinese text; Latin words in it are read as English.

    Raises:
        ModelMissingError: the packages of the extra `voices` are not installed.
    """
    out = []
    for han, latin, other in _RUN.findall(read_numbers(text).translate(_PAUSES)):
        if han:
            out.append(" ".join(_word_sounds(word) for word in _segmenter().cut(han)))
        elif latin:
            out.append(f" {english_phonemizer()(latin.strip())} ")
        else:
            out.append(_SILENT.sub("", other))
    return " ".join("".join(out).split())


def _word_sounds(word: str) -> str:
    from pypinyin import Style, lazy_pinyin

    pinyin = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True, errors="ignore")
    return "".join(syllable_sounds(syllable) for syllable in pinyin)


@lru_cache(maxsize=2048)
def syllable_sounds(pinyin: str) -> str:
    """The sounds of one syllable of pinyin with its tone's number, such as `zhong1`."""
    from pypinyin.contrib.tone_convert import to_finals, to_initials

    letters, tone = pinyin[:-1], _TONES.get(pinyin[-1])
    if tone is None:
        return ""
    if letters in _ALONE:
        return _ALONE[letters].replace("0", tone)
    initial = to_initials(letters, strict=True)
    final = to_finals(letters, strict=True, v_to_u=True)
    sounds = "ɨ0" if initial in _BUZZING and final == "i" else _FINALS.get(final, "")
    return _INITIALS.get(initial, "") + sounds.replace("0", tone)


def _segmenter() -> Any:
    with _LOADING:  # else two threads that speak their first words would both load it
        return _load_segmenter()


@cache
def _load_segmenter() -> Any:
    """The words of jieba and its rules; read once, a quarter of a second.

    The cache of jieba is left alone: it is unmarshalled from a shared temporary folder, where any
    user of the machine could have put another file.
    """
    try:
        import pypinyin  # noqa: F401

        with warnings.catch_warnings():  # old string escapes and pkg_resources, inside jieba
            warnings.simplefilter("ignore")
            import jieba
    except ImportError as error:
        raise ModelMissingError(
            f"{error.name} is not installed, and Chinese speech needs it: "
            "pip install 'echat-sdk[voices]'"
        ) from error
    segmenter = jieba.Tokenizer()
    with segmenter.get_dict_file() as file:
        columns = file.read().decode("utf-8").split()  # word, count, part of speech
    words, counts = columns[::3], [int(count) for count in columns[1::3]]
    segmenter.FREQ, segmenter.total = dict(zip(words, counts, strict=True)), sum(counts)
    segmenter.get_DAG = partial(_ends_of_words, segmenter.FREQ)
    segmenter.initialized = True
    return segmenter


def _ends_of_words(counts: Mapping[str, int], text: str) -> dict[int, list[int]]:
    """Where words that start at each character may end.

    jieba's own way looks up every beginning of every word, and takes five times as long to load.
    """
    return {
        start: [
            start + size
            for size in range(min(_LONGEST_WORD, len(text) - start))
            if counts.get(text[start : start + size + 1])
        ]
        or [start]
        for start in range(len(text))
    }
