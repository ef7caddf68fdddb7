"""When the sound of a response is out: `output_audio_buffer.started`, `.stopped`, `.cleared`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from echat_sdk.agent.events import State
from echat_sdk.audio import Seconds

_SPEAKING = (State.SPEAKING, State.OVERLAPPED)


@dataclass(slots=True)
class _Spoken:
    """A response that has sound."""

    response: str
    item: str
    is_done: bool = False
    began: Seconds = 0.0  # of what the track had said before it
    heard: Seconds = 0.0  # of it, where the rest was taken back


class Sounding:
    """Follows a session's events and the track, and tells what belongs between them.

    Args:
        send: Takes an event that is told.
        heard: How much was heard of all that was said.
        truncate: Takes the id of an item of which the rest was taken back, once its response is
            done, and how much of it was heard.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        heard: Callable[[], Seconds],
        truncate: Callable[[str, Seconds], None],
    ) -> None:
        self._send = send
        self._heard = heard
        self._truncate = truncate
        self._next: _Spoken | None = None  # has words, and no sound yet
        self._out: _Spoken | None = None
        self._cut: _Spoken | None = None  # was taken back, which is to be told
        self._open: _Spoken | None = None  # was taken back and told, and is not done
        self._is_early = False  # whether there is sound of which no event told yet

    def told(self, event: dict[str, Any]) -> None:
        """The client was told this."""
        match event["type"]:
            case "response.content_part.added" if event["part"]["type"] == "audio":
                self._next = _Spoken(event["response_id"], event["item_id"])
                if self._is_early:
                    self._start(self._next)
            case "response.done":
                self._done(event["response"]["id"])
            case "input_audio_buffer.speech_started":
                self._tell_cut()

    def sounds(self) -> None:
        """The next piece of speech is given to the track."""
        if self._next is not None:
            self._start(self._next)
        elif self._out is None:
            self._is_early = True

    def dropped(self) -> None:
        """What waited in the track was taken back."""
        self._next, self._is_early = None, False
        out, self._out = self._out, None
        if out is not None:
            self._tell_cut()
            out.heard = max(0.0, self._heard() - out.began)
            self._cut = out

    def state(self, state: State) -> None:
        """The agent does this now."""
        if state in _SPEAKING:
            return
        self._tell_cut()
        self._is_early = False
        if self._out is not None and self._out.is_done:
            self._stop()

    def _start(self, spoken: _Spoken) -> None:
        self._tell_cut()
        self._stop()
        self._next, self._is_early = None, False
        spoken.began = self._heard()
        self._out = spoken
        self._tell("started", spoken)

    def _stop(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            self._tell("stopped", out)

    def _done(self, response: str) -> None:
        for each in (self._next, self._out, self._cut, self._open):
            if each is not None and each.response == response:
                each.is_done = True
        self._tell_cut()
        self._truncate_done()

    def _tell_cut(self) -> None:
        if self._cut is not None:
            self._open, self._cut = self._cut, None
            self._tell("cleared", self._open)
            self._truncate_done()

    def _truncate_done(self) -> None:
        if self._open is not None and self._open.is_done:
            cut, self._open = self._open, None
            self._truncate(cut.item, cut.heard)

    def _tell(self, what: str, spoken: _Spoken) -> None:
        self._send({"type": f"output_audio_buffer.{what}", "response_id": spoken.response})
