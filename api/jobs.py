"""The worker that grades what batch jobs hold, row by row, in a thread of each process.

Every row is settled in the transaction that keeps its grade (store/jobs.py), and a job belongs to a worker only as long as
its lease: a process that is killed leaves rows that wait and a lease that ends, and the next worker goes on there.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from api import logging
from api.errors import Refused
from api.metrics import Metrics
from api.state import GraderState, StoreState
from api.store import Store, Transaction, jobs
from api.store.errors import StoreError, UnknownRecord
from api.store.jobs import Job, Row
from api.texts import say
from grader.errors import GraderError
from grader.library import Library
from grader.schema import Grade, InlineQuestion, Question

LEASE = timedelta(seconds=30)  # without a sign of life for so long, a worker counts as dead
IDLE = 1.0  # seconds between looks for a job that another process or a person put there
TROUBLE = 5.0  # seconds to wait when the database does not answer
ROWS_AT_ONCE = 20
# Seconds for one job before the next one has its turn; a row that is begun is ended.
TURN = 2.0
RETRY = 60  # seconds after which to ask again whether there is room for a job

log = logging.get("api.jobs")

Graded = tuple[Question | InlineQuestion, Grade] | str  # a grade and its question, or why there is none


def new_worker() -> str:
    """A name no other worker has or had: a process that restarts must not take its dead self for alive."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


def asked(grader: Library, request: Mapping[str, Any]) -> Question | InlineQuestion:
    """The question of a row; raises UnknownQuestion."""
    if request.get("question") is not None:
        return InlineQuestion.model_validate(request["question"])
    return grader.question(str(request["question_id"]))


def grade_row(grader: Library, request: Mapping[str, Any]) -> tuple[Question | InlineQuestion, Grade]:
    """Question and grade of a row; raises GraderError with the reason why there is none."""
    if "problem" in request:  # found when the file was read, kept so that it has its place among the results
        raise RowProblem(str(request["problem"]))
    question = asked(grader, request)
    named = question if isinstance(question, InlineQuestion) else question.id
    return question, grader.grade(named, str(request["answer"]), request.get("judge"))


def outcome(grader: Library, request: Mapping[str, Any]) -> Graded:
    """The same, or the reason in its place; what nobody foresaw must not stop the other rows, nor be tried for ever."""
    try:
        return grade_row(grader, request)
    except GraderError as error:
        return str(error)
    except Exception as error:
        log.error("row failed", exc_info=error)
        return "Something went wrong here; the service's log has the details."


class RowProblem(GraderError):
    """A row of an uploaded file that could not be read."""


@dataclass(frozen=True)
class Backlog:
    """How many rows of jobs may wait: of one key, and in all."""

    of_key: int
    in_all: int
    metrics: Metrics

    def admit(self, tx: Transaction, key_id: str | None, rows: int) -> None:
        """Raises Refused (429) when so many more would be too many. Where none wait, a job of any size may come."""
        for waiting, most, reason in (
            (jobs.waiting_of(tx, key_id), self.of_key, "rows_of_key"),
            (jobs.waiting(tx), self.in_all, "rows"),
        ):
            if waiting and waiting + rows > most:
                self.metrics.refuse("backlog")
                detail = say("refused.busy.why", reason=say(f"refused.busy.{reason}", most=f"{most:,}"), seconds=RETRY)
                raise Refused(429, "Too busy", detail, retry_after=RETRY)


