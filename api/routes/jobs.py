"""Jobs: how far they are, what came of them, and how to stop and delete them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api.access import Caller, CurrentCaller
from api.cells import plain
from api.errors import responses
from api.state import OpenStore
from api.store import Store, jobs
from api.store.jobs import Job, JobState, Result
from grader.batch import NESTED, SCALARS, to_cells

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

RETRY_AFTER = "2"  # seconds until it is worth asking again how far a job is
JobId = Annotated[
    str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["job_0123456789abcdef0123456789abcdef"])
]


class JobView(BaseModel):
    """How far a job is; `total` = pending + graded + failed + cancelled."""

    id: str
    state: JobState
    total: int
    pending: int
    graded: int
    failed: int = Field(description="Answers that could not be graded; their results say why.")
    cancelled: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    results: str = Field(description="Where the results are; rows that are settled can be read while others wait.")

    @classmethod
    def of(cls, job: Job) -> Self:
        """A job as its owner sees it."""
        fields = {name: getattr(job, name) for name in cls.model_fields if name != "results"}
        return cls(**fields, results=f"/v1/jobs/{job.id}/results")


@router.get("/{job_id}", responses=responses(404, 422))
def show_job(store: OpenStore, caller: CurrentCaller, response: Response, job_id: JobId) -> JobView:
    """How far a job is."""
    with store.read() as tx:
        job = jobs.get(tx, job_id, caller.owner)
    if job.state in {"queued", "running"}:
        response.headers["retry-after"] = RETRY_AFTER
    return JobView.of(job)


@router.delete(
    "/{job_id}",
    response_model=JobView,
    responses={
        **responses(404, 409, 422),
        200: {"description": "It was under way and is stopped; send it again to delete it."},
        204: {"description": "It had ended and is deleted."},
    },
)
def cancel_job(store: OpenStore, caller: CurrentCaller, job_id: JobId) -> Any:
    """Stop a job that is under way: what is graded stays, what waits is forgotten. One that has ended is deleted with its
    results; the grades that it kept stay."""
    with store.write() as tx:
        if jobs.get(tx, job_id, caller.owner).finished_at is None:
            return JobView.of(jobs.cancel(tx, job_id, caller.owner, caller.actor))
        jobs.remove(tx, job_id, caller.actor)
    store.empty_log()
    return Response(status_code=204)


@router.get(
    "/{job_id}/results",
    response_class=StreamingResponse,
    responses={
        **responses(404, 422),
        200: {
            "description": "A line for each settled row, in order: id, grade_id, and the grade or an error.",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
    },
)
def job_results(
    store: OpenStore,
    caller: CurrentCaller,
    job_id: JobId,
    file_format: Annotated[Literal["ndjson", "csv"], Query(alias="format")] = "ndjson",
) -> StreamingResponse:
    """The settled rows of a job, as `grader grade --output` writes them and with the id of each stored grade."""
    with store.read() as tx:
        jobs.get(tx, job_id, caller.owner)  # before the response begins: whether there is one
    write = {"ndjson": _ndjson, "csv": _csv}[file_format]
    kind = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}[file_format]
    headers = {"content-disposition": f'attachment; filename="{job_id}.{file_format}"'}
    return StreamingResponse(write(_rows(store, job_id, caller)), media_type=kind, headers=headers)


def _rows(store: Store, job_id: str, caller: Caller) -> Iterator[dict[str, Any]]:
    """Output rows, fetched in portions: a transaction is never open while a client reads slowly."""
    after = -1
    while True:
        with store.read() as tx:
            found = jobs.results(tx, job_id, after)
        if not found:
            return
        yield from (_row(result, caller) for result in found if result.state in {"graded", "failed"})
        after = found[-1].row


def _row(result: Result, caller: Caller) -> dict[str, Any]:
    name = f"row-{result.row + 1}" if result.client_id is None else str(result.client_id)
    if result.grade is None:
        code = "deleted" if result.state == "graded" else "not_graded"
        return {"id": name, "grade_id": None, "error": {"code": code, "message": result.error}}
    grade = result.grade.for_candidate() if caller.is_candidate else result.grade
    return {"id": name, "grade_id": grade.id, **grade.model_dump(mode="json", exclude={"id"})}


def _ndjson(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    cells = io.StringIO()
    writer = csv.DictWriter(cells, ("id", "grade_id", *SCALARS[1:], *NESTED))
    writer.writeheader()
    for row in rows:
        found = {**to_cells(row), "grade_id": row["grade_id"]}
        writer.writerow({name: plain(cell) if isinstance(cell, str) else cell for name, cell in found.items()})
        yield cells.getvalue()
        cells.seek(0)
        cells.truncate()
    yield cells.getvalue()
