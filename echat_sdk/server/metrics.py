"""`/metrics`: counters and latencies in Prometheus' text, and a span for each turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.routing import Route

from echat_sdk import errors
from echat_sdk.server import tracing
from echat_sdk.server.seats import Refusal
from echat_sdk.turn import TurnStatus

if TYPE_CHECKING:
    from starlette.requests import Request

    from echat_sdk.audio import Seconds
    from echat_sdk.turn import Turn

STAGES = ("heard", "think", "first_text", "first_audio", "done")
"""The fields of `Timings`."""

_LATENCIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_LENGTHS = (10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)
# A label has few values, and none that a caller chose: else each new one is kept for ever.
_ERRORS = frozenset(
    name for name, value in vars(errors).items() if isinstance(value, type) and name[0] != "_"
)
_REASONS = frozenset(
    {
        *Refusal,
        "wrong_host",
        "wrong_origin",
        "missing_api_key",
        "invalid_api_key",
        "missing_scope",
        "not_found",
        "too_many_failures",
        "invalid_ticket",
    }
)


class Metrics:
    """An `Observer` that counts, in a registry of its own."""

    def __init__(self) -> None:
        kept = self.registry = CollectorRegistry()
        self._sessions = Gauge("echat_sessions", "Sessions that are open", registry=kept)
        self._begun = Counter("echat_sessions_begun", "Sessions that were let in", registry=kept)
        self._refused = Counter("echat_refused", "Callers refused", ["why"], registry=kept)
        self._lengths = Histogram(
            "echat_session_seconds", "How long sessions were", buckets=_LENGTHS, registry=kept
        )
        self._turns = Counter("echat_turns", "Turns, by how they ended", ["status"], registry=kept)
        self._stages = Histogram(
            "echat_turn_stage_seconds",
            "From the end of an utterance until a stage of its answer was done",
            ["stage"],
            buckets=_LATENCIES,
            registry=kept,
        )
        self._interruptions = Counter(
            "echat_interruptions", "Answers that were interrupted", registry=kept
        )
        self._errors = Counter("echat_errors", "Errors, by class", ["kind"], registry=kept)
        for stage in STAGES:  # a graph shows a zero, rather than nothing
            self._stages.labels(stage)
        for status in TurnStatus:
            self._turns.labels(status)

    def session_began(self) -> None:
        """Count it."""
        self._begun.inc()
        self._sessions.inc()

    def session_ended(self, seconds: Seconds) -> None:
        """Count it."""
        self._sessions.dec()
        self._lengths.observe(seconds)

    def refused(self, why: str) -> None:
        """Count it."""
        self._refused.labels(why if why in _REASONS else "other").inc()

    def turn(self, turn: Turn) -> None:
        """Count it, and tell it as spans."""
        self._turns.labels(turn.status).inc()
        if turn.status is TurnStatus.INTERRUPTED:
            self._interruptions.inc()
        for stage in STAGES:
            if (at := getattr(turn.timings, stage)) is not None:
                self._stages.labels(stage).observe(at)
        tracing.tell(turn)

    def error(self, kind: str) -> None:
        """Count it."""
        self._errors.labels(kind if kind in _ERRORS else "other").inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def routes(self) -> list[Route]:
        """`/metrics`."""

        async def metrics(_: Request) -> Response:
            return Response(self.text(), headers={"content-type": CONTENT_TYPE_LATEST})

        return [Route("/metrics", metrics, methods=["GET"])]
