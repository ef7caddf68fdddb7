"""How facts are told in Chinese."""

from __future__ import annotations

import re

from echat_memory.facts import FactKind
from echat_memory.grammar import Grammar, closed_forms, patterns

_FORMS = closed_forms(1)
_HAN = r"[\u3400-\u9fff]"
_WORD = r"[A-Za-z]+(?:['-][A-Za-z]+)*"
_MY = r"我(?:们)?(?:家)?(?:的)?"
_HAVE = r"(?:要|(?:要|会)?(?:有|参加))(?:一?[个场次])?(?:重要的)?"

_ABOUT = r"(?:起|到|关于)?我?(?:们)?(?:家)?的?TOPIC(?:的事情?)?"

_RULES = [
    # The one 别 that is kept: its topics are a closed list.
    (FactKind.BOUNDARY, rf"(?:请|你)?(?:别|不要)再?(?:跟我)?(?:提|说|聊|谈|问我?){_ABOUT}了?"),
    (FactKind.BOUNDARY, rf"我(?:真的)?不(?:想|愿意?)再?(?:提|说|聊|谈){_ABOUT}了?"),
    (
        FactKind.BOUNDARY,
        rf"(?P<back>你?(?:又|现在)?可以(?:再|跟我)?(?:提|说|聊|谈|问我?)){_ABOUT}了",
    ),
    (FactKind.BOUNDARY, rf"(?P<back>我(?:现在)?(?:可以|愿意)(?:提|说|聊|谈)){_ABOUT}了"),
    (FactKind.NAME, r"(?:我的名字(?:是|叫)|我叫)(?:做|作)? ?NAME"),
    (FactKind.HOME, rf"我(?:们|和我?{_HAN}{{1,4}})?(?:现在|目前)?住在 ?VALUE"),
    (FactKind.HOME, r"我(?:们)?(?:刚|最近)?搬到了? ?VALUE"),
    (FactKind.ORIGIN, r"我(?:来自|是从) ?VALUE来?"),
    (FactKind.JOB, r"我(?:现在)?是(?:一?[名个位])?JOB"),
    (FactKind.WORKPLACE, r"我(?:现在)?在 ?VALUE ?(?:工作|上班)"),
    (FactKind.TRAIT, r"我(?:现在)?是(?:一?[名个位])?TRAIT"),
    (FactKind.CALLED, rf"{_MY}WHO(?:的名字|名字)?(?:叫|是叫)(?:做|作)? ?NAME"),
    (FactKind.CALLED, rf"{_MY}WHO的名字是 ?NAME"),
    (FactKind.CALLED, r"我(?:有|养了)一?[只条个匹]?WHO(?:名字)?叫 ?NAME"),
    (FactKind.STATE, rf"{_MY}WHO(?:现在|最近)?STATE"),
    (FactKind.LOSS, rf"{_MY}WHO(?:WHEN)?(?:刚刚?)?(?:去世|过世|死|走)了"),
    (FactKind.EVENT, rf"我(?:WHEN)?{_HAVE}EVENT"),
    (FactKind.EVENT, rf"WHEN我?{_HAVE}EVENT"),
    (FactKind.EVENT, r"我(?:的)?EVENT(?:是|在)WHEN"),
    (FactKind.NEWS, r"我(?:今天|昨天|终于|刚刚?)?NEWS"),
    (FactKind.FAVOURITE, r"我最(?:喜欢|爱)的THING(?:是|叫) ?VALUE"),
    (FactKind.ALLERGY, r"我对 ?VALUE ?(?:严重)?过敏"),
    (FactKind.TASTE, r"我(?:真的|很|非常|最|特别)?(?P<hate>讨厌|恨|不喜欢|不爱) ?VALUE"),
    (FactKind.TASTE, r"我(?:也|真的|很|非常|最|特别|超级|超)?(?:喜欢|热爱|爱) ?VALUE"),
]

GRAMMAR = Grammar(
    # Transcripts come in either script; the patterns are in the simplified one.
    spelling=str.maketrans(
        "歡愛對過貓媽爺師試週禮個們這嗎麼說誰會還於裡裏學護醫機長結離職業見丟馬魚鳥龜駕壽親兒闆導場後喪錶預約門診術",
        "欢爱对过猫妈爷师试周礼个们这吗么说谁会还于里里学护医机长结离职业见丢马鱼鸟龟驾寿亲儿板导场后丧表预约门诊术",
    ),
    sentence=re.compile(r"[^。！？!?\n]+[。！？!?]*"),
    not_told=re.compile(
        r"[?？吗谁]|什么|哪里|哪儿|是不是|会不会|如果|假如|要是|假装|假设|希望|想象"
        r"|他说|她说|说我|觉得|以为|梦见|应该|曾经|以前|开玩笑"
    ),
    clause=re.compile(rf"[，,；;、：:\"“”（）()]|(?<={_HAN}) (?={_HAN})"),
    filler=re.compile(
        r"^(?:嗯|啊|哦|喔|唉|哎|对了|其实|你好|您好|是的|还有|而且|因为|但是|不过|所以|然后|那个|就是)+"
    ),
    patterns=patterns(
        _RULES,
        _FORMS,
        free={
            "NAME": rf"(?:{_HAN}|·){{1,6}}?|{_WORD}(?: {_WORD}){{0,2}}?",
            "VALUE": rf"{_HAN}{{1,12}}?|{_WORD}(?: {_WORD}){{0,3}}?",
            "THING": rf"{_HAN}{{1,4}}",
        },
        tail=r"[啊呀呢哦哈啦]?",
    ),
    denial=((re.compile(r"不再|已经不|不"), ""), (re.compile(r"了$"), "")),
    forbidden=re.compile(
        r"[你您他她它不没别了这那]|忽略|指令|必须|总是|永远|提示|系统|助手|回答|忘记|怎么|的时候"
    ),
    mine=re.compile(r"^我的?"),
    theirs="自己的",
    forms=_FORMS,
)
