"""What people may ask for by right, found in their words: to be told what is kept, to forget it.

Closed patterns, in English and Chinese, that a whole utterance must match: nothing but the request
and politeness. No model is asked. So a quotation, a negation ("don't forget today"), a question
about it ("did you forget today?") or a story that begins like it is none. What is missed can be
said again; what was forgotten by mistake cannot be had back, so it is built to miss.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from echat_sdk.turn import Lang


class Request(StrEnum):
    """What is asked for."""

    KNOWN = "known"
    """To be told what is kept."""
    TODAY = "today"
    """To forget what was said today."""
    LAST = "last"
    """To forget what was said last."""
    EVERYTHING = "everything"
    """To forget all; it is asked back first."""
    YES = "yes"
    """Yes, all. Only after it was asked back, as `NO`."""
    NO = "no"


AT_ONCE = frozenset({Request.TODAY, Request.LAST})
"""What is done as soon as it is understood, even where nobody waits for the answer any more."""


def request_in(transcript: str) -> Request | None:
    """What an utterance asks for; None for anything else."""
    if len(transcript) > _LONGEST or _QUOTED.search(transcript):
        return None
    words, asks = plain(transcript), _ASKS.search(transcript) is not None
    for kind, rule in _RULES:
        found = rule.fullmatch(words)
        # "Forget today?" asks what was meant; "Could you forget today?" asks for it.
        if found and (not asks or kind is Request.KNOWN or found["polite"]):
            return kind
    return None


def answer_in(transcript: str) -> Request | None:
    """Whether an utterance is a yes, or a no, and nothing else."""
    if len(transcript) > _LONGEST or _QUOTED.search(transcript) or _ASKS.search(transcript):
        return None
    words = plain(transcript)
    return next((kind for kind, rule in _ANSWERS if rule.fullmatch(words)), None)


def lang_of(transcript: str) -> Lang:
    """The language of a request: the words tell it, whatever a recognizer was set to."""
    return "zh" if _HAN.search(transcript) else "en"


def plain(transcript: str) -> str:
    """Letters in small, one space between words, none beside Chinese ones, which are simplified."""
    text = unicodedata.normalize("NFKC", transcript).casefold().translate(_SAME)
    text = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return _BESIDE_HAN.sub("", " ".join(text.split()))


_HAN = re.compile("[\u4e00-\u9fff]")
_LONGEST = 200  # characters; a longer utterance matches nothing
_QUOTED = re.compile(r"[\"“”„«»「」『』《》‘]|(?<![^\W\d_])['’]|['’](?![^\W\d_])")
_ASKS = re.compile(
    r"(?<!\bok)(?<!\bokay)(?<!\bplease)(?<! you)[?？]\W*$|(?<![好行以])[吗嗎]\W*$", re.IGNORECASE
)
_BESIDE_HAN = re.compile(r"(?<=[\u4e00-\u9fff]) | (?=[\u4e00-\u9fff])")
_SAME = str.maketrans(
    "’記剛說關於麼嗎刪請話對過訴從來這還個瞭東樣資訊數據幫別確們經會後給麻煩謝聽談講內錄沒問題願當認",
    "'记刚说关于么吗删请话对过诉从来这还个了东样资讯数据帮别确们经会后给麻烦谢听谈讲内录没问题愿当认",
)

# --- English ---------------------------------------------------------------------------------

_EN_FIRST = (
    r"(?:(?:ok|okay|hey|hi|hello|please|so|well|now|oh|no|yes|yeah|sorry|wait|actually|listen|and"
    r"|right|alright|all right|but|then|um|uh|er|erm|just|you know what|thanks|thank you) )*"
)
_EN_LAST = (
    r"(?: (?:please|now|right now|at once|immediately|for me|then|thanks|thank you|ok|okay|again"
    r"|if you can|if you could|completely|would you|will you|could you|can you))*"
)
_EN_POLITE = (
    r"(?P<polite>(?:can|could|would) you (?:please |just |kindly )*|will you please (?:just )?"
    r"|would you mind |may i ask you to |can i ask you to )?"
    r"(?:(?:i want|i'd like|i would like|i need|i wish|i ask) you to (?:please |just )?"
    r"|(?:you must|you have to|you need to) (?:please |just )?)?"
)
_EN_VERB = r"(?:forget|erase|delete|remove|wipe)(?: out)? "
_TOLD_YOU = (
    r"(?:i|we)(?:'ve| have)? (?:said|told you|talked about|spoke about|spoken about|discussed"
    r"|shared|mentioned)(?: (?:to|with) you)?"
)
_ALL_THAT = (
    r"(?:everything|all|anything|whatever|what|all the things|the things|all of what)(?: that)? "
)
_EN_TODAY = (
    rf"(?:(?:all of |the whole of |all )?today|{_ALL_THAT}{_TOLD_YOU}(?: so far)? today"
    r"|(?:everything|all)(?: of it)? (?:from|of|about) today"
    r"|(?:all of |all )?today's (?:conversations?|talks?|chats?|sessions?)"
    r"|our (?:conversations?|chats?|talks?) (?:from |of )?today)"
)
_EN_LATEST = (
    r"(?:about )?(?:(?:what|everything|all|that|the thing|anything|whatever)(?: that)? "
    r"i(?:'ve| have)? just (?:now )?(?:said|told you|shared|mentioned)(?: to you)?(?: now)?"
    r"|what i said|that i(?:'ve| have)?(?: just)? (?:said|told you) (?:that|this|it|so)"
    r"|what i(?:'ve| have)? (?:said|told you) (?:just now|a moment ago|a second ago|a minute ago)"
    r"|the last thing (?:that )?i(?:'ve| have)? (?:just )?(?:said|told you)(?: to you)?"
    r"|my last (?:sentence|message|words|remark|turn|line))"
)
_MINE = r"(?:personal )?(?:data|information|records?|memories|conversations)"
_LEARNT = r"(?:remember(?:ed)?|stored|saved|kept|recorded|learned|learnt|noted|heard|collected)"
_EN_ALL = (
    rf"(?:(?:everything|all)(?: of it)?(?: that)?"
    rf"(?: about me| you(?:'ve| have)? (?:ever )?(?:know|keep|have|store|got|{_LEARNT})"
    rf"(?: {_LEARNT})?(?: (?:about|of|on|from) me)?| i(?:'ve| have)? (?:ever )?(?:said|told you)"
    rf"(?: to you)?(?: ever)?)?"
    rf"|(?:what|whatever) you (?:know|have|keep|remember) (?:about|of|on) me"
    rf"|(?:all (?:of )?)?my {_MINE}|(?:all|every) (?:the |of the )?(?:data|information) "
    rf"(?:about|on) me)"
)
_ABOUT_ME = r"(?:about|of|on|from) me"
_KEEP = r"(?:know|remember|recall|keep|store|have|save)"
_OFTEN = r"(?:actually |really |already |all |even |still |currently |now )*"
_SO_FAR = r"(?: (?:so far|by now|exactly|already|then|at all|anyway|really))*"
_THINGS = r"(?: (?:data|information|info|things|facts|memories)| (?:kind|sort) of (?:things|data))?"
_EN_KNOWN = (
    rf"(?:what{_THINGS}(?: all)? (?:do|did) you {_OFTEN}{_KEEP} {_ABOUT_ME}"
    rf"|what{_THINGS}(?: all)? (?:have you|do you have|have you got) {_OFTEN}"
    rf"(?:{_LEARNT} )?{_ABOUT_ME}"
    rf"|what(?:'s| is) {_OFTEN}(?:stored|saved|kept|recorded) {_ABOUT_ME}"
    rf"|do you {_OFTEN}{_KEEP} (?:anything|something|much|a lot) {_ABOUT_ME}"
    rf"|have you {_OFTEN}{_LEARNT} (?:anything|something) {_ABOUT_ME}"
    rf"|how much do you {_OFTEN}{_KEEP} {_ABOUT_ME}"
    rf"|(?:tell|show) me (?:what|everything|all|all the things)(?: that)? you"
    rf"(?:'ve| have)? {_OFTEN}(?:{_KEEP}|{_LEARNT})(?: {_LEARNT})? {_ABOUT_ME}){_SO_FAR}"
)
_EN_ASK = r"(?P<polite>(?:can|could|would|will) you (?:please )?|please )?"

# --- Chinese ---------------------------------------------------------------------------------

_ZH_FIRST = r"(?:好的|好|嗯|那么|那|请|麻烦你|麻烦|喂|嘿|你好|等等|算了|对了|哎|啊|呃|拜托|谢谢)*"
_ZH_LAST = r"(?:吧|好吗|好不好|行吗|行不行|可以吗|谢谢你|谢谢|啊|呀|拜托|呗|吗|一下)*"
_ZH_POLITE = (
    r"(?P<polite>(?:你)?(?:能不能|可不可以|可以|能)(?:请你|请)?)?"
    r"(?:我(?:要|想让|想请|想要|希望|请)你|希望你|你得|你要|请你)?(?:帮我)?(?:请)?"
)
_ZH_VERB = r"(?:忘掉|忘了|忘记|忘却|删掉|删除|删了|抹掉|清除|清空|擦掉)"
_ZH_ALL_OF = r"(?:的?(?:一切|所有(?:的)?|全部))?"
_ZH_THINGS = r"(?:一切|事情|事|谈话|对话|聊天记录|聊天|内容|话|东西|信息|资料|数据|记录)"
_ZH_SAID = r"(?:(?:跟|对|和|向)你)?(?:说|讲|聊|谈|告诉你|提到)过?"
_ZH_TODAY = (
    rf"(?:今天(?:的)?{_ZH_ALL_OF}{_ZH_THINGS}?"
    rf"|(?:我们?)?今天(?:我们?)?{_ZH_SAID}的{_ZH_ALL_OF}{_ZH_THINGS}?)"
)
_ZH_LATEST = (
    rf"(?:我?(?:刚才|刚刚|刚)我?{_ZH_SAID}的(?:那句|那些|那段|那件|这句)?{_ZH_ALL_OF}{_ZH_THINGS}?"
    r"|我?(?:刚才|刚刚)的?(?:那句|那段)?话|我?(?:说的)?(?:上|最后)一?句话?)"
)
_ZH_ALL = (
    rf"(?:(?:关于|有关)?我的{_ZH_ALL_OF}(?:个人)?{_ZH_THINGS}"
    rf"|(?:所有|一切|全部)的?(?:关于|有关)?(?:我的)?{_ZH_THINGS}?"
    rf"|你(?:所)?(?:知道|记得|记住|了解|保存|存)的?(?:关于|有关)?(?:我的?)?{_ZH_ALL_OF}{_ZH_THINGS}"
    rf"|我{_ZH_SAID}的{_ZH_ALL_OF}{_ZH_THINGS})"
)
_ZH_ALSO = r"(?:都|还|到底|究竟|现在|已经|又|一共)*"
_ZH_KNOW = r"(?:知道|记得|了解|记住|保存|存储|存|记录|记下|掌握|收集)了?"
_ZH_WHAT = r"(?:些|一些)?(?:什么|哪些|多少|啥)(?:东西|事情|事|信息|资料|数据|内容|话)?"
_ZH_MY = r"(?:关于|有关)?我的?(?:事情|事)?"
_ZH_KNOWN = (
    rf"(?:你{_ZH_ALSO}{_ZH_KNOW}{_ZH_MY}{_ZH_WHAT}|你{_ZH_ALSO}{_ZH_KNOW}{_ZH_WHAT}(?:关于|有关)我的?"
    rf"(?:东西|事情|事|信息)?|(?:关于|有关)我的?(?:事情|事)?你{_ZH_ALSO}{_ZH_KNOW}{_ZH_WHAT}"
    rf"|你{_ZH_ALSO}有(?:关于)?我的?{_ZH_WHAT}|你对我{_ZH_ALSO}{_ZH_KNOW}{_ZH_WHAT}|(?:告诉我|(?:跟我)?(?:说说|讲讲|说一下))你{_ZH_ALSO}{_ZH_KNOW}{_ZH_MY}"
    rf"(?:{_ZH_WHAT}|一切|所有(?:事情|信息)?)|你{_ZH_ALSO}{_ZH_KNOW}(?:关于)?我的?{_ZH_WHAT})"
    r"(?:呢|呀|啊|吗|来着)*"
)


_ZH_EACH = r"(?:都|全|全部|统统|通通|给我)*"
_FILLED = r"(?:(?:um|uh|er|erm|hm|hmm|oh|well|so|hello|hi|hey) )*"
_YES = (
    rf"{_FILLED}(?:(?:yes|yeah|yep|yup|sure|ok|okay|of course|absolutely|definitely|certainly"
    r"|please|i'm sure|i am sure|go ahead|do it|do that|please do|i do|i agree|that's right"
    r"|that's fine|that's ok|that's okay|all right|alright|why not"
    r"|(?:you may|you can)(?: listen(?: to me)?)?"
    r"|erase it|erase everything|erase it all|delete it|delete everything|forget everything"
    r"|forget it all)(?: |$))+(?:(?:thanks|thank you)(?: |$))*"
)
_NO = (
    rf"{_FILLED}(?:(?:no|nope|nah|don't|do not|please don't|please no|never mind|stop|please stop"
    r"|cancel|leave it|not now|not really|rather not|better not|i'd rather not|i would rather not"
    r"|i don't|i don't want to|i don't want that|i don't agree|i do not agree|you may not|you can't"
    r"|certainly not|of course not|absolutely not|no way|thanks|thank you|keep it|keep everything"
    r"|wait)(?: |$))+(?:please)?"
)
_ZH_FILLED = r"(?:嗯|呃|啊|哦|那|你好)*"
_ZH_YES = (
    rf"{_ZH_FILLED}(?:是的|是啊|是|对的|对啊|对|好的|好啊|好呀|好吧|好|行啊|行|当然可以|可以的|可以啊"
    r"|可以呀|可以|确定|确认|我确定|没错|没问题|当然|要|我同意|同意|我愿意|愿意"
    r"|都忘掉吧|全忘掉吧|忘掉吧|忘了吧|删掉吧|删吧|请忘掉|请删掉|来吧)+(?:谢谢你|谢谢)*"
)
_ZH_NO = (
    rf"{_ZH_FILLED}(?:我不要|不要了|不要|不用了|不用|不了|不是|不行|不可以|我不同意|不同意|我不愿意"
    r"|不愿意|我不想|不想|不|别了|别|还是算了|算了|先不|取消|等等|谢谢)+"
)


def _forgetting(english: str, chinese: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    # "你把今天忘了" tells what somebody did, unless it ends as an order does.
    taken = rf"把{chinese}{_ZH_EACH}{_ZH_VERB}"
    ordered = rf"{_ZH_POLITE}(?:{taken}|{_ZH_VERB}{chinese}){_ZH_LAST}|你{taken}吧"
    first = rf"{chinese}{_ZH_EACH}(?:请{_ZH_EACH}{_ZH_VERB}{_ZH_LAST}|{_ZH_VERB}吧)"
    return (
        re.compile(_EN_FIRST + _EN_POLITE + _EN_VERB + english + _EN_LAST),
        re.compile(f"{_ZH_FIRST}(?:{ordered}|{first})"),
    )


_RULES: tuple[tuple[Request, re.Pattern[str]], ...] = (
    (Request.KNOWN, re.compile(_EN_FIRST + _EN_ASK + _EN_KNOWN + _EN_LAST)),
    (Request.KNOWN, re.compile(_ZH_FIRST + _ZH_POLITE + _ZH_KNOWN)),
    *(
        (kind, rule)
        for kind, english, chinese in (
            (Request.TODAY, _EN_TODAY, _ZH_TODAY),
            (Request.LAST, _EN_LATEST, _ZH_LATEST),
            (Request.EVERYTHING, _EN_ALL, _ZH_ALL),
        )
        for rule in _forgetting(english, chinese)
    ),
)
_ANSWERS = (
    (Request.YES, re.compile(_YES)),
    (Request.YES, re.compile(_ZH_YES)),
    (Request.NO, re.compile(_NO)),
    (Request.NO, re.compile(_ZH_NO)),
)
