"""OpenTelemetry: one span a turn, with its stages in it. Nothing happens where no SDK is set up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry import trace

from echat_sdk.turn import TurnStatus

if TYPE_CHECKING:
    from echat_sdk.turn import Turn

_NS = 1_000_000_000
_STAGES = (("hear", "heard"), ("think", "think"), ("write", "first_text"), ("speak", "first_audio"))


def tell(turn: Turn) -> None:
    """Tell a turn that has just ended. Times and kinds only: no words, no ids, no cues."""
    tracer = trace.get_tracer("echat")
    times = turn.timings
    reached = [at for _, name in _STAGES if (at := getattr(times, name)) is not None]
    whole = times.done if times.done is not None else max(reached, default=0.0)
    end = time.time_ns()
    start = end - int(whole * _NS)
    attributes: dict[str, str | float] = {
        "echat.model": turn.model,
        "echat.lang": turn.lang,
        "echat.status": turn.status.value,
        "echat.utterance_seconds": turn.seconds,
    }
    span = tracer.start_span("turn", start_time=start, attributes=attributes)
    inside = trace.set_span_in_context(span)
    before = 0.0
    for stage, name in _STAGES:
        if (at := getattr(times, name)) is None:
            continue
        begun = start + int(before * _NS)
        step = tracer.start_span(stage, inside, start_time=begun)
        before = max(before, at)
        step.end(start + int(before * _NS))
    if turn.status is TurnStatus.FAILED:
        span.set_status(trace.StatusCode.ERROR)
    span.end(end)
