"""`POST /v1/grades/batch`: a few answers graded at once, many as a job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.access import Caller, CurrentCaller
from api.bodies import StrictJson
from api.config import Settings
from api.errors import responses
from api.grading import FreeKey, once, scope_of, until_free
from api.jobs import Backlog, Graded, JobWorker, leave, outcome, settled
from api.metrics import Metrics
from api.queue import GradingQueue
from api.routes.grades import IdempotencyKey
from api.routes.jobs import RETRY_AFTER, JobView
from api.state import LoadedGrader, OpenStore
from api.store import Conflict, Store, Transaction, idempotency, jobs
from api.store.errors import UnknownRecord
from api.store.idempotency import Claim
from api.store.jobs import Job, NewRow, Result
from api.uploads import SUFFIXES, BatchRequest, rows_of
from grader.library import Library
from grader.schema import Grade

AT_ONCE = 64  # answers that are graded while the client waits: seconds on a CPU; more become a job
# Seconds after which they become one, too: clients and proxies wait for 30 or more, and the row in hand may still take 20.
PATIENCE = 10.0

router = APIRouter(prefix="/v1/grades", tags=["grades"], route_class=StrictJson)

FILE = {"schema": {"type": "string"}}
EXAMPLE = {
    "answers": [
        {"id": "a-1", "question_id": "zero-grad", "answer": "backward() adds to .grad, so it has to be cleared."},
        {"id": "a-2", "question_id": "autograd", "answer": "It records operations and applies the chain rule."},
    ]
}


class BatchResult(BaseModel):
    """What came of one answer: a grade, or the reason why there is none."""

    row: int = Field(description="Its place in the batch, from 0.")
    id: str | None = Field(description="What the client calls it.")
    grade: Grade | None = None
    error: str | None = None

    @classmethod
    def of(cls, result: Result, caller: Caller) -> BatchResult:
        """A settled row, as this caller may see it."""
        grade = result.grade.for_candidate() if result.grade and caller.is_candidate else result.grade
        name = None if result.client_id is None else str(result.client_id)
        return cls(row=result.row, id=name, grade=grade, error=result.error)


class BatchGrades(BaseModel):
    """The results of a small batch, in the order of its answers."""

    job: str | None = Field(
        description="Where they can be read again (/v1/jobs/{job}/results); null if nothing is kept."
    )
    results: list[BatchResult]


@router.post(
    "/batch",
    dependencies=[FreeKey],
    response_model=BatchGrades,
    responses={
        **responses(400, 409, 413, 415, 422),
        202: {
            "model": JobView,
            "description": "More than 64 answers, a file, or answers that take longer than 10 seconds: a job, found at "
            "`Location`.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "The job."}},
            "links": {
                "job": {"operationId": "show_job_v1_jobs__job_id__get", "parameters": {"job_id": "$response.body#/id"}}
            },
        },
    },
    openapi_extra={"requestBody": {"content": dict.fromkeys(SUFFIXES, FILE)}},
)
async def create_batch(
    http: Request,
    batch: Annotated[BatchRequest, Body(examples=[EXAMPLE])],
    grader: LoadedGrader,
    store: OpenStore,
    caller: CurrentCaller,
    keep: Annotated[bool, Query(alias="store", description="For files; a JSON body says it itself.")] = True,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Grade many answers. Up to 64 in JSON are graded at once; more, or a file (JSON lines, CSV), become a job.

    So does what is not graded within 10 seconds."""
    settings: Settings = http.app.state.settings
    end = time.monotonic() + min(PATIENCE, settings.request_seconds / 2)
    queue: GradingQueue = http.app.state.queue
    backlog: Backlog = http.app.state.backlog
    lease = timedelta(seconds=settings.job_lease_seconds)
    keep = keep and batch.store
    async with queue.place(
        grades=False
    ):  # sent away like a single answer when there is no room, before anything is kept
        content_type = http.headers.get("content-type", "")
        rows = await run_in_threadpool(rows_of, batch, content_type, settings.max_job_rows)
        at_once = batch.file() is None and len(rows) <= AT_ONCE
        content = ["batch", keep, at_once, [[dict(row.request), row.client_id, row.candidate] for row in rows]]
        sent = _Sent(store, scope_of(caller), idempotency_key, content)
    await until_free(http)  # an equal request may have come in meanwhile, and needs places and threads for its rows
    worker = f"{jobs.REQUEST}{uuid.uuid4()}" if at_once else None
    job, replayed = None, False
    if keep or not at_once:

        def made(tx: Transaction) -> Job:
            if not at_once:
                backlog.admit(tx, caller.key_id, len(rows))
            return jobs.create(tx, rows, key_id=caller.key_id, store=keep, worker=worker, lease=lease)

        job, replayed = await run_in_threadpool(sent.job, made)
    else:
        replayed = await run_in_threadpool(sent.seen)
    if job is None:
        graded: list[Graded] = []
        await _in_turn(queue, _forgotten(grader, rows, graded), end)
        if len(graded) == len(rows):
            return await run_in_threadpool(_shown, None, _outcomes(rows, graded), caller, sent.headers(replayed))
        job = await run_in_threadpool(_kept_after_all, store, caller.key_id, rows, graded)
    elif worker is not None and not replayed:
        metrics: Metrics = http.app.state.metrics
        await _in_turn(queue, settled(store, grader, job, worker, metrics, lease), end)
        job = await run_in_threadpool(_left, store, job.id, worker)
    http.state.job = job.id  # for the log: lines of its workers name the job only
    if at_once and job.state == "done":
        results = await run_in_threadpool(_results, store, job)
        return await run_in_threadpool(_shown, job.id, results, caller, sent.headers(replayed))
    runner: JobWorker | None = http.app.state.jobs
    if runner is not None:  # else the job waits until the service runs
        runner.wake()
    headers = {"location": f"/v1/jobs/{job.id}", "retry-after": RETRY_AFTER} | sent.headers(replayed)
    return JSONResponse(JobView.of(job).model_dump(mode="json"), 202, headers)


