"""A word after hours of talk: a pause may do good. `disclosure.Reminder` knows when it is due.

More talk with a companion a day went with more loneliness, so nothing here keeps anybody. Pure.
"""

from __future__ import annotations

from echat_sdk.audio import Seconds
from echat_sdk.turn import Lang

EVERY: Seconds = 3 * 3600.0
"""How long a session goes on before the word is said, and said again."""

_HOUR: Seconds = 3600.0
_HOURS_ZH = "零一两三四五六七八九十"


def usage_reminder(spent: Seconds, lang: Lang) -> str:
    """What to say after a time; it asks nothing, so that it is no reason to go on.

    Args:
        spent: How long the session has gone on.
        lang: Language of the words.
    """
    hours = max(1, round(spent / _HOUR))
    if lang == "zh":
        told = _HOURS_ZH[hours] if hours < len(_HOURS_ZH) else str(hours)
        return f"我们已经聊了大约{told}个小时了。歇一会儿，走动走动，或者见见身边的人，都挺好的。"
    told = "an hour" if hours == 1 else f"{hours} hours"
    return (
        f"We have talked for about {told} now. A pause may do you good: some air, or somebody near "
        "you. I'm an AI, and I can wait."
    )
