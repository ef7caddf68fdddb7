from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from echat_sdk.cues import Cue, Cues
from echat_sdk.errors import StoreError
from echat_sdk.server import tracing
from echat_sdk.server.health import Health
from echat_sdk.server.metrics import STAGES, Metrics
from echat_sdk.server.seats import Seats
from echat_sdk.testing import RAMMemory
from echat_sdk.turn import Timings, Turn, TurnStatus
from tests.sdk.server.door.parts import REALTIME, Server, bearer

WORDS = "my dog Rex died"
TURN = Turn(
    WORDS,
    think=f"<think>{WORDS}<think end>",
    reply="I am sorry about Rex",
    cues=Cues(emotion=Cue("sad", 0.9)),
    timings=Timings(0.2, 0.25, 0.3, 0.4, 0.9),
    seconds=2.5,
    model="fake",
)


class Broken(RAMMemory):
    def pauses(self, user: str) -> object:  # type: ignore[override]
        raise StoreError("the disk is gone")

    def allowed(self, user: str) -> frozenset[str]:
        raise StoreError("the disk is gone")


class Hanging(RAMMemory):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.may_go_on = threading.Event()

    def allowed(self, user: str) -> frozenset[str]:
        self.asked += 1
        self.may_go_on.wait(5)
        return frozenset()


def test_a_server_that_serves_is_ready(server: Server) -> None:
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}


def test_a_server_whose_store_cannot_be_read_lives_and_is_not_ready(server: Server) -> None:
    server.memory = Broken()
    with server.client() as client:
        assert client.get("/healthz").status_code == 200
        response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "store"})


def test_a_server_that_drains_lives_and_is_not_ready(server: Server) -> None:
    app = server.app()
    from starlette.testclient import TestClient

    with TestClient(app, base_url="http://localhost") as client:
        app.state.sessions.drain()
        assert client.get("/readyz").json() == {"status": "draining"}
        assert client.get("/healthz").status_code == 200


async def test_a_store_that_hangs_is_not_ready_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("echat_sdk.server.health._PATIENCE", 0.01)
    memory = Hanging()
    moments = iter([0.0, 0.0, 10.0, 10.0])
    health = Health(memory, Seats(1, 1), lambda: next(moments))
    assert await health.problem() == "store"
    assert await health.problem() == "store"
    memory.may_go_on.set()
    health.close()


async def test_who_asks_often_does_not_make_the_store_work() -> None:
    memory = Hanging()
    memory.may_go_on.set()
    moments = [0.0]
    health = Health(memory, Seats(1, 1), lambda: moments[0])
    for _ in range(100):
        assert await health.problem() == ""
    assert memory.asked == 1
    moments[0] = 2.0
    await health.problem()
    assert memory.asked == 2
    health.close()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_turns_are_counted_with_their_latencies_and_without_their_words() -> None:
    metrics = Metrics()
    metrics.turn(TURN)
    metrics.turn(Turn(WORDS, status=TurnStatus.INTERRUPTED, timings=Timings(heard=0.5)))
    text = metrics.text().decode()
    found = values(text)
    stage = {name: frozenset({("stage", name)}) for name in STAGES}
    assert found["echat_turn_stage_seconds_count", stage["heard"]] == 2
    assert found["echat_turn_stage_seconds_sum", stage["first_audio"]] == pytest.approx(0.4)
    assert found["echat_turns_total", frozenset({("status", "complete")})] == 1
    assert found["echat_interruptions_total", frozenset()] == 1
    assert not re.search("Rex|sad|sorry|fake", text)


def test_labels_are_few_whatever_is_told() -> None:
    metrics = Metrics()
    for n in range(1000):
        metrics.error(f"Error{n}")
        metrics.refused(f"because {n}")
    metrics.error("StoreError")
    found = values(metrics.text().decode())
    kinds = {labels for name, labels in found if name == "echat_errors_total"}
    assert kinds == {frozenset({("kind", "other")}), frozenset({("kind", "StoreError")})}
    assert found["echat_refused_total", frozenset({("why", "other")})] == 1000


