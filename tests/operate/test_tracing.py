"""Traces: what a collector on a real socket receives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from api.app import create_app
from api.config import Settings
from grader.pipeline import Grader

MARKER = "marker-77ab"


class Collector:
    """An OTLP collector as far as a client can tell."""

    def __init__(self) -> None:
        collected = self.bodies = list[bytes]()

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                import gzip

                body = self.rfile.read(int(self.headers["content-length"]))
                collected.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def spans(self) -> list[Span]:
        found = []
        for body in self.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            found += [span for r in request.resource_spans for scope in r.scope_spans for span in scope.spans]
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


def test_a_request_and_its_steps_are_one_trace_without_a_word_of_the_answer(
    collector: Collector, tmp_path: object, fast_grader: Grader
) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/grades.db", otlp_endpoint=collector.address)
    app = create_app(settings, load=lambda: fast_grader)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with TestClient(app) as client:
        assert app.state.grading.wait(60)
        body = {"question_id": "zero-grad", "answer": f"It clears what has been added up, {MARKER}."}
        client.post("/v1/grades", json=body, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        client.get(f"/v1/grades/{MARKER}?candidate={MARKER}")
    spans = collector.spans()
    mine = {span.name: span for span in spans if span.trace_id.hex() == trace}
    assert {"POST /v1/grades", "grader.prepare", "grader.judge"} <= set(mine)
    request = mine["POST /v1/grades"]
    for step in ("grader.prepare", "grader.judge"):
        assert mine[step].parent_span_id == request.span_id
        assert request.start_time_unix_nano <= mine[step].start_time_unix_nano <= mine[step].end_time_unix_nano
    assert MARKER.encode() not in b"".join(collector.bodies)
    assert "GET /v1/grades/{grade_id}" in {span.name for span in spans}


def test_a_collector_that_is_down_costs_nothing(tmp_path: object, fast_grader: Grader) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/grades.db", otlp_endpoint="http://127.0.0.1:9")
    app = create_app(settings, load=lambda: fast_grader)
    with TestClient(app) as client:
        assert app.state.grading.wait(60)
        assert (
            client.post("/v1/grades", json={"question_id": "zero-grad", "answer": "It clears it."}).status_code == 200
        )
