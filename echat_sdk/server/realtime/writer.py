"""One response on its way to the client, in the order of events that the protocol promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soxr

from echat_sdk.audio import Hertz, Seconds
from echat_sdk.playout import Script
from echat_sdk.server.realtime.codec import WireFormat
from echat_sdk.server.realtime.items import Item, new_id
from echat_sdk.turn import SpeechDelta

Send = Callable[[dict[str, Any]], None]
_PIECE: Seconds = 0.5  # sound in one event at most


class ResponseWriter:
    """Tells a response: begun, its item, its part, deltas, and all of it closed again in order.

    Args:
        send: Takes events; an `event_id` is theirs to add.
        add: Takes each item, and tells the id of the one before it.
        speaks: Whether it is spoken; else it is written.
        says_as: How sound goes.
        conversation: The conversation's id; None for a response that belongs to none.
        metadata: Of the client's.
        voice: As the client called it.

    Attributes:
        id: Of the response.
        item: What is being said; None where nothing was yet.
        is_open: Whether it has not ended.
    """

    def __init__(
        self,
        send: Send,
        add: Callable[[Item], str | None],
        *,
        speaks: bool,
        says_as: WireFormat,
        conversation: str | None,
        metadata: Mapping[str, str] | None = None,
        voice: str = "alloy",
    ) -> None:
        self.id = new_id("resp")
        self.item: Item | None = None
        self.is_open = True
        self._send = send
        self._add = add
        self._speaks = speaks
        self._says_as = says_as
        self._is_apart = conversation is None
        self._about: dict[str, Any] = {
            "object": "realtime.response",
            "conversation_id": conversation,
            "output_modalities": ["audio" if speaks else "text"],
            "audio": {"output": {"format": {"type": says_as.name}, "voice": voice}},
            "max_output_tokens": "inf",
            "metadata": None if metadata is None else dict(metadata),
        }
        if says_as.name == "audio/pcm":
            self._about["audio"]["output"]["format"]["rate"] = says_as.rate
        self._output: list[Item] = []
        self._text = ""
        self._previous: str | None = None  # the id of the item before the last
        self._resampler: soxr.ResampleStream | None = None
        self._from: Hertz = 0
        send({"type": "response.created", "response": self._response("in_progress")})

    @property
    def is_aloud(self) -> bool:
        """Whether any of it was given as sound; without a voice it is said in writing alone."""
        return self.item is not None and bool(self.item.script and self.item.script.pieces)

    def text(self, text: str) -> None:
        """The next words."""
        self._begin()
        self._text += text
        self._delta("output_audio_transcript" if self._speaks else "output_text", text)

    def speech(self, delta: SpeechDelta) -> None:
        """The next sound."""
        if not self._speaks:
            return
        item = self._begin()
        assert item.script is not None
        item.script.add(delta.text, len(delta.samples) / delta.sample_rate)
        samples = delta.samples
        if delta.sample_rate != self._says_as.rate:
            if self._resampler is None or delta.sample_rate != self._from:
                self._from = delta.sample_rate
                self._resampler = soxr.ResampleStream(
                    delta.sample_rate, self._says_as.rate, 1, dtype="int16"
                )
            samples = self._resampler.resample_chunk(samples)
        self._sound(samples)

    def call(self, name: str, arguments: str) -> str:
        """A function that the client is to run; the id of the call."""
        self._close_message("completed")
        call_id = new_id("call")
        body = {"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        item = self._open_item(body)
        at = self._at(item) | {"call_id": call_id}
        self._send({"type": "response.function_call_arguments.delta", **at, "delta": arguments})
        self._send(
            {
                "type": "response.function_call_arguments.done",
                **at,
                "name": name,
                "arguments": arguments,
            }
        )
        item.body["arguments"] = arguments
        self._close_item(item, "completed")
        return call_id

    def done(
        self,
        status: str = "completed",
        reason: str | None = None,
        *,
        error: Mapping[str, str] | None = None,
        echat: Mapping[str, Any] | None = None,
    ) -> None:
        """End it; once.

        Args:
            status: `completed`, `cancelled`, `incomplete` or `failed`.
            reason: Why it was not completed.
            error: What went wrong.
            echat: What is told beside the protocol.
        """
        if not self.is_open:
            return
        self.is_open = False
        self._close_message("completed" if status == "completed" else "incomplete")
        response = self._response(status)
        if status != "completed":
            details: dict[str, Any] = {"type": status}
            if reason is not None:
                details["reason"] = reason
            if error is not None:
                details["error"] = dict(error)
            response["status_details"] = details
        if echat is not None:
            response["echat"] = dict(echat)
        self._send({"type": "response.done", "response": response})

    # --- the message ------------------------------------------------------------------------------

    def _begin(self) -> Item:
        if self.item is not None:
            return self.item
        kind = "output_audio" if self._speaks else "output_text"
        self.item = item = self._open_item({"type": "message", "role": "assistant", "content": []})
        item.script = Script() if self._speaks else None
        part = {"type": "audio", "transcript": ""} if self._speaks else {"type": "text", "text": ""}
        self._send(
            {
                "type": "response.content_part.added",
                **self._at(item),
                "content_index": 0,
                "part": part,
            }
        )
        item.body["content"] = [{"type": kind}]
        return item

    def _close_message(self, status: str) -> None:
        item = self.item
        if item is None or item.status != "in_progress":
            return
        at = {**self._at(item), "content_index": 0}
        if self._speaks:
            if self._resampler is not None:
                self._sound(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True))
                self._resampler = None
            self._send({"type": "response.output_audio.done", **at})
            self._send(
                {"type": "response.output_audio_transcript.done", **at, "transcript": self._text}
            )
            part = {"type": "audio", "transcript": self._text}
            item.body["content"] = [{"type": "output_audio", "transcript": self._text}]
        else:
            self._send({"type": "response.output_text.done", **at, "text": self._text})
            part = {"type": "text", "text": self._text}
            item.body["content"] = [{"type": "output_text", "text": self._text}]
        self._send({"type": "response.content_part.done", **at, "part": part})
        self._close_item(item, status)

    def _sound(self, samples: Any) -> None:
        step = round(_PIECE * self._says_as.rate)
        for start in range(0, len(samples), step):
            piece = np.ascontiguousarray(samples[start : start + step])
            self._delta("output_audio", self._says_as.encode(piece))

    def _delta(self, kind: str, delta: str) -> None:
        assert self.item is not None
        at = {**self._at(self.item), "content_index": 0}
        self._send({"type": f"response.{kind}.delta", **at, "delta": delta})

    # --- items ------------------------------------------------------------------------------------

    def _open_item(self, body: dict[str, Any]) -> Item:
        item = Item(new_id("item"), body, status="in_progress")
        self._output.append(item)
        self._send({"type": "response.output_item.added", **self._place(item)})
        if not self._is_apart:
            self._previous = self._add(item)
            self._tell("added", item)
        return item

    def _close_item(self, item: Item, status: str) -> None:
        item.status = status
        self._send({"type": "response.output_item.done", **self._place(item)})
        if not self._is_apart:
            self._tell("done", item)

    def _tell(self, what: str, item: Item) -> None:
        event = {"type": f"conversation.item.{what}", "previous_item_id": self._previous}
        self._send({**event, "item": item.to_json()})

    def _place(self, item: Item) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "output_index": self._output.index(item),
            "item": item.to_json(),
        }

    def _at(self, item: Item) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": self._output.index(item),
        }

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            **self._about,
            "status": status,
            "status_details": None,
            "output": [item.to_json() for item in self._output],
            "usage": None,
        }
