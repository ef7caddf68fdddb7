"""A live conversation on the terminal: calm, one line that moves and a transcript that grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from echat_sdk.agent.events import (
    Failed,
    State,
    StateChanged,
    ToolCalled,
    ToolReturned,
    TurnFinished,
    UserStarted,
    UserStopped,
)
from echat_sdk.audio import AudioFrame, Hertz, Seconds, Waveform
from echat_sdk.cli import account
from echat_sdk.turn import Heard, SpeechDelta, TextDelta, ThinkDelta, Thought, TurnStatus

if TYPE_CHECKING:
    from echat_sdk.agent.events import Event
    from echat_sdk.protocols import AudioIO

_METER = 20
_QUIETEST = -60.0  # dBFS at the left end of the meter
_FACES = {
    State.LISTENING: ("○", "listening", "dim"),
    State.HEARING: ("●", "hearing you", "cyan"),
    State.THINKING: ("◌", "thinking", "yellow"),
    State.SPEAKING: ("▶", "speaking", "green"),
    State.OVERLAPPED: ("◈", "you speak over it", "magenta"),
    State.ENDED: ("■", "ended", "dim"),
}


class LiveView:
    """Shows events, and the level of the microphone.

    Args:
        audio: The conversation's sound.
        quiet: Show nothing.
    """

    def __init__(self, audio: AudioIO, *, quiet: bool) -> None:
        self.audio: AudioIO = _Metered(audio, self._hears)
        self._console = Console(highlight=False)
        self._live = None if quiet or not self._console.is_terminal else Live(
            console=self._console, refresh_per_second=10, transient=True
        )  # fmt: skip
        self._quiet = quiet
        self._state = State.LISTENING
        self._level = _QUIETEST
        self._mood = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Tell one event, if it is one to tell."""
        match event:
            case StateChanged(state):
                self._state = state
            case Heard() if event.transcript:
                self._mood = str(event.cues.emotion.label) if event.cues.emotion.is_known else ""
                self._say("you  ", event.transcript, "bold", self._mood)
            case TurnFinished(answer):
                turn = answer.turn
                first = turn.timings.first_audio
                note = turn.reply_emotion.word
                if first is not None:
                    note += f", first sound {first:.2f} s"
                if turn.status is not TurnStatus.COMPLETE:
                    note += f", {turn.status.value}"
                self._say("agent", turn.reply or "…", "bold green", note)
            case Failed(error):
                self._say("     ", str(error), "red", "")
        self._draw()

    def _say(self, who: str, words: str, style: str, note: str) -> None:
        text = Text.assemble((f"{who}  ", "dim"), (account.printable(words), style))
        if note:
            text.append(f"  ({note})", "dim")
        self._console.print(text)

    def _hears(self, frame: AudioFrame) -> None:
        power = float(np.mean(frame.samples.astype(np.float32) ** 2)) + 1.0
        level = 10 * np.log10(power / 32768**2)
        self._level = max(level, self._level - 1.5)  # falls slowly, so that the eye can follow
        self._draw()

    def _draw(self) -> None:
        if self._live is None:
            return
        face, words, style = _FACES[self._state]
        share = min(1.0, max(0.0, 1 - self._level / _QUIETEST))
        bar = "▮" * round(share * _METER)
        self._live.update(
            Text.assemble((f"{face} {words:<18}", style), (bar.ljust(_METER, "·"), "blue"))
        )


class _Metered:
    """An `AudioIO` whose frames somebody looks at."""

    def __init__(self, audio: AudioIO, look: Any) -> None:
        self._audio = audio
        self._look = look

    @property
    def output_rate(self) -> Hertz:
        return self._audio.output_rate

    @property
    def latency(self) -> Seconds:
        return self._audio.latency

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in self._audio.frames():
            self._look(frame)
            yield frame

    async def play(self, samples: Waveform) -> None:
        await self._audio.play(samples)

    def flush(self) -> None:
        self._audio.flush()

    async def close(self) -> None:
        await self._audio.close()


def event_as_json(event: Event, user: str) -> dict[str, Any]:
    """An event as one JSON object; sound is told by its length alone."""
    match event:
        case StateChanged(state):
            return {"event": "state", "state": state.value}
        case UserStarted():
            return {"event": "user_started"}
        case UserStopped(pause):
            return {"event": "user_stopped", "pause": round(pause, 3)}
        case Heard():
            return {
                "event": "heard",
                "transcript": event.transcript,
                "lang": event.lang,
                "cues": event.cues.to_json(),
                "seconds": round(event.seconds, 3),
            }
        case ThinkDelta(text):
            return {"event": "think", "text": text}
        case Thought(emotion):
            return {"event": "thought", "reply_emotion": emotion.word}
        case TextDelta(text):
            return {"event": "text", "text": text}
        case SpeechDelta():
            return {"event": "speech", "seconds": round(len(event.samples) / event.sample_rate, 3)}
        case ToolCalled(call):
            return {"event": "tool", "tool": call.tool.name, "arguments": dict(call.arguments)}
        case ToolReturned(found):
            return {"event": "found", **asdict(found)}
        case TurnFinished(answer):
            turn = account.as_json(answer, None, user)
            return {"event": "turn", "status": answer.turn.status.value, **turn}
        case Failed(error):
            return {"event": "failed", "error": type(error).__name__, "message": str(error)}
