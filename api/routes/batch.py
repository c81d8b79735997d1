"""`POST /v1/grades/batch`: a few answers graded at once, many as a job."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.access import Caller, CurrentCaller
from api.config import Settings
from api.errors import Refused, responses
from api.jobs import JobWorker, grade_row, work_off
from api.metrics import Metrics
from api.queue import GradingPlace
from api.routes.jobs import RETRY_AFTER, JobView
from api.state import LoadedGrader, OpenStore
from api.store import Conflict, Store, idempotency, jobs
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
    dependencies=[GradingPlace],
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
    batch: Annotated[BatchRequest, Body(examples=[EXAMPLE])],
    grader: LoadedGrader,
    store: OpenStore,
    caller: CurrentCaller,
    keep: Annotated[bool, Query(alias="store", description="For files; a JSON body says it itself.")] = True,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Any:
    """Grade many answers. Up to 64 in JSON are graded at once; more, or a file (JSON lines, CSV), become a job."""
    settings: Settings = http.app.state.settings
    rows = rows_of(batch, http.headers.get("content-type", ""), settings.max_job_rows)
    keep = keep and batch.store
    at_once = batch.file() is None and len(rows) <= AT_ONCE
    if at_once and not keep:
        if idempotency_key is not None:
            detail = "Nothing is kept with store=false, so nothing can be given again; leave Idempotency-Key out."
            raise Refused(422, "Cannot be repeated", detail)
        results = [_forgotten(grader, number, row, caller) for number, row in enumerate(rows)]
        return BatchGrades(job=None, results=results)
    worker = f"request:{uuid.uuid4()}" if at_once else None
    lease = timedelta(seconds=settings.job_lease_seconds)
    job, is_new = _job(store, caller, rows, keep=keep, worker=worker, lease=lease, key=idempotency_key)
    if at_once and is_new and worker is not None:
        metrics: Metrics = http.app.state.metrics
        job = work_off(store, grader, job, worker, metrics, lease)
    if at_once and job.state == "done":
        return BatchGrades(job=job.id, results=_results(store, job, caller))
    runner: JobWorker | None = http.app.state.jobs
    if runner is not None:  # else the job waits until the service runs
        runner.wake()
    headers = {"location": f"/v1/jobs/{job.id}", "retry-after": RETRY_AFTER}
    return JSONResponse(JobView.of(job).model_dump(mode="json"), 202, headers)


def _job(
    store: Store,
    caller: Caller,
    rows: list[NewRow],
    *,
    keep: bool,
    worker: str | None,
    lease: timedelta,
    key: str | None,
) -> tuple[Job, bool]:
    """A job with these rows, and whether it is new: the same Idempotency-Key and body get the job that is there."""
    with store.write() as tx:
        if key is None:
            return jobs.create(tx, rows, key_id=caller.key_id, store=keep, worker=worker, lease=lease), True
        scope = caller.key_id or "local"
        content = ["batch", keep, [[dict(row.request), row.client_id, row.candidate] for row in rows]]
        claim = idempotency.claim(tx, scope, key, idempotency.fingerprint(content))
        if claim.state == "done" and claim.job_id is not None:
            return jobs.get(tx, claim.job_id), False
        if claim.state != "mine":
            raise Conflict("This Idempotency-Key was used for another request; use a new one for each request.")
        job = jobs.create(tx, rows, key_id=caller.key_id, store=keep, worker=worker, lease=lease)
        idempotency.settle(tx, scope, key, claim, job_id=job.id)
        return job, True


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
