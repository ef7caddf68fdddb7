"""The part of what somebody said that tells of something, and so may be given back later. Pure.

What a model is given of an old turn must carry no order, no markup and no forged role: a sentence
is kept only where its form is that of telling (of oneself, or in the third person), and nothing in
it is addressed to who listens. Built to miss: what is not kept is not found again, and still there.
"""

from __future__ import annotations

import re
import unicodedata

from echat_memory.search import PAST
from echat_sdk.turn import Lang

MAX_READ = 1_000
"""Characters of a transcript that are looked at."""

LONGEST_WORD = 24
"""Characters of a word; what has more is no word, but code."""

_MARKUP = re.compile(r"[<>{}\[\]|`#=\\*~^@&/%]|[A-Z]{3,} [A-Z]{3,}|\bhttps?\b|\bwww\b")
_ROLE = re.compile(r"^\W*[\w ]{1,20}:")
_QUOTED = re.compile(r"[\"“”„«»「」『』‘]|\B'\w|\w'\B")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_WORD = re.compile(r"[a-z']+")
_WORD_OR_COMMA = re.compile(r"[a-z']+|,")
_HAN = re.compile(r"[\u3400-\u9fff]")
# One word in two alphabets is a disguise: "ignоre" with a Cyrillic letter.
_DISGUISED = re.compile(
    r"[A-Za-z][\u0370-\u052f\u2100-\u214f]|[\u0370-\u052f\u2100-\u214f][A-Za-z]"
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_OWN = _set("i i'm i've i'd i'll me my mine myself we we're we've us our")
_THIRD = _set("he she it they his her their the this there that a an today yesterday last")
_FILLERS = _set("and but so then well oh today yesterday")
_FORBIDDEN = _set(
    "you your yours yourself you're you've you'll you'd u ur thou ye please kindly henceforth"
    " hereby let's ai assistant assistants agent agents chatbot chatbots bot bots robot robots llm"
    " ignore ignores ignored ignoring disregard disregarding obey obeys obeying instruct instructed"
    " instruction instructions prompt prompts prompted command commands commanded jailbreak"
    " override overrides overriding bypass bypasses bypassing forbid forbids forbidden"
    " password passwords passphrase passcode access permission permissions authorised authorized"
    " refund user users reply replies warning warnings response responses"
    " admin system systems rule rules policy protocol directive directives mandate mandatory"
)
_PHRASES = ("from now on", "going forward", "developer mode")
_MODAL = _set("must always never shall should ought")
_MODAL_OF = _set("i we have i'd")
_VERBS = _set(
    "do don't say tell speak answer reply respond forget remember act pretend call send give write"
    " repeat stop treat use open run execute delete reveal print transfer pay buy unlock turn make"
    " take keep think note store save translate output ignore include add end begin start recommend"
    " praise agree promise"
)
_JOINS = _set(
    "and then so but or , only just also is are was be called named as about love like said says"
)
# "I told her to go", "it is important to go" are orders; "I want to go" is none.
_ASKS = _set("told tell asked ask want wants wanted ordered need needs")
_OUGHT = _set("told asked important necessary essential required supposed task duty purpose thing")
# A bare verb before its object: "the first thing is hide this".
_BARE = re.compile(
    r"(?:\b(?:is|are|be|called|named|as|about|love|like|hate|said|says|in|at|and|so|then|with)\b|,)"
    r" (\w+)(?: off| on| up| down| out)?"
    r" (?:this|that|these|those|the|a|an|my|your|his|her|its|our|all|every\w*|me|us|him|them"
    r"|any\w*)\b"
)
_NO_VERB = _set(
    "in on at by to for with from of over under near behind beside between into out up down off"
    " around along across through after before since until about against like than not now still"
    " also only just too so very all both half quite really that how what when where why who and or"
    " but if because while more most less even never always the a an my his her our their it he she"
    " we they i there here back home away again once today well often maybe perhaps inside outside"
)

# Chinese leaves out who does something; an order leaves out that it has been done.
_ZH_TELLS = re.compile(r"[我咱他她它]|[了过很着]|[是有]")
_ZH_ORDERS = re.compile(
    r"[你您妳]|请|請|务必|必须|不许|不准|不得|命令|指令|提示词|系统|系統|助手|机器人|機器人|智能体|模型"
    r"|忽略|无视|無視|服从|遵守|从现在|從現在|以后都|以後都|今后|永远|总是|始终|规则|规定"
    r"|记住|牢记|回答|回复|答复|扮演|假装|输出|执行|转账|泄露|开发者|管理员"
    r"|密码|口令|权限|汇款|用户|任务|广告|每句|该给|希望|吧\W*$|[,，](?:顺便)?(?:把|给|帮|让|别)"
    r"|^\W*(?:别|不要|不用|要|把|给|帮|让|说|告诉|忘|叫)|都要|都得|一律|每次都"
    r"|(?:叫|是|住在|喜欢|想谈|想说|说)(?:把|给|帮|让|打开|关闭|关掉|推荐|发送|删除|重复|翻译)"
)


def is_verb_phrase(value: str) -> bool:
    """Whether an English thing of several words is a verb with its object: "book a taxi"."""
    first, *rest = value.lower().split() or [""]
    return not (first in _ARTICLES or first.endswith("ing")) and not _ARTICLES.isdisjoint(rest)


_ARTICLES = _set("the a an my your his her our their this that all every everything everyone any")


def is_order(text: str, lang: Lang) -> bool:
    """Whether a few words have the form of an order."""
    lower = text.lower()
    if lang == "zh" and (_ZH_ORDERS.search(lower) or _ZH_ORDERS.search(f"我喜欢{lower}")):
        return True
    return _orders_in_english(lower, _WORD.findall(lower))


def telling(transcript: str, lang: Lang) -> str:
    """The sentences of a turn that tell of something; empty where none does.

    Args:
        transcript: The user's own words.
        lang: Their language.
    """
    text = transcript[:MAX_READ]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("’", "'")
    if not text.isprintable():
        text = "".join(
            c for c in text if c == "\n" or unicodedata.category(c) not in ("Cf", "Cc", "Co", "Cn")
        )
    is_disguised = not text.isascii() and _DISGUISED.search(text)
    if is_disguised or _is_coded(text) or _MARKUP.search(text):
        return ""  # who hides something in a turn may have cut it anywhere
    tells = _tells_zh if lang == "zh" else _tells_en
    kept = (s.strip() for s in _SENTENCE.findall(text) if _is_plain(s) and tells(s))
    return ("" if lang == "zh" else " ").join(kept)


def _is_coded(text: str) -> bool:
    return any(len(word) > LONGEST_WORD and word.isascii() for word in text.split())


def _is_plain(sentence: str) -> bool:
    """Whether it asks nothing, names no speaker and quotes nobody."""
    return not (
        "?" in sentence
        or (":" in sentence and _ROLE.search(sentence))
        or (
            (not sentence.isascii() or "'" in sentence or '"' in sentence)
            and _QUOTED.search(sentence)
        )
        or sentence.rstrip("。.! ！").endswith(("吗", "呢"))
    )


def _tells_en(sentence: str) -> bool:
    lower = sentence.lower()
    words = _WORD.findall(lower)
    if (
        not words
        or _orders_in_english(lower, words)
        or (not lower.isascii() and _HAN.search(lower))
    ):
        return False
    first = next((word for word in words if word not in _FILLERS), words[0])
    return first in _THIRD or not _OWN.isdisjoint(words)


def _tells_zh(sentence: str) -> bool:
    lower = sentence.lower()
    if _ZH_ORDERS.search(lower) or _orders_in_english(lower, _WORD.findall(lower)):
        return False
    return bool(_ZH_TELLS.search(sentence))


def _orders_in_english(lower: str, words: list[str]) -> bool:
    if not words:
        return False
    if words[0] in _VERBS or words[0] in _MODAL or not _FORBIDDEN.isdisjoint(words):
        return True
    if any(phrase in lower for phrase in _PHRASES):
        return True
    if any(
        word not in _NO_VERB
        and word not in PAST
        and not word.endswith(("ing", "ed", "en", "ly", "s"))
        for word in _BARE.findall(lower)
    ):
        return True
    asked = ""  # the word in which somebody is asked for something, and what came before "to"
    earlier = before = ""
    for token in _WORD_OR_COMMA.findall(lower):
        if token in _MODAL and before not in _MODAL_OF:
            return True
        if token in _VERBS and before in _JOINS:
            return True
        if token == "to" and (before in _OUGHT or (asked and before not in _ASKS)):
            earlier = "asked"
        elif before == "to" and earlier:
            return True
        if token in _ASKS:
            asked = token
        before = token
    return False
