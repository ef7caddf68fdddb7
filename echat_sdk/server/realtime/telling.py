"""Tells a client what the agent does: the agent's events in, the protocol's out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
from echat_sdk.server.realtime.config import SessionConfig
from echat_sdk.server.realtime.faults import Fault
from echat_sdk.server.realtime.items import Conversation, Item, new_id
from echat_sdk.server.realtime.writer import ResponseWriter, Send
from echat_sdk.turn import Heard, SpeechDelta, TextDelta, ThinkDelta, Thought, Turn, TurnStatus


@dataclass(slots=True)
class _Started:
    """Speech that was not told yet: nobody knows whether it interrupts the agent."""

    start: int  # ms of the session's sound
    end: int | None = None


@dataclass(slots=True)
class _Exchange:
    """What belongs to one turn.

    Attributes:
        said: The user's item.
        answer: What was said to it.
        response: The id of the response that it was answered with.
    """

    said: Item | None = None
    answer: Item | None = None
    response: str = ""


class Teller:
    """One session's side of the story.

    Args:
        send: Takes events.
        conversation: Its items.
        config: Gives what the session is, as it is now.
        on_heard_out: Takes an item whose words are to be written down, and is not answered.
        on_turn: Told of each turn that ended, its answer, and the id of the response.

    Attributes:
        writer: Of the response that is on its way; None where there is none.
        asked: What the next response was asked to be: whether it is spoken, and its metadata.
        call_id: Of the function that was called last.
        call_name: Its name.
        by_client: Whether what is cut off now is cut off since the client said so.
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
        self._made: _Exchange | None = None  # is still being said, all of it told
        self._dropped: _Exchange | None = None  # the client cut it; what still comes is not told
        self._thought = ""
        self.writer: ResponseWriter | None = None
        self.asked: tuple[bool, Mapping[str, str] | None] | None = None
        self.by_client = False
        self.call_id = self.call_name = ""

    # --- what the session asks for ----------------------------------------------------------------

    def answering(self, item: Item | None) -> None:
        """This item is what is answered next."""
        self._now = _Exchange(item)

    @property
    def active(self) -> ResponseWriter | None:
        """The response that belongs to the conversation and has not ended; None for none."""
        for writer in (self.writer, self._aside):
            if writer is not None and writer.is_open:
                return writer
        return None

    def begin_aside(self) -> None:
        """Begin the response that says what no turn asked for."""
        speaks, metadata = self.asked or (self._config().speaks, None)
        self.asked, self._aside_said = None, ""
        self._aside = self._writer(speaks, metadata)

    def begin(self) -> ResponseWriter:
        """Begin the response that was asked for."""
        if self._aside is not None:  # who is answered cut it off
            self._aside.done("cancelled", "turn_detected")
        config = self._config()
        speaks, metadata = self.asked or (config.speaks, None)
        self.asked = None
        self.writer = self._writer(speaks, metadata)
        self._now.response, self._thought = self.writer.id, ""
        return self.writer

    def cut(self) -> bool:
        """The client wants no more of what is on its way; whether anything is."""
        writer = self.active
        self.by_client = writer is not None
        if writer is None:
            return False
        if writer is self.writer:
            self._now.answer, self._dropped = writer.item, self._now
            self.writer = None
        writer.done("cancelled", "client_cancelled")
        return True

    def close(self) -> None:
        """The session is over: what is open ends."""
        for writer in (self.writer, self._aside):
            if writer is not None:
                writer.done("cancelled", "client_cancelled")

    # --- what happens -----------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Take what happened next."""
        match event:
            case Settled():
                self._dropped = None
            case (
                Heard() | ThinkDelta() | Thought() | TextDelta() | SpeechDelta() | ToolCalled()
            ) if self._dropped is not None:
                if isinstance(event, Heard) and event.seconds and self._dropped.said is not None:
                    self.transcribed(self._dropped.said, event)
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
            case Heard():
                self._heard(event)
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
            case AnswerMade(turn, turn_id):
                self._make(turn, turn_id)
            case TurnFinished(answer):
                self._finished(answer.turn, answer.turn_id)
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
            self._untold.end = end
            return
        self._tell_end(end)

    def _tell_end(self, end: int) -> None:
        at = {"audio_end_ms": end, "item_id": self._user_item}
        self._send({"type": "input_audio_buffer.speech_stopped", **at})
        self.commit(self._user_item, None)

    def commit(self, item_id: str, ear: Ear | None) -> Item:
        """What was said is an item of the conversation."""
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
        self._now = _Exchange(item)
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
        self.commit(item_id, None)

    def _heard_out(self, ear: Ear) -> None:
        item = self._now.said
        if item is not None and item.id == self._user_item:
            item.ear = ear
            self._on_heard_out(item)

    def _heard(self, heard: Heard) -> None:
        if self._untold is not None:
            self._judged()
        if heard.seconds > 0 and self._now.said is not None:
            self.transcribed(self._now.said, heard)
        if heard.transcript and self.writer is None:
            self.begin()

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
        if self.writer is None or not self.writer.is_open:
            return self.begin()
        return self.writer

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
        self.writer = None

    def _make(self, turn: Turn, turn_id: str) -> None:
        self._made = made = self._now
        if (writer := self.writer) is None:
            return
        made.answer = writer.item
        writer.done(echat=_about(turn, turn_id))
        self.writer = None

    def _finished(self, turn: Turn, turn_id: str) -> None:
        if turn.status is TurnStatus.INTERRUPTED:
            self._judged()
        exchange = self._dropped or self._made or self._now
        is_told = exchange in (self._dropped, self._made)
        self._dropped = self._made = None
        if not is_told and (writer := self.writer) is not None:
            exchange.answer = writer.item
            if turn.status is TurnStatus.FAILED:
                error = {"type": "server_error", "code": "generation", "message": "no answer came"}
                writer.done("failed", error=error, echat=_about(turn, turn_id))
            elif turn.status is TurnStatus.INTERRUPTED:
                reason = "client_cancelled" if self.by_client else "turn_detected"
                writer.done("cancelled", reason, echat=_about(turn, turn_id))
            else:
                writer.done(echat=_about(turn, turn_id))
            self.writer = None
        for item in (exchange.said, exchange.answer):
            if item is not None:
                item.turn_id, item.is_told = turn_id, False
        if exchange.answer is not None:
            exchange.answer.turn = turn
        self.by_client = False
        self._on_turn(turn, exchange.answer, exchange.response)

    def _unanswered(self, error: EChatError | None) -> None:
        if (writer := self.writer) is None:
            return
        if error is None:
            writer.done()
        else:
            kind = type(error).__name__
            told = {"type": "server_error", "code": kind, "message": str(error)}
            writer.done("failed", error=told)
        self.writer = None

    def _cancel(self) -> None:
        if self.writer is not None:
            self.writer.done("cancelled", "turn_detected")
            self.writer = None

    def _judged(self) -> None:
        """What was said over the agent was an interruption."""
        untold, self._untold = self._untold, None
        if untold is None:
            return
        self._tell_start(untold.start)
        if untold.end is not None:
            self._tell_end(untold.end)

    # --- of its own accord ------------------------------------------------------------------------

    def _say_aside(self, delta: TextDelta | SpeechDelta) -> None:
        if self._aside is None and self.writer is None:
            self.begin_aside()
        # What has to be said before an answer is a part of it.
        writer = self._aside or self.writer
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
        if len(heard) >= len(self._aside_said.rstrip()) or not aside.is_aloud:
            aside.done()
        else:
            self._judged()
            aside.done("cancelled", "client_cancelled" if self.by_client else "turn_detected")
        self.by_client = False

    # --- plumbing ---------------------------------------------------------------------------------

    def _writer(self, speaks: bool, metadata: Mapping[str, str] | None) -> ResponseWriter:
        config = self._config()
        return ResponseWriter(
            self._send,
            self._conversation.add,
            speaks=speaks,
            says_as=config.says_as,
            conversation=self._conversation.id,
            metadata=metadata,
            voice=config.voice,
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
