"""What the agent says that no turn asked for: greetings, a host's announcements, its own lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

from echat_sdk.agent.events import Aside, AsideEnded, Event, Failed
from echat_sdk.agent.lines import LINES, Line
from echat_sdk.bridge import Worker
from echat_sdk.cues import ReplyEmotion
from echat_sdk.errors import EChatError, UnsupportedError
from echat_sdk.playout import Player
from echat_sdk.protocols import SpeechModel
from echat_sdk.turn import Lang, SpeechDelta, TextDelta


class OwnVoice:
    """Says what is not an answer.

    Args:
        model: Speaks.
        player: Says aloud.
        emit: Takes events.

    Attributes:
        voice: Whose; None for the model's own.
    """

    def __init__(self, model: SpeechModel, player: Player, emit: Callable[[Event], None]) -> None:
        self._model = model
        self._player = player
        self._emit = emit
        self._made: dict[tuple[Line, Lang], tuple[str | None, list[SpeechDelta]]] = {}
        self.voice: str | None = None
        self._is_asked = False  # to say something that was not begun yet

    async def prepare(self, mind: Worker, lang: Lang) -> None:
        """Make the lines of a language, so that saying them needs no model later."""
        voice = self.voice
        try:
            for line in LINES:
                made = self._made.get((line, lang))
                if made is None or made[0] != voice:
                    said = await mind.call(self._speak, LINES[line][lang], voice)
                    self._made[line, lang] = voice, said
        except EChatError as error:  # a model without a voice says them in writing
            self._emit(Failed(error))

    def say(self, text: str, emotion: ReplyEmotion, mind: Worker) -> Coroutine[Any, Any, None]:
        """Say a text of the host's; in writing alone where that fails.

        From here on its end is told, though it may be cancelled before it begins: see `unsay`.
        """
        self._is_asked = True
        return self._say(text, emotion, mind)

    def unsay(self) -> None:
        """What was asked for and not begun will not be said. What has begun ends by itself."""
        if self._is_asked:
            self._is_asked = False
            self._emit(AsideEnded(""))

    async def _say(self, text: str, emotion: ReplyEmotion, mind: Worker) -> None:
        self._is_asked = False
        self._emit(Aside(TextDelta(text)))
        self._player.begin()
        voice = self.voice
        deltas = mind.iterate(lambda: said_in(voice, self._model, text, emotion))
        try:
            try:
                async with aclosing(deltas):
                    async for delta in deltas:
                        self._emit(Aside(delta))
                        await self._player.say(delta)
            except EChatError as error:
                self._emit(Failed(error))
            await self._to_its_end()
        finally:
            self._emit(AsideEnded(self._player.heard))

    async def say_line(self, line: Line, lang: Lang) -> None:
        """Say a line of our own, whatever has become of the model."""
        self._emit(Aside(TextDelta(LINES[line][lang])))
        self._player.begin()
        try:
            _, made = self._made.get((line, lang), (None, ()))
            for delta in made:
                self._emit(Aside(delta))
                await self._player.say(delta)
            await self._to_its_end()
        finally:
            self._emit(AsideEnded(self._player.heard))

    def _speak(self, text: str, voice: str | None) -> list[SpeechDelta]:
        return list(said_in(voice, self._model, text, ReplyEmotion.SORRY))

    async def _to_its_end(self) -> None:
        self._player.finish()
        await self._player.spoken()


def said_in(
    voice: str | None, model: SpeechModel, text: str, emotion: ReplyEmotion
) -> Iterator[SpeechDelta]:
    """A text in a voice; one that does not speak its language gives way to one that does."""
    if voice is not None:
        try:
            yield from model.say(text, emotion=emotion, voice=voice)
        except UnsupportedError:  # told before a sound is made
            pass
        else:
            return
    yield from model.say(text, emotion=emotion)
