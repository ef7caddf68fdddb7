"""Whether words ask for something to be done or looked up, or only tell of something. Pure.

A gate before a small model is asked which tool is meant: "my mother called, and she was crying"
asks for no call, however much it speaks of one.
"""

from __future__ import annotations

import re

from echat_sdk.turn import Lang

_LEAD = re.compile(
    r"^(?:(?:and|so|oh|ok|okay|well|hey|hi|hello|um+|uh+|now|then|yes|no|alright|all right|actually"
    r"|maybe|also|just|quick|robot|computer)\b[\s,]*)+"
)
_ASKS = re.compile(
    r"^(?:what|what's|whats|how|how's|when|when's|where|where's|who|who's|which|is|are|am|do|does"
    r"|can|could|would|will|won't|may|shall|should|any (?:news|chance|idea)"
    r"|i'd like|i would like|i'd love|i want|i wanna|i need|we need|let's|let us|let me|time to"
    # What people bid others do; "feel", "be" and "think" are not among them.
    r"|add|activate|announce|answer|ask|begin|blink|book|bring|brighten|calculate|call|cancel|change"
    r"|charge|check|clean|clear|close|come|continue|convert|count|create|dance|delete|dial|dim|dock"
    r"|do|drive|email|find|follow|get|give|go|increase|decrease|keep|launch|light|list|lock|look|lower"
    r"|make|measure|message|move|mute|note|nod|notify|open|order|pause|phone|pick|play|print|put|raise"
    r"|read|record|reduce|remember|remind|remove|repeat|reserve|resume|return|ring|roll|run|save|say"
    r"|schedule|search|send|set|show|shut|sing|skip|snooze|spin|start|stop|switch|take|tell|text"
    r"|translate|try|turn|unlock|unmute|update|wake|warm|wave|write)\b"
)
_PLEASE = re.compile(r"\b(?:please|for me)\b")
_ZH_LEAD = re.compile(r"^(?:嗯|呃|啊|哦|那|好|好的|对了|然后|现在|你好|喂)*")
_ZH_ASKS = re.compile(
    r"^(?:请|麻烦|帮|给|把|放|打|开|关|定|设|叫|播|来|告诉|提醒|取消|停|继续|调|查|找|搜|看看|念|读|唱|发"
    r"|我想听|我想看|我想要|我想知道|我要|想听|能|可以|可不可以|你能|有没有)"
    r"|(?:吧|一下|吗|呢|没有|叫我|叫醒我|提醒我|告诉我)$"
    r"|几点|几号|星期几|多少|多久|什么|怎么|哪|(?P<verb>.)不(?P=verb)"
)


def asks(words: str, lang: Lang) -> bool:
    """Whether any part of the words has the form of a question, a wish or an order."""
    return any(
        _part_asks(part, lang) for part in re.split(r"(?<=[?？])|[.,;:!。，；：！…]+", words)
    )


def _part_asks(part: str, lang: Lang) -> bool:
    plain = part.strip().casefold().replace("’", "'")
    if not plain:
        return False
    if plain.endswith(("?", "？")):
        return True
    if lang == "zh":
        return bool(_ZH_ASKS.search(_ZH_LEAD.sub("", "".join(plain.split()))))
    return bool(_ASKS.match(_LEAD.sub("", plain)) or _PLEASE.search(plain))
