"""What the agent says of its own accord, so that it is never silent without a reason."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from echat_sdk.turn import Lang

Line = Literal["moment", "sorry", "hurt", "there", "here"]

LINES: dict[Line, dict[Lang, str]] = {
    "moment": {"en": "One moment.", "zh": "稍等一下。"},
    "sorry": {
        "en": "I'm sorry, I lost my thread. Could you say that again?",
        "zh": "不好意思，我刚才走神了。能再说一遍吗？",
    },
    "hurt": {"en": "I'm here. What is it?", "zh": "我在呢，怎么了？"},
    "there": {"en": "Are you still there?", "zh": "你还在吗？"},
    "here": {
        "en": "I'll be quiet now. I'm here if you want to talk.",
        "zh": "那我先不说话了，想聊的时候我都在。",
    },
}

_FAREWELL = re.compile(
    r"(?:(?:ok|okay|well|thanks|thank you|alright|all right|so)(?: then| so much| very much)? )*"
    r"(?:good ?bye|bye(?: bye)?|see you(?: (?:later|soon|tomorrow|then))?|talk to you later"
    r"|good night|take care)(?: (?:then|now|for now|and good night|see you(?: later)?))*"
    r"|(?:好的?|那|谢谢你?|行|我走了) ?(?:再见|拜拜|回头见|明天见|晚安)(?:了|啦)?"
    r"|(?:再见|拜拜|回头见|明天见|晚安)(?:了|啦)?"
)


def is_farewell(transcript: str) -> bool:
    """Whether somebody says goodbye, and nothing else."""
    letters = transcript[:80].casefold()
    plain = "".join(c if unicodedata.category(c)[0] in "LN" else " " for c in letters)
    return bool(_FAREWELL.fullmatch(" ".join(plain.split())))
