"""How the agent's answers look to a device: stt, llm, tts, and a sentence before its sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from echat_plugins.xiaozhi.faces import FACES
from echat_sdk.agent.events import (
    Aside,
    AsideEnded,
    Event,
    Failed,
    HeardLate,
    Settled,
    TurnFinished,
    Unanswered,
)
from echat_sdk.audio import Seconds
from echat_sdk.errors import ConsentError
from echat_sdk.turn import Heard, Lang, SpeechDelta, Thought, Turn, TurnStatus

_EARLY: Seconds = 0.05  # that two clocks of the same sound may differ

_NOT_AGREED: Mapping[Lang, str] = {
    "en": "I can only listen to you once you have agreed to it.",
    "zh": "你同意之后，我才能听你说话。",
}


def not_agreed(lang: Lang) -> dict[str, Any]:
    """What a device shows to whom nobody listens."""
    alert = {"status": "Consent", "message": _NOT_AGREED[lang], "emotion": "neutral"}
    return {"type": "alert", **alert}


class Talk:
    """One device's side of the story.

    Args:
        send: Takes messages.
        lang: Of what is shown to the user.
        on_over: Told when something was said to its end, or cut off.
    """

    def __init__(
        self, send: Callable[[dict[str, Any]], None], lang: Lang, on_over: Callable[[], None]
    ) -> None:
        self._send = send
        self._lang: Lang = lang
        self._on_over = on_over
        self._script: deque[tuple[Seconds, str]] = deque()  # sentences, and when each begins
        self._length: Seconds = 0.0
        self._is_cut = False  # what still comes of what was cut off is not told
        self._has_sound = False  # whether any of the answer is spoken
        self.is_speaking = False
        """Whether the device was told that sound comes."""

    def tell(self, event: Event) -> None:
        """Take what happened next."""
        match event:
            case Heard(transcript):
                self._is_cut = self._has_sound = False
                if transcript:
                    self._send({"type": "stt", "text": transcript})
            case HeardLate(heard):
                self._send({"type": "stt", "text": heard.transcript})
            case Thought(emotion) if not self._is_cut:
                face, emoji = FACES[emotion]
                self._send({"type": "llm", "emotion": face, "text": emoji})
            case (SpeechDelta() as delta) | Aside(SpeechDelta() as delta) if not self._is_cut:
                self._add(delta)
            case TurnFinished(answer):
                self._is_cut = False
                if not self._has_sound:
                    self._show(answer.turn)
                self.stop()
            case AsideEnded():
                self._is_cut = False
                self.stop()
            case Settled() | Unanswered():
                self._is_cut = False
            case Failed(error) if isinstance(error, ConsentError):
                self._send(not_agreed(self._lang))

    def sounds(self, said: Seconds) -> None:
        """The next of what is said goes out now, after so much of it."""
        if not self.is_speaking:
            self.is_speaking = True
            self._send({"type": "tts", "state": "start"})
        while self._script and self._script[0][0] <= said + _EARLY:
            _, text = self._script.popleft()
            self._send({"type": "tts", "state": "sentence_start", "text": text})

    def cut(self) -> None:
        """What is being said was cut off."""
        self._is_cut = True
        self.stop()

    def stop(self) -> None:
        """Nothing more comes of what was said."""
        self._script.clear()
        self._length = 0.0
        if self.is_speaking:
            self.is_speaking = False
            self._send({"type": "tts", "state": "stop"})
        self._on_over()

    def _show(self, turn: Turn) -> None:
        """Show an answer that no voice speaks."""
        if turn.status is TurnStatus.COMPLETE and turn.reply.strip():
            self._send({"type": "tts", "state": "start"})
            self._send({"type": "tts", "state": "sentence_start", "text": turn.reply.strip()})
            self._send({"type": "tts", "state": "stop"})

    def _add(self, delta: SpeechDelta) -> None:
        self._has_sound = True
        if text := delta.text.strip():
            self._script.append((self._length, text))
        self._length += len(delta.samples) / delta.sample_rate
