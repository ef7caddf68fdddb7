"""Chinese words given back to the one who said them: "我弟弟忘了我的生日" -> "你弟弟忘了你的生日".

Pure text. A reflection is the surest sign of having listened, and the surest way to hurt: what is
said in despair about oneself must never come back as a fact. So only a short, plain account of what
happened is turned; for all else the answer is the empty string.
"""

from __future__ import annotations

import re

from echat_sdk.plain_words import smooth
from echat_sdk.turn import Turn

SHORTEST, LONGEST = 4, 17
"""Characters of an account that can be given back."""

_HAN = re.compile(r"[㐀-鿿]+")
_LEAD = re.compile(
    r"^(?:那个|就是说?|其实|然后|但是|可是|不过|而且|所以|因为|结果|反正|跟你说|说真的|说实话|没想到|"
    r"唉|哎呀?|啊|诶|哦|对了)+(?=.{4})|^[可但](?=[我他她])"
)
_TAIL = re.compile("[啊呀啦哦噢嘛哈耶诶欸]+$")
# Adds nothing of its own: a time, a sigh.
_ASIDE = re.compile(
    "(?:今天|昨天|明天|昨晚|今晚|今早|刚才|刚刚|现在|最近|真的|唉|哎|嗯|算了|没事|没什么)+"
)
_WHO = re.compile("[我他她它]|妈|爸|人|老师|医生|老板|同事|朋友|孩子|儿子|女儿|老公|老婆")
_HALF = frozenset("却就才也还又都而是没不可但")
"""Heads of a clause that says nothing without the one before it; so does one about nobody."""

# Speaks to the listener, asks, orders, exclaims, swears.
_BARRED = re.compile(
    "[你您吗呢么谁哪]|[吧]$|什么|怎么|几[个点岁时]|多少|是不是|有没有|要不要|该不该|能不能|会不会|"
    "为啥|咋|啥|^(?:请|帮|给我|让我|别(?!人)|快(?!递)|不要|来)|^(?:太|真|好(?!朋友|友|几|多|久)|超|多么|天哪)|"
    "^我去$|^[靠操]|我[靠操]|操[你他蛋]|滚[蛋开]|放屁|我的天|(?<!我)妈的|傻|贱|婊|神经病|混蛋|王八|畜生|去死|杀|强奸"
)
# What people say of themselves when they are low, and must not hear confirmed.
_UNKIND = re.compile(
    "胖|丑|笨|蠢|没用|无能|失败|废|多余|累赘|拖累|差劲|自私|活该|不配|配不上|不如|没出息|丢人|丢脸|恶心|"
    "懒|矮|秃|穷|老了|罪|报应|死|该不|我的错|怪我|怨我|害了|对不起|一点用|"
    "(?:没人|没有人|谁都不|都不|不再|不|没)(?:会|想|肯|怎么|真的)*"
    "(?:爱|喜欢|要|在乎|需要|关心|疼|理解|相信|信)(?:过)?我|"
    "(?:讨厌|恨|嫌弃?|瞧不起|看不起|烦|怕)我"
)
_FELT = re.compile("^我(?:真的|就是|总|老|一直|有点|好|很|也)*(?:觉得|感觉|以为|怀疑|好像|可能)")


def reflect(text: str, before: Turn | None = None) -> str:
    """The account in the second person; empty where it cannot safely be given back.

    Args:
        text: What was said.
        before: The last turn; if its answer gave its words back, this one does not.
    """
    said = _turned(text)
    if before is None or not (earlier := _turned(before.transcript)):
        return said
    return "" if earlier in before.reply else said


def _turned(text: str) -> str:
    pieces = [piece for part in smooth(text, "zh").split() if (piece := _TAIL.sub("", part))]
    pieces = [piece for piece in pieces if not _ASIDE.fullmatch(piece)]
    # Both halves of "同事都去聚餐，没人叫我" are told, and the end of a longer account.
    account = pieces if len(pieces) < 3 and sum(map(len, pieces)) <= LONGEST else pieces[-1:]
    account = [_LEAD.sub("", piece) for piece in account[:1]] + account[1:]
    words = "".join(account)
    if len(account) < len(pieces) and (words[:1] in _HALF or not _WHO.search(words)):
        return ""
    if not SHORTEST <= len(words) <= LONGEST or not _HAN.fullmatch(words):
        return ""
    whole = "".join(pieces)
    if _BARRED.search(words) or _UNKIND.search(whole) or _FELT.search(whole):
        return ""
    return "，".join(map(_second_person, account))


_KIN = re.compile(r"我们?([爸妈哥弟姐妹])(?!\1|[爸妈夫妹弟哥媳们子])")


def _second_person(clause: str) -> str:
    # A bare 你妈 or 你妹 is half a curse.
    return re.sub("[我咱俺]", "你", _KIN.sub(r"你\1\1", clause))
