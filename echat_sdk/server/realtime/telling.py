"""Tells a client what the agent does: the agent's events in, the protocol's out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from echat_sdk.agent.ear import Ear
from echat_sdk.agent.events import (
    AnswerMade,
    Aside,
    AsideEnded,
    Dismissed,
    Event,
    Failed,
    HeardLate,
    Settled,
    SilenceBroken,
    StateChanged,
    ToolCalled,
    ToolReturned,
    TurnFinished,
    TurnHeardOut,
    Unanswered,
    UserStarted,
    UserStopped,
)
from echat_sdk.agent.lines import is_farewell
from echat_sdk.errors import EChatError
from echat_sdk.server.realtime.config import Asked, SessionConfig
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.items import Conversation, Item, new_id
from echat_sdk.server.realtime.writer import ResponseWriter, Send
from echat_sdk.turn import Heard, SpeechDelta, TextDelta, ThinkDelta, Thought, Turn, TurnStatus

_MOST_EXCHANGES = 16


@dataclass(slots=True)
class _Started:
    """Speech that was not told yet: nobody knows whether it interrupts the agent."""

    start: int  # ms of the session's sound
    end: int | None = None
    ear: Ear | None = None


@dataclass(slots=True)
class _Exchange:
    """What belongs to one turn.

    Attributes:
        said: The user's item.
        ear: What is heard of it.
        answer: What was said to it.
        response: The id of the response that it was answered with.
        writer: Of that response, while it is on its way.
    """

    said: Item | None = None
    ear: Ear | None = None
    answer: Item | None = None
    response: str = ""
    writer: ResponseWriter | None = None


class Teller:
    """One session's side of the story.

    Args:
        send: Takes events.
        conversation: Its items.
        config: Gives what the session is, as it is now.
        on_heard_out: Takes an item whose words are to be written down, and is not answered.
        on_turn: Told of each turn that ended, its answer, and the id of the response.

    Attributes:
        asked: What the next response was asked to be; None as the session has it.
        call_id: Of the function that was called last.
        call_name: Its name.
    """

    def __init__(
        self,
        send: Send,
        conversation: Conversation,
        config: Callable[[], SessionConfig],
        *,
        on_heard_out: Callable[[Item], None],
        on_turn: Callable[[Turn, Item | None, str], None],
    ) -> None:
        self._send = send
        self._conversation = conversation
        self._config = config
        self._on_heard_out = on_heard_out
        self._on_turn = on_turn
        self._aside: ResponseWriter | None = None
        self._aside_said = ""
        self._untold: _Started | None = None  # speech over the agent, not judged yet
        self._user_item = ""  # the id of the item that is being said
        self._now = _Exchange()
        self._before: deque[_Exchange] = deque(maxlen=_MOST_EXCHANGES)  # of which more may come
        self._is_dropped = False  # the client cut it; what still comes of it is not told
        self._thought = ""
        self.asked: Asked | None = None
        self.call_id = self.call_name = ""

    # --- what the session asks for ----------------------------------------------------------------

    def answering(self, item: Item, ear: Ear | None) -> None:
        """This item, heard so, is what is answered next."""
        self._before.append(self._now)
        self._now = _Exchange(item, ear)

    @property
    def active(self) -> ResponseWriter | None:
        """The response that belongs to the conversation and has not ended; None for none."""
        for writer in (self._now.writer, self._aside):
            if writer is not None and writer.is_open:
                return writer
        return None

    def begin_aside(self) -> ResponseWriter:
        """Begin the response that says what no turn asked for."""
        self._aside_said = ""
        self._aside = writer = self._writer()
        return writer

    def begin(self) -> ResponseWriter:
        """Begin the response that was asked for."""
        if self._aside is not None:  # who is answered cut it off
            self._aside.done("cancelled", "turn_detected")
        for each in self._before:  # what is still to come of those is no answer any more
            if each.writer is not None:
                each.writer.done("cancelled", "turn_detected")
        self._now.writer = writer = self._writer()
        self._now.response, self._thought = writer.id, ""
        return writer

    def cut(self) -> None:
        """The client wants no more of what is on its way, and is told no more until `Settled`."""
        self._is_dropped = True
        for writer in (self._now.writer, self._aside):
            if writer is not None:
                writer.done("cancelled", "client_cancelled")

    def close(self) -> None:
        """The session is over: what is open ends."""
        self.cut()

    # --- what happens -----------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Take what happened next."""
        match event:
            case Settled():
                self._is_dropped = False
            case Heard():
                self._heard(event)
            case HeardLate(heard, ear):
                self._told(self._of(ear), heard)
            case ThinkDelta() | Thought() | TextDelta() | SpeechDelta() | ToolCalled() if (
                self._is_dropped
            ):
                pass
            case UserStarted():
                self._user_started(event)
            case UserStopped():
                self._user_stopped(event)
            case TurnHeardOut(ear):
                self._heard_out(ear)
            case SilenceBroken():
                self._silence_broken(event)
            case Dismissed():
                self._untold = None
                self._ours("state", {"type": "echat.backchannel"})
            case ThinkDelta(text):
                self._thought += text
                delta = {"response_id": self._now.response, "delta": text}
                self._ours("think", {"type": "echat.think.delta", **delta})
            case Thought():
                self._thinks(event)
            case TextDelta(text):
                self._open().text(text)
            case SpeechDelta():
                self._open().speech(event)
            case ToolCalled(call):
                self._call(call.tool.name, dict(call.arguments))
            case ToolReturned():
                pass
            case AnswerMade(turn, turn_id, ear):
                self._end(self._of(ear), turn, turn_id)
            case TurnFinished(answer, ear):
                self._finished(self._of(ear), answer.turn, answer.turn_id)
            case Aside(delta):
                self._say_aside(delta)
            case AsideEnded(heard):
                self._end_aside(heard)
            case Unanswered(error):
                self._unanswered(error)
            case StateChanged(state):
                self._ours("state", {"type": "echat.state", "state": state.value})
            case Failed(error):
                self.fail(error)

    def fail(self, error: EChatError) -> None:
        """Tell an error of the server's; the session goes on."""
        fault = Fault(str(error), code=type(error).__name__, kind="server_error")
        self._send(fault.as_event(None))

    # --- the user ---------------------------------------------------------------------------------

    def _user_started(self, event: UserStarted) -> None:
        start = round(1000 * max(0.0, event.at))
        if event.goes_on:
            self._cancel()  # nobody heard it yet
        else:
            self._user_item = new_id("item")
        if event.is_over_agent:
            self._untold = _Started(start)
        else:
            self._tell_start(start)

    def _tell_start(self, start: int) -> None:
        at = {"audio_start_ms": start, "item_id": self._user_item}
        self._send({"type": "input_audio_buffer.speech_started", **at})

    def _user_stopped(self, event: UserStopped) -> None:
        end = round(1000 * event.at)
        if self._untold is not None:
            self._untold.end, self._untold.ear = end, event.ear
            return
        self._tell_end(end, event.ear)

    def _tell_end(self, end: int, ear: Ear | None) -> None:
        at = {"audio_end_ms": end, "item_id": self._user_item}
        self._send({"type": "input_audio_buffer.speech_stopped", **at})
        self.answering(self._commit(self._user_item, None), ear)

    def commit(self, ear: Ear) -> Item:
        """What the client committed is an item of the conversation."""
        return self._commit(new_id("item"), ear)

    def _commit(self, item_id: str, ear: Ear | None) -> Item:
        known = [item for item in self._conversation if item.id == item_id]
        if known:  # it went on
            (item,) = known
            self._send_committed(item_id, None)
        else:
            content = [{"type": "input_audio", "transcript": None}]
            body = {"type": "message", "role": "user", "content": content}
            item = Item(item_id, body, ear=ear)
            previous = self._conversation.add(item)
            self._send_committed(item_id, previous)
            for what in ("added", "done"):
                told = {"previous_item_id": previous, "item": item.to_json()}
                self._send({"type": f"conversation.item.{what}", **told})
        return item

    def _send_committed(self, item_id: str, previous: str | None) -> None:
        at = {"previous_item_id": previous, "item_id": item_id}
        self._send({"type": "input_audio_buffer.committed", **at})

    def _silence_broken(self, event: SilenceBroken) -> None:
        """The protocol has the silence as an item that is answered."""
        item_id, end = new_id("item"), round(1000 * event.at)
        start = max(0, end - round(1000 * event.lasted))
        at = {"audio_start_ms": start, "audio_end_ms": end, "item_id": item_id}
        self._send({"type": "input_audio_buffer.timeout_triggered", **at})
        self.answering(self._commit(item_id, None), None)

    def _heard_out(self, ear: Ear) -> None:
        item = self._now.said
        if item is not None and item.id == self._user_item:
            item.ear = ear
            self._on_heard_out(item)

    def _heard(self, heard: Heard) -> None:
        if self._untold is not None:
            self._judged()
        self._told(self._now, heard)
        if heard.transcript and self._now.writer is None and not self._is_dropped:
            self.begin()

    def _told(self, exchange: _Exchange, heard: Heard) -> None:
        """The words of a turn are known; who typed them knows them."""
        if heard.seconds > 0 and exchange.said is not None:
            self.transcribed(exchange.said, heard)

    def transcribed(self, item: Item, heard: Heard) -> None:
        """The words of an item are known."""
        item.body["content"] = [{"type": "input_audio", "transcript": heard.transcript}]
        at = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if heard.transcript:
            self._send({"type": f"{kind}.delta", **at, "delta": heard.transcript})
        cues = heard.cues.to_json()
        self._send(
            {
                "type": f"{kind}.completed",
                **at,
                "transcript": heard.transcript,
                "usage": {"type": "duration", "seconds": round(heard.seconds, 3)},
                "echat": {"lang": heard.lang, "seconds": round(heard.seconds, 3), "cues": cues},
            }
        )
        if heard.transcript:
            self._ours("cues", {"type": "echat.cues", "item_id": item.id, "cues": cues})

    # --- the agent --------------------------------------------------------------------------------

    def _open(self) -> ResponseWriter:
        writer = self._now.writer
        return self.begin() if writer is None or not writer.is_open else writer

    def _thinks(self, thought: Thought) -> None:
        self._ours(
            "think",
            {
                "type": "echat.think.done",
                "response_id": self._now.response,
                "think": self._thought,
                "reply_emotion": thought.reply_emotion.word,
                "strategy": thought.strategy,
            },
        )

    def _call(self, name: str, arguments: dict[str, object]) -> None:
        writer = self._open()
        self.call_name = name
        self.call_id = writer.call(name, json.dumps(arguments, ensure_ascii=False))
        writer.done()

    def _end(self, exchange: _Exchange, turn: Turn, turn_id: str) -> None:
        """All of an answer is told, or no more comes of it."""
        if (writer := exchange.writer) is None:
            return
        exchange.answer, about = writer.item, _about(turn, turn_id)
        match turn.status:
            case TurnStatus.FAILED:
                error = {"type": "server_error", "code": "generation", "message": "no answer came"}
                writer.done("failed", error=error, echat=about)
            case TurnStatus.INTERRUPTED:
                writer.done("cancelled", "turn_detected", echat=about)
            case _:
                writer.done(echat=about)

    def _finished(self, exchange: _Exchange, turn: Turn, turn_id: str) -> None:
        if turn.status is TurnStatus.INTERRUPTED:
            self._judged()
        self._end(exchange, turn, turn_id)
        for item in (exchange.said, exchange.answer):
            if item is not None:
                item.turn_id, item.is_told = turn_id, False
        if exchange.answer is not None:
            exchange.answer.turn = turn
        self._on_turn(turn, exchange.answer, exchange.response)

    def _unanswered(self, error: EChatError | None) -> None:
        if (writer := self._now.writer) is None:
            return
        if error is None:
            writer.done()
        else:
            kind = type(error).__name__
            told = {"type": "server_error", "code": kind, "message": str(error)}
            writer.done("failed", error=told)

    def _cancel(self) -> None:
        if self._now.writer is not None:
            self._now.writer.done("cancelled", "turn_detected")

    def _judged(self) -> None:
        """What was said over the agent was an interruption."""
        untold, self._untold = self._untold, None
        if untold is None:
            return
        self._tell_start(untold.start)
        if untold.end is not None:
            self._tell_end(untold.end, untold.ear)

    # --- of its own accord ------------------------------------------------------------------------

    def _say_aside(self, delta: TextDelta | SpeechDelta) -> None:
        writer = self._aside or self.active  # what has to be said before an answer is a part of it
        if writer is None and not self._is_dropped:
            writer = self.begin_aside()
        if writer is None or not writer.is_open:
            return  # it was cut off, and the agent had said this before it knew
        if isinstance(delta, TextDelta):
            self._aside_said += delta.text
            writer.text(delta.text)
        else:
            writer.speech(delta)

    def _end_aside(self, heard: str) -> None:
        aside, self._aside = self._aside, None
        if aside is None:
            return
        is_whole = len(heard) >= len(self._aside_said.rstrip()) or not aside.is_aloud
        if self._aside_said and is_whole:
            aside.done()
        else:
            self._judged()
            aside.done("cancelled", "turn_detected")

    # --- plumbing ---------------------------------------------------------------------------------

    def _of(self, ear: Ear | None) -> _Exchange:
        """The exchange that an event belongs to."""
        known = (each for each in (self._now, *reversed(self._before)) if each.ear is ear)
        return next(known, self._now)

    def _writer(self) -> ResponseWriter:
        """Of a response that was asked for, or comes by itself."""
        config = self._config()
        asked, self.asked = self.asked or Asked(config.speaks, config.voice), None
        return ResponseWriter(
            self._send,
            self._conversation.add,
            speaks=asked.speaks,
            says_as=config.says_as,
            conversation=self._conversation.id,
            metadata=asked.metadata,
            voice=asked.voice,
        )

    def _ours(self, kind: str, event: dict[str, Any]) -> None:
        if kind in self._config().events:
            self._send(event)


def _about(turn: Turn, turn_id: str) -> dict[str, Any]:
    """What is told of a turn beside the protocol."""
    timings = {
        name: None if (at := getattr(turn.timings, name)) is None else round(at, 3)
        for name in ("heard", "think", "first_text", "first_audio", "done")
    }
    safety = turn.safety
    return {
        "think": turn.think,
        "reply_emotion": turn.reply_emotion.word,
        "strategy": turn.strategy,
        "timings": timings,
        "turn_id": turn_id,
        "farewell": is_farewell(turn.transcript),
        "safety": None
        if safety is None
        else {"category": safety.category, "severity": safety.severity, "action": safety.action},
    }
