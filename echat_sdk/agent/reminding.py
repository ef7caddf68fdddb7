"""Tells a long conversation again what it is: before the next answer, and to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from echat_sdk.agent.rights import Manner
from echat_sdk.audio import Seconds
from echat_sdk.disclosure import Reminder
from echat_sdk.turn import Lang


class Reminding:
    """Knows what has to be said before the next answer, and says it.

    Args:
        manner: What is told again, and how often.
        clock: Seconds, rising; the first time is counted from now.
        allowed: The purposes that the user may be used for; None where nobody is asked.
        say: Says a text to its end.
    """

    def __init__(
        self,
        manner: Manner,
        clock: Callable[[], Seconds],
        allowed: Callable[[], Awaitable[Collection[str] | None]],
        say: Callable[[str], Awaitable[None]],
    ) -> None:
        self._manner = manner
        self._clock = clock
        self._allowed = allowed
        self._say = say
        self._reminder = Reminder(every=manner.remind_every, since=clock())

    async def due(self, lang: Lang) -> str:
        """What has to be said now; mostly nothing. Whoever is given it says it."""
        if not self._reminder.is_due(self._clock()):
            return ""
        allowed = await self._allowed()
        return self._manner.disclosure(lang, () if allowed is None else allowed)

    async def say(self, text: str) -> None:
        """Say it; where it is cut off it is due again."""
        try:
            await self._say(text)
        except BaseException:
            self._reminder.untold()
            raise
