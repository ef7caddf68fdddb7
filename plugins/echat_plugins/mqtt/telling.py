"""The agent's events as a device is told them. Pure."""

from __future__ import annotations

from echat_plugins.mqtt.messages import (
    FailedEvent,
    HeardEvent,
    Message,
    StateEvent,
    TextEvent,
    ToolEvent,
    TurnEvent,
)
from echat_sdk.agent.events import (
    Aside,
    Event,
    Failed,
    HeardLate,
    StateChanged,
    ToolCalled,
    ToolReturned,
    TurnFinished,
)
from echat_sdk.turn import Heard, TextDelta


def told(event: Event) -> Message | None:
    """The message that tells it; None for what a device has no use for."""
    match event:
        case StateChanged(state):
            return StateEvent(state=state.value)
        case Heard() if event.transcript:
            return _heard(event)
        case HeardLate(heard):
            return _heard(heard)
        case TextDelta(text) | Aside(TextDelta(text)):
            return TextEvent(text=text)
        case ToolCalled(call):
            return ToolEvent(name=call.tool.name, stage="called")
        case ToolReturned(found):
            return ToolEvent(name=found.tool, stage="failed" if found.error else "returned")
        case TurnFinished(answer):
            return TurnEvent(status=answer.turn.status.value, reply=answer.turn.reply)
        case Failed(error):
            return FailedEvent(error=type(error).__name__)
    return None


def _heard(heard: Heard) -> HeardEvent:
    emotion = heard.cues.emotion
    return HeardEvent(
        transcript=heard.transcript,
        lang=heard.lang,
        sounds=emotion.label,
        confidence=min(1.0, max(0.0, round(emotion.confidence, 3))),
    )
