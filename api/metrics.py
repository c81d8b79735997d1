"""Figures for Prometheus: how long things take, how full the line is, what comes out. No text, no ids, bounded labels.

Every app has a registry of its own. With several worker processes each keeps its own figures, and a scrape sees one of them
(docs/operating.md).
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from api.tracing import Tracing
from grader.library import Library
from grader.observe import JudgeCall, Observer, Stage
from grader.schema import Grade

# Seconds. A grade takes 0.02 to 0.5 on a CPU; what waits longer than 30 s is refused.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics(Observer):
    """All figures of one service; also what its grader tells of its work, which `tracing` is told, too."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self.ready = Gauge(
            "grader_ready", "1 when model and banks are loaded and the service takes work.", registry=registry
        )
        self.versions = Gauge(
            "grader_versions",
            "1 for the versions in use, of every bank.",
            ["grader", "bank", "encoder", "judge"],
            registry=registry,
        )
        self.requests = Counter(
            "grader_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "grader_http_request_seconds", "From the first byte of a request to the last of its response.",
            ["route"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "grader_stage_seconds", "Steps of one grade: queue (waiting), prepare (clean, split, embed), judge.",
            ["stage"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.queue_running = Gauge("grader_queue_running", "Grades in work.", registry=registry)
        self.queue_waiting = Gauge("grader_queue_waiting", "Answers waiting to be graded.", registry=registry)
        self.refused = Counter(
            "grader_refused",
            "Requests refused with 429, by reason: queue, backlog, address or key.",
            ["reason"],
            registry=registry,
        )
        self.grades = Counter("grader_grades", "Grades made, by outcome.", ["outcome"], registry=registry)
        self.criteria = Counter(
            "grader_criteria", "Criteria judged, by verdict (abstained among them) and who judged.",
            ["verdict", "judged_by"], registry=registry,
        )  # fmt: skip
        self.flags = Counter("grader_flags", "Flags raised, by code.", ["code"], registry=registry)
        self.caches = Counter("grader_cache", "Look-ups, by cache and result.", ["cache", "result"], registry=registry)
        self.judge_calls = Counter(
            "grader_judge_calls", "Calls of an assisting judge, by result.", ["judge", "result"], registry=registry
        )
        self.judge_seconds = Histogram(
            "grader_judge_seconds", "One call of an assisting judge.", ["judge"], buckets=SECONDS, registry=registry
        )
        self.judge_tokens = Counter(
            "grader_judge_tokens", "Tokens, by direction.", ["judge", "direction"], registry=registry
        )
        self.judge_cost = Counter("grader_judge_cost", "Cost by the judge's price list.", ["judge"], registry=registry)
        self.job_rows = Counter("grader_job_rows", "Rows of batch jobs, by result.", ["result"], registry=registry)
        self.job_rows_waiting = Gauge(
            "grader_job_rows_waiting", "Rows of batch jobs that wait, in all processes.", registry=registry
        )
        for stage in ("queue", "prepare", "judge"):
            self.stage_seconds.labels(stage)  # present from the first scrape, so that a rate has a beginning
        for reason in ("queue", "backlog", "address", "key"):
            self.refused.labels(reason)
        for outcome in ("graded", "needs_review", "not_gradable"):
            self.grades.labels(outcome)
        for result in ("graded", "failed"):
            self.job_rows.labels(result)

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)

    def watch(self, library: Library) -> None:
        """Shows the versions of graders that are ready, a series a bank, and listens to them from now on."""
        self.versions.clear()
        for grader in library.graders:
            versions = grader.versions()
            self.versions.labels(versions.grader, versions.bank, versions.encoder, versions.judge).set(1)
        parts: list[Any] = [part for one in library.graders for part in (one, one.judge, one.assistant)]
        for part in parts:
            if isinstance(getattr(part, "observer", None), Observer):
                part.observer = self

    # ---- told by the HTTP side -------------------------------------------------------------------------------------

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A response has been sent; `route` is the route's pattern, never the path itself."""
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def waited(self, seconds: float) -> None:
        """An answer left the line, with a place or without."""
        self.stage_seconds.labels("queue").observe(seconds)

    def refuse(self, reason: str) -> None:
        """A request was refused with 429."""
        self.refused.labels(reason).inc()

    # ---- told by the grader ----------------------------------------------------------------------------------------

    def stage(self, name: Stage, begun: float, ended: float) -> None:
        self.stage_seconds.labels(name).observe(ended - begun)
        if self.tracing is not None:
            self.tracing.stage(name, begun, ended)

    def cache(self, name: str, *, hit: bool) -> None:
        self.caches.labels(name, "hit" if hit else "miss").inc()

    def judged(self, call: JudgeCall) -> None:
        self.judge_calls.labels(call.judge, call.result).inc()
        self.judge_seconds.labels(call.judge).observe(call.seconds)
        self.judge_tokens.labels(call.judge, "input").inc(call.input_tokens)
        self.judge_tokens.labels(call.judge, "output").inc(call.output_tokens)
        self.judge_cost.labels(call.judge).inc(call.cost)

    def graded(self, grade: Grade) -> None:
        self.grades.labels(grade.outcome).inc()
        for result in grade.criteria:
            self.criteria.labels(result.verdict, result.judged_by).inc()
        for flag in grade.flags:
            self.flags.labels(flag.code).inc()