async def _in_turn(queue: GradingQueue, steps: Iterator[None], end: float) -> None:
    """Takes the steps, each in a place of its own so that single answers come in between, until `end` (time.monotonic())."""
    over = object()
    while True:
        async with queue.another_place(end - time.monotonic()) as mine:
            if not mine or await run_in_threadpool(next, steps, over) is over:
                return


@dataclass(frozen=True)
class _Sent:
    """A batch, as one that was sent with the same Idempotency-Key is compared with it; without a key all is new."""

    store: Store
    scope: str
    key: str | None
    content: Any

    def seen(self) -> bool:
        """Whether a batch of which nothing is kept was sent before: then it is graded anew, and gets the same."""
        key = self.key
        if key is None:
            return False

        def work(claim: Claim) -> None:
            with self.store.write() as tx:
                idempotency.settle(tx, self.scope, key, claim)

        return once(self.store, work, lambda _: None, scope=self.scope, key=key, body=self.content)[1]

    def job(self, made: Callable[[Transaction], Job]) -> tuple[Job, bool]:
        """The job with these rows, and whether it was there before."""
        key = self.key
        if key is None:
            with self.store.write() as tx:
                return made(tx), False

        def work(claim: Claim) -> Job:
            with self.store.write() as tx:
                job = made(tx)
                idempotency.settle(tx, self.scope, key, claim, job_id=job.id)
                return job

        def again(claim: Claim) -> Job:
            with self.store.read() as tx:
                return jobs.get(tx, claim.job_id or "")

        return once(self.store, work, again, scope=self.scope, key=key, body=self.content)

    def headers(self, replayed: bool) -> dict[str, str]:
        """What the response says of the key."""
        return {} if self.key is None else {"idempotency-replayed": str(replayed).lower()}


def _forgotten(grader: Library, rows: list[NewRow], graded: list[Graded]) -> Iterator[None]:
    """Grades answers of which nothing is kept, one a step."""
    for row in rows:
        graded.append(outcome(grader, row.request))
        yield


def _outcomes(rows: list[NewRow], graded: list[Graded]) -> list[Result]:
    return [
        Result(number, row.client_id, "failed", found, None)
        if isinstance(found, str)
        else Result(number, row.client_id, "graded", None, found[1])
        for number, (row, found) in enumerate(zip(rows, graded, strict=True))
    ]


def _left(store: Store, job_id: str, worker: str) -> Job:
    try:
        return leave(store, job_id, worker)
    except UnknownRecord:
        raise Conflict("The job was stopped and deleted while it was graded.") from None


def _kept_after_all(store: Store, key_id: str | None, rows: list[NewRow], graded: list[Graded]) -> Job:
    """A job for answers that were to be graded at once and forgotten, with what is graded already."""
    with store.write() as tx:
        job = jobs.create(tx, rows, key_id=key_id, store=False)
        for row, found in zip(jobs.pending(tx, job.id, len(graded)), graded, strict=True):
            if isinstance(found, str):
                jobs.fail(tx, row, found)
            else:
                jobs.complete(tx, row, found[1], question=found[0], store=False)
        return jobs.get(tx, job.id)


def _results(store: Store, job: Job) -> list[Result]:
    with store.read() as tx:
        return jobs.results(tx, job.id, limit=AT_ONCE)


def _shown(job_id: str | None, results: list[Result], caller: Caller, headers: dict[str, str]) -> Response:
    """Written here, off the event loop, which has better things to do than to validate 64 grades."""
    found = BatchGrades(job=job_id, results=[BatchResult.of(result, caller) for result in results])
    return Response(found.model_dump_json(), headers=headers, media_type="application/json")
