"""Traces for OpenTelemetry (the extra `tracing`): a span for a request, from FastAPI itself, and one for each step of a grade.

Off unless an endpoint is set. What FastAPI would also send, exception messages and request metrics, stays off: the former
hold what people wrote, the latter are at /metrics. Paths are left out of spans, for they hold ids; `http.route` says enough.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig

from grader import __version__
from grader.errors import GraderError
from grader.observe import Stage

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

SILENT: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
PRIVATE = ("url.path", "url.query")


class TracingUnavailable(GraderError):
    """Traces are wanted and the packages for them are not installed."""


class Tracing:
    """Sends spans to a collector (OTLP over HTTP, protobuf) in the background; a collector that is down costs nothing."""

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingUnavailable(
                "GRADER_OTLP_ENDPOINT needs OpenTelemetry: pip install 'answer-grader[tracing]', or leave it empty."
            ) from error

        class Private(SpanProcessor):
            def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
                for name in PRIVATE:
                    if span.attributes and name in span.attributes:
                        span.set_attribute(name, "")

            def on_end(self, span: ReadableSpan) -> None:
                """Nothing is left to do."""

        resource = Resource.create({"service.name": "answer-grader", "service.version": __version__})
        self.provider = TracerProvider(resource=resource)
        self.provider.add_span_processor(Private())
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("grader", __version__)

    @property
    def config(self) -> TelemetryConfig:
        """What FastAPI is told."""
        return {**SILENT, "tracing": True, "operation_spans": False, "tracer_provider": self.provider}

    def stage(self, name: Stage, begun: float, ended: float) -> None:
        """A span for a step that has just ended, in the span of the request this thread works for."""
        offset = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(f"grader.{name}", start_time=offset + int(begun * 1e9))
        span.end(offset + int(ended * 1e9))

    def close(self) -> None:
        """Sends what has not been sent yet, for a few seconds at most."""
        self.provider.shutdown()
