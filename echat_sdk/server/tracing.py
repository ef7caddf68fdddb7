"""OpenTelemetry: one span a turn, with its stages in it. Nothing happens where no SDK is set up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace

from echat_sdk.audio import Seconds
from echat_sdk.bridge import Worker
from echat_sdk.turn import TurnStatus

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from echat_sdk.turn import Turn

log = logging.getLogger(__name__)

_NS = 1_000_000_000
_LAST: Seconds = 3.0  # in which the last spans are sent
_WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HOW = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
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


@contextmanager
def exported() -> Iterator[None]:
    """Meanwhile send spans where OpenTelemetry's own variables name a collector, over HTTP.

    Whoever set an SDK up before, as `opentelemetry-instrument` does, is left to it.
    """
    provider = _provider() if any(os.environ.get(name) for name in _WHERE) else None
    if provider is None:
        yield
        return
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # The SDK waits for a collector that is away for longer than anybody waits for an end.
        sending = Worker("last spans")
        sending.submit(provider.shutdown)
        sending.close(within=_LAST)


def _provider() -> TracerProvider | None:
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    if "otlp" not in os.environ.get("OTEL_TRACES_EXPORTER", "otlp"):
        return None
    how = next((os.environ[name] for name in _HOW if os.environ.get(name)), "http/protobuf")
    if how != "http/protobuf":
        log.warning(
            "no spans are sent: OTLP as %s is not spoken here, http/protobuf is; for another "
            "run opentelemetry-instrument echat serve",
            how[:40],
        )
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning('no spans are sent: run pip install "echat-sdk[otel]"')
        return None
    name = OTELResourceDetector().detect().attributes.get(SERVICE_NAME, "echat")
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
