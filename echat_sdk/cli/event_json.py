"""Events of a live conversation, for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from echat_sdk.agent.events import (
    AnswerMade,
    Aside,
    AsideEnded,
    Dismissed,
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
from echat_sdk.cli import account
from echat_sdk.turn import Heard, SpeechDelta, TextDelta, ThinkDelta, Thought

if TYPE_CHECKING:
    from echat_sdk.agent.events import Event


def event_as_json(event: Event, user: str) -> dict[str, Any]:
    """An event as one JSON object; sound is told by its length alone."""
    match event:
        case StateChanged(state):
            return {"event": "state", "state": state.value}
        case UserStarted():
            return {"event": "user_started"}
        case UserStopped(pause, dropped):
            return {"event": "user_stopped", "pause": round(pause, 3), "dropped": dropped}
        case Heard():
            return {
                "event": "heard",
                "transcript": event.transcript,
                "lang": event.lang,
                "cues": event.cues.to_json(),
                "seconds": round(event.seconds, 3),
            }
        case HeardLate(heard):
            return {**event_as_json(heard, user), "event": "heard_late"}
        case ThinkDelta(text):
            return {"event": "think", "text": text}
        case Thought(emotion):
            return {"event": "thought", "reply_emotion": emotion.word}
        case TextDelta(text):
            return {"event": "text", "text": text}
        case SpeechDelta():
            return {"event": "speech", "seconds": round(len(event.samples) / event.sample_rate, 3)}
        case Aside(TextDelta(text)):
            return {"event": "aside", "text": text}
        case Aside(delta):
            return {**event_as_json(delta, user), "event": "aside_speech"}
        case AsideEnded(heard):
            return {"event": "aside_ended", "heard": heard}
        case Dismissed():
            return {"event": "dismissed"}
        case TurnHeardOut() | Unanswered():
            return {"event": "turn_heard_out"}
        case SilenceBroken(lasted):
            return {"event": "silence_broken", "lasted": round(lasted, 3)}
        case Settled():
            return {"event": "settled"}
        case AnswerMade():
            return {"event": "answer_made"}
        case ToolCalled(call):
            return {"event": "tool", "tool": call.tool.name, "arguments": dict(call.arguments)}
        case ToolReturned(found):
            return {"event": "found", **asdict(found)}
        case TurnFinished(answer):
            turn = account.as_json(answer, None, user)
            return {"event": "turn", "status": answer.turn.status.value, **turn}
        case Failed(error):
            return {"event": "failed", "error": type(error).__name__, "message": str(error)}