class JobWorker:
    """Grades waiting rows until told to stop; one row in hand at a time, so that single answers are not held up.

    Jobs have turns, so that a small one does not wait for all that came before. Whose turn it was only this process knows:
    after a restart it begins with the oldest.
    """

    def __init__(
        self,
        stores: StoreState,
        grading: GraderState,
        metrics: Metrics,
        lease: timedelta = LEASE,
        turn: float = TURN,
    ) -> None:
        self.stores = stores
        self.grading = grading
        self.metrics = metrics
        self.lease = lease
        self.turn = turn
        self._last = 0
        self._known: set[str] = set()
        self.name = new_worker()
        self._stop = threading.Event()
        self._work = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begins to look for work; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Says that there is a new job, so that it need not wait for the next look."""
        self._work.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Ends after the row in hand and leaves the rest to whoever comes next."""
        self._stop.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = 0.0 if self._step() else IDLE
            except StoreError as error:
                log.warning("jobs wait for the database", reason=str(error))
                pause = TROUBLE
            except Exception as error:
                log.error("jobs stumbled", exc_info=error)
                pause = TROUBLE
            if pause and self._work.wait(pause):
                self._work.clear()

    def _step(self) -> bool:
        """Works on one job, if the grader is ready and there is one; whether there was."""
        if not self.grading.ready:
            return False
        store = self.stores.open()
        with store.write() as tx:
            job = jobs.claim(tx, self.name, self.lease, self._last)
        if job is None:
            self._known.clear()
            return False
        if job.id not in self._known:  # not at each turn: there are thousands
            log.info("job taken", job=job.id, pending=job.pending)
        self._known.add(job.id)
        self._last = job.sequence
        end = time.monotonic() + self.turn

        def is_over() -> bool:
            return self._stop.is_set() or time.monotonic() > end

        # The job is named also in lines of the grader and its judge; it may be cancelled and deleted meanwhile.
        with structlog.contextvars.bound_contextvars(job=job.id), suppress(UnknownRecord):
            work_off(store, self.grading.grader(), job, self.name, self.metrics, self.lease, is_over)
        return True


def work_off(
    store: Store,
    grader: Library,
    job: Job,
    worker: str,
    metrics: Metrics,
    lease: timedelta = LEASE,
    is_over: Callable[[], bool] = lambda: False,
) -> Job:
    """Grades the waiting rows of a job that `worker` has claimed, until none is left, it is lost, or `is_over`.

    Raises UnknownRecord when the job is not there any more.
    """
    for _ in settled(store, grader, job, worker, metrics, lease):
        if is_over():
            break
    return leave(store, job.id, worker)


def settled(
    store: Store, grader: Library, job: Job, worker: str, metrics: Metrics, lease: timedelta = LEASE
) -> Iterator[None]:
    """The same, a row a step, for who does not go through with all of them: `leave` says so when it is over."""
    renewed = time.monotonic()
    for row in _waiting(store, job.id):
        if time.monotonic() - renewed > lease.total_seconds() / 3:
            with store.write() as tx:
                if not jobs.renew(tx, job.id, worker, lease):
                    return  # cancelled, or someone else has it
            renewed = time.monotonic()
        settle(store, grader, job, row, metrics)
        yield


def leave(store: Store, job_id: str, worker: str) -> Job:
    """Ends a job of which no row waits, and lets another worker go on with any other."""
    with store.write() as tx:
        left = jobs.finish(tx, job_id)
        if left.pending:
            jobs.give_up(tx, job_id, worker)
    if not left.pending:
        log.info("job ended", job=job_id, state=left.state, graded=left.graded, failed=left.failed)
    return left


def settle(store: Store, grader: Library, job: Job, row: Row, metrics: Metrics) -> None:
    """Grades one row and keeps what came of it; when another worker was faster, nothing is kept twice."""
    found = outcome(grader, row.request)
    if isinstance(found, str):
        _fail(store, row, found, metrics)
        return
    with store.write() as tx:
        kept = jobs.complete(tx, row, found[1], question=found[0], key_id=job.key_id, store=job.store)
    if kept is not None:
        metrics.job_rows.labels("graded").inc()


def _fail(store: Store, row: Row, reason: str, metrics: Metrics) -> None:
    with store.write() as tx:
        done = jobs.fail(tx, row, reason)
    if done:
        metrics.job_rows.labels("failed").inc()


def _waiting(store: Store, job_id: str) -> Iterator[Row]:
    """Rows that wait, in order, asked for in portions: what was cancelled meanwhile is not among the next."""
    while True:
        with store.read() as tx:
            portion = jobs.pending(tx, job_id, ROWS_AT_ONCE)
        if not portion:
            return
        yield from portion
