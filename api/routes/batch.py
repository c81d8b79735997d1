"""`POST /v1/grades/batch`: a few answers graded at once, many as a job."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.access import Caller, CurrentCaller
from api.config import Settings
from api.errors import responses
from api.grading import FreeKey, once, scope_of
from api.jobs import JobWorker, grade_row, work_off
from api.metrics import Metrics
from api.queue import GradingPlace
from api.routes.grades import IdempotencyKey
from api.routes.jobs import RETRY_AFTER, JobView
from api.state import LoadedGrader, OpenStore
from api.store import Store, Transaction, idempotency, jobs
from api.store.idempotency import Claim
from api.store.jobs import Job, NewRow, Result
from api.uploads import SUFFIXES, BatchRequest, rows_of
from grader.errors import GraderError
from grader.library import Library
from grader.schema import Grade

AT_ONCE = 64  # answers that are graded while the client waits: seconds on a CPU; more become a job

router = APIRouter(prefix="/v1/grades", tags=["grades"])

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
    dependencies=[FreeKey, GradingPlace],
    response_model=BatchGrades,
    responses={
        **responses(400, 409, 413, 415, 422),
        202: {
            "model": JobView,
            "description": "More than 64 answers, or a file: a job, found at `Location`.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "The job."}},
            "links": {
                "job": {"operationId": "show_job_v1_jobs__job_id__get", "parameters": {"job_id": "$response.body#/id"}}
            },
        },
    },
    openapi_extra={"requestBody": {"content": dict.fromkeys(SUFFIXES, FILE)}},
)
def create_batch(
    http: Request,
    response: Response,
    batch: Annotated[BatchRequest, Body(examples=[EXAMPLE])],
    grader: LoadedGrader,
    store: OpenStore,
    caller: CurrentCaller,
    keep: Annotated[bool, Query(alias="store", description="For files; a JSON body says it itself.")] = True,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Grade many answers. Up to 64 in JSON are graded at once; more, or a file (JSON lines, CSV), become a job."""
    settings: Settings = http.app.state.settings
    rows = rows_of(batch, http.headers.get("content-type", ""), settings.max_job_rows)
    keep = keep and batch.store
    at_once = batch.file() is None and len(rows) <= AT_ONCE
    content = ["batch", keep, at_once, [[dict(row.request), row.client_id, row.candidate] for row in rows]]
    sent = _Sent(store, scope_of(caller), idempotency_key, content)
    if at_once and not keep:
        results, replayed = sent.once(
            lambda: [_forgotten(grader, number, row, caller) for number, row in enumerate(rows)]
        )
        response.headers.update(sent.headers(replayed))
        return BatchGrades(job=None, results=results)
    worker = f"{jobs.REQUEST}{uuid.uuid4()}" if at_once else None
    lease = timedelta(seconds=settings.job_lease_seconds)
    job, replayed = sent.job(
        lambda tx: jobs.create(tx, rows, key_id=caller.key_id, store=keep, worker=worker, lease=lease)
    )
    if at_once and not replayed and worker is not None:
        metrics: Metrics = http.app.state.metrics
        job = work_off(store, grader, job, worker, metrics, lease)
    if at_once and job.state == "done":
        response.headers.update(sent.headers(replayed))
        return BatchGrades(job=job.id, results=_results(store, job, caller))
    runner: JobWorker | None = http.app.state.jobs
    if runner is not None:  # else the job waits until the service runs
        runner.wake()
    headers = {"location": f"/v1/jobs/{job.id}", "retry-after": RETRY_AFTER} | sent.headers(replayed)
    return JSONResponse(JobView.of(job).model_dump(mode="json"), 202, headers)


@dataclass(frozen=True)
class _Sent:
    """A batch, as one that was sent with the same Idempotency-Key is compared with it; without a key all is new."""

    store: Store
    scope: str
    key: str | None
    content: Any

    def once(self, graded: Callable[[], list[BatchResult]]) -> tuple[list[BatchResult], bool]:
        """Results of which nothing is kept, and whether they were given before: then they are found anew, and are the same."""
        key = self.key
        if key is None:
            return graded(), False

        def work(claim: Claim) -> list[BatchResult]:
            results = graded()
            with self.store.write() as tx:
                idempotency.settle(tx, self.scope, key, claim)
            return results

        return once(self.store, work, lambda _: graded(), scope=self.scope, key=key, body=self.content)

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


def _forgotten(grader: Library, number: int, row: NewRow, caller: Caller) -> BatchResult:
    """The result of an answer of which nothing is kept."""
    name = None if row.client_id is None else str(row.client_id)
    try:
        _, grade = grade_row(grader, row.request)
    except GraderError as error:
        return BatchResult(row=number, id=name, error=str(error))
    return BatchResult(row=number, id=name, grade=grade.for_candidate() if caller.is_candidate else grade)


def _results(store: Store, job: Job, caller: Caller) -> list[BatchResult]:
    with store.read() as tx:
        found = jobs.results(tx, job.id, limit=AT_ONCE)
    return [BatchResult.of(result, caller) for result in found]