def test_sessions_are_counted_while_they_are_open_and_by_their_length(server: Server) -> None:
    key = bearer(server.key(user="ada"))
    with server.client() as client:
        with client.websocket_connect(REALTIME, headers=key) as socket:
            socket.receive_json()
            during = values(client.get("/metrics", headers=key).text)
        client.get("/v1/models", headers=bearer("echat_wrong"))
        response = client.get("/metrics", headers=key)
    after = values(response.text)
    assert during["echat_sessions", frozenset()] == 1
    assert after["echat_sessions", frozenset()] == 0
    assert after["echat_session_seconds_count", frozenset()] == 1
    assert after["echat_refused_total", frozenset({("why", "invalid_api_key")})] == 1
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "ada" not in response.text


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def lasted(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_turn_is_a_span_with_its_stages_in_it_and_none_of_its_words(
    spans: InMemorySpanExporter,
) -> None:
    tracing.tell(TURN)
    found = {span.name: span for span in spans.get_finished_spans()}
    assert {name: round(lasted(span), 3) for name, span in found.items()} == {
        "turn": 0.9,
        "hear": 0.2,
        "think": 0.05,
        "write": 0.05,
        "speak": 0.1,
    }
    whole = found.pop("turn")
    for span in found.values():
        assert span.parent is not None
        assert whole.context is not None
        assert span.parent.span_id == whole.context.span_id
    assert not re.search("Rex|sad|sorry", "".join(s.to_json() for s in [whole, *found.values()]))


def test_a_turn_that_failed_is_a_span_that_says_so(spans: InMemorySpanExporter) -> None:
    tracing.tell(Turn(WORDS, status=TurnStatus.FAILED))
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert lasted(span) == 0


def test_without_an_sdk_a_turn_is_told_to_nobody() -> None:
    tracing.tell(TURN)


@dataclass
class Collector:
    """A collector of spans on loopback."""

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> dict[str, str]:
        """The names of what came, and of the service that sent each."""
        found: dict[str, str] = {}
        for body in self.bodies:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                told = {pair.key: pair.value.string_value for pair in each.resource.attributes}
                for scope in each.scope_spans:
                    found |= {span.name: told["service.name"] for span in scope.spans}
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            made.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Takes) as server:
        made = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


SERVES = f"""
from echat_sdk.server import logs, tracing
from echat_sdk.turn import Timings, Turn
logs.set_up(as_json=False)
with tracing.exported():
    tracing.tell(Turn({WORDS!r}, reply={WORDS!r}, timings=Timings(0.2, 0.25, 0.3, 0.4, 0.9)))
"""


def served(before: str = "", **environment: str) -> str:
    """What a process that tells of one turn writes on its error stream."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", before + SERVES],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=15,
    )
    return done.stderr


@pytest.mark.parametrize("name", ["", "kiosk"])
def test_spans_of_a_turn_reach_the_collector_that_the_variables_name_and_hold_no_words(
    collector: Collector, name: str
) -> None:
    named = {"OTEL_SERVICE_NAME": name} if name else {}
    assert served(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **named) == ""
    steps = ("turn", "hear", "think", "write", "speak")
    assert collector.spans == dict.fromkeys(steps, name or "echat")
    assert b"Rex" not in b"".join(collector.bodies)


def test_a_collector_that_is_away_holds_nobody_up_and_gives_no_traceback() -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    told = served(**away)
    assert "Traceback" not in told
    assert "Rex" not in told


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_no_span_is_sent_where_the_variables_say_so(
    collector: Collector, environment: dict[str, str]
) -> None:
    told = served(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **environment)
    assert not collector.bodies
    assert ("opentelemetry-instrument" in told) == ("grpc" in environment.values())


def test_who_set_opentelemetry_up_before_is_left_to_it(collector: Collector) -> None:
    before = (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
    )
    assert served(before, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) == ""
    assert not collector.bodies
