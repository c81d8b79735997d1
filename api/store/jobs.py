"""Jobs and their rows: what is still to be graded, by whom, and what came of it.

A row goes from pending to graded, failed or cancelled once, in the transaction that keeps its grade. So a service that is
killed at any moment leaves a row either pending or settled with its grade, and two workers on one job cannot both settle it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, true, update

from api.store import events, grades
from api.store.engine import Transaction, insert_row
from api.store.errors import Conflict, UnknownRecord
from api.store.tables import grades as grade_rows
from api.store.tables import job_rows, jobs
from api.texts import say
from grader.schema import Grade, InlineQuestion, Question

JobState = Literal["queued", "running", "done", "cancelled"]
RowState = Literal["pending", "graded", "failed", "cancelled"]
INSERTED_AT_ONCE = 500
# How the name of a worker begins that is a request, whose client waits for the results.
REQUEST = "request:"
# How long the results of a job can be read that keeps nothing else: they quote the answers.
UNKEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class NewRow:
    """A row to be graded: the request as JSON, and what the client calls it."""

    request: Mapping[str, Any]
    client_id: str | int | None = None
    candidate: str | None = None


@dataclass(frozen=True)
class Row:
    """A row that waits to be graded; `row` counts from 0."""

    job_id: str
    row: int
    client_id: str | int | None
    candidate: str | None
    request: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What came of a row: a grade, a reason why there is none (any more), or nothing yet."""

    row: int
    client_id: str | int | None
    state: RowState
    error: str | None
    grade: Grade | None


@dataclass(frozen=True)
class Job:
    """A job and how far it is; `total` = pending + graded + failed + cancelled. `sequence`: later jobs have higher ones."""

    id: str
    sequence: int
    state: JobState
    store: bool
    key_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    pending: int
    graded: int
    failed: int
    cancelled: int


def create(
    tx: Transaction,
    rows: Iterable[NewRow],
    *,
    key_id: str | None = None,
    store: bool = True,
    worker: str | None = None,
    lease: timedelta = timedelta(0),
) -> Job:
    """Keeps a job with all its rows, or nothing of it; `worker` has claimed it already when it appears."""
    job_id = grades.new_id("job")
    job = {"id": job_id, "state": "queued", "store": store, "key_id": key_id, "created_at": tx.now}
    if worker is not None:
        job |= {"state": "running", "worker": worker, "lease_until": tx.now + lease, "started_at": tx.now}
    insert_row(tx, jobs, job)
    numbered = (
        {
            "job_id": job_id,
            "row": number,
            "client_id": row.client_id,
            "candidate": row.candidate,
            "state": "pending",
            "request": dict(row.request),
        }
        for number, row in enumerate(rows)
    )
    for batch in _batches(numbered, INSERTED_AT_ONCE):
        tx.execute(insert(job_rows), batch)
    events.add(tx, key_id or "local", "job.created", job_id)
    return get(tx, job_id)


def get(tx: Transaction, job_id: str, owner: str | None = None) -> Job:
    """A job and its progress; raises UnknownRecord when there is none or, with `owner`, when another key made it."""
    wanted = select(jobs).where(jobs.c.id == job_id)
    if owner is not None:
        wanted = wanted.where(jobs.c.key_id == owner)
    row = tx.execute(wanted).first()
    if row is None:
        raise UnknownRecord("job", job_id)
    states = (
        select(job_rows.c.state, func.count().label("rows"))
        .where(job_rows.c.job_id == job_id)
        .group_by(job_rows.c.state)
    )
    counts: dict[str, int] = {row.state: row.rows for row in tx.execute(states)}
    return Job(
        id=row.id,
        sequence=row.sequence,
        state=row.state,
        store=row.store,
        key_id=row.key_id,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        total=sum(counts.values()),
        pending=counts.get("pending", 0),
        graded=counts.get("graded", 0),
        failed=counts.get("failed", 0),
        cancelled=counts.get("cancelled", 0),
    )


def waiting(tx: Transaction) -> int:
    """How many rows of all jobs wait."""
    return _waiting(tx, true())


def waiting_of(tx: Transaction, key_id: str | None) -> int:
    """How many rows wait of the jobs that were made with a key; None: without one."""
    return _waiting(tx, jobs.c.key_id == key_id)


def _waiting(tx: Transaction, whose: ColumnElement[bool]) -> int:
    # By way of the jobs that are open: settled rows stay, and would have to be counted over.
    counted = (
        select(func.count())
        .select_from(jobs.join(job_rows, job_rows.c.job_id == jobs.c.id))
        .where(jobs.c.state.in_(("queued", "running")), job_rows.c.state == "pending", whose)
    )
    return int(tx.execute(counted).scalar_one())


# ---- a worker's side -------------------------------------------------------------------------------------------------


def claim(tx: Transaction, worker: str, lease: timedelta, after: int = 0) -> Job | None:
    """A job that nobody works on, now `worker`'s until the lease ends; None when there is nothing to do.

    It is the first one behind `after`, a job's sequence, and else the oldest: so who gives it the last one takes all in turn.
    A lease that ends much later than a lease lasts was taken before the clock was set back: it counts as ended.
    """
    free = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= tx.now, jobs.c.lease_until > tx.now + 2 * lease)
    wanted = (
        select(jobs.c.id)
        .where(jobs.c.state.in_(("queued", "running")), or_(free, jobs.c.worker == worker))
        .order_by(jobs.c.sequence <= after, jobs.c.sequence)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    job_id = tx.execute(wanted).scalar()
    if job_id is None:
        return None
    started = func.coalesce(jobs.c.started_at, tx.now)
    values = {"state": "running", "worker": worker, "lease_until": tx.now + lease, "started_at": started}
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
    return get(tx, job_id)


def renew(tx: Transaction, job_id: str, worker: str, lease: timedelta) -> bool:
    """Keeps a job for longer; False when it was cancelled, finished or taken over: then stop."""
    mine = and_(jobs.c.id == job_id, jobs.c.worker == worker, jobs.c.state == "running")
    return tx.execute(update(jobs).where(mine).values(lease_until=tx.now + lease)).rowcount == 1


def in_request(tx: Transaction, job_id: str) -> bool:
    """Whether a request works on a job; once its lease has ended the job is for any worker, like every other."""
    held = and_(jobs.c.state == "running", jobs.c.worker.startswith(REQUEST), jobs.c.lease_until > tx.now)
    return tx.execute(select(jobs.c.id).where(jobs.c.id == job_id, held)).first() is not None


def give_up(tx: Transaction, job_id: str, worker: str) -> None:
    """Lets another worker go on at once: for a service that is told to stop."""
    mine = and_(jobs.c.id == job_id, jobs.c.worker == worker, jobs.c.state == "running")
    tx.execute(update(jobs).where(mine).values(worker=None, lease_until=None))


def pending(tx: Transaction, job_id: str, limit: int) -> list[Row]:
    """The next rows to grade, in order."""
    wanted = (
        select(job_rows)
        .where(job_rows.c.job_id == job_id, job_rows.c.state == "pending")
        .order_by(job_rows.c.row)
        .limit(limit)
    )
    return [Row(row.job_id, row.row, row.client_id, row.candidate, row.request) for row in tx.execute(wanted)]


def complete(
    tx: Transaction,
    row: Row,
    grade: Grade,
    *,
    question: Question | InlineQuestion,
    key_id: str | None = None,
    store: bool = True,
) -> Grade | None:
    """Settles a row with its grade, which is kept (with `store`); None when another worker or a cancel was first."""
    if not _settle(tx, row, "graded"):
        return None
    place = _place(row)
    if not store:
        tx.execute(update(job_rows).where(place).values(result=grade.model_dump(mode="json")))
        return grade
    answer = row.request["answer"]
    kept = grades.add(tx, grade, answer=answer, question=question, candidate=row.candidate, key_id=key_id)
    tx.execute(update(job_rows).where(place).values(grade_id=kept.id))
    return kept.grade


def fail(tx: Transaction, row: Row, error: str) -> bool:
    """Settles a row with the reason why it cannot be graded; whether this worker was the one."""
    return _settle(tx, row, "failed", error)


def finish(tx: Transaction, job_id: str) -> Job:
    """Marks a job as done when no row is pending."""
    open_rows = select(job_rows.c.row).where(job_rows.c.job_id == job_id, job_rows.c.state == "pending").exists()
    running = and_(jobs.c.id == job_id, jobs.c.state.in_(("queued", "running")), ~open_rows)
    ended = {"state": "done", "finished_at": tx.now, "worker": None, "lease_until": None}
    tx.execute(update(jobs).where(running).values(**ended))
    return get(tx, job_id)


# ---- a client's side -------------------------------------------------------------------------------------------------


def cancel(tx: Transaction, job_id: str, owner: str | None = None, actor: str = "local") -> Job:
    """Stops a job for `actor`: pending rows stay ungraded, their answers are forgotten; raises Conflict when it is done."""
    job = get(tx, job_id, owner)
    if job.state == "done":
        raise Conflict(f"The job {job_id} is done; its results can be read.")
    if job.state == "cancelled":
        return job
    ended = {"state": "cancelled", "finished_at": tx.now, "worker": None, "lease_until": None}
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(**ended))
    waiting = and_(job_rows.c.job_id == job_id, job_rows.c.state == "pending")
    tx.execute(update(job_rows).where(waiting).values(state="cancelled", request=None))
    events.add(tx, actor, "job.cancelled", job_id)
    return get(tx, job_id)


def remove(tx: Transaction, job_id: str, actor: str = "local") -> None:
    """Deletes a job that has ended, with its rows and its idempotency record; the grades that it kept stay."""
    tx.execute(delete(jobs).where(jobs.c.id == job_id, jobs.c.finished_at.is_not(None)))
    events.add(tx, actor, "job.deleted", job_id)


def purge(tx: Transaction) -> int:
    """Deletes the jobs that keep nothing but their results, once these were there long enough; how many."""
    old = and_(jobs.c.store.is_(False), jobs.c.finished_at <= tx.now - UNKEPT_FOR)
    return tx.execute(delete(jobs).where(old)).rowcount


def results(tx: Transaction, job_id: str, after: int = -1, limit: int = 500) -> list[Result]:
    """Rows in order, from the one behind `after`; ask again with the last row's number for more."""
    wanted = (
        select(job_rows, grade_rows.c.grade.label("stored"))
        .outerjoin(grade_rows, grade_rows.c.id == job_rows.c.grade_id)
        .where(job_rows.c.job_id == job_id, job_rows.c.row > after)
        .order_by(job_rows.c.row)
        .limit(limit)
    )
    return [_result(row) for row in tx.execute(wanted)]


def _result(row: Any) -> Result:
    content = row.stored or row.result
    grade = Grade.model_validate(content) if content else None
    is_gone = row.state == "graded" and grade is None
    return Result(row.row, row.client_id, row.state, say("refused.job.deleted") if is_gone else row.error, grade)


def _settle(tx: Transaction, row: Row, state: RowState, error: str | None = None) -> bool:
    open_row = and_(_place(row), job_rows.c.state == "pending")
    # The answer leaves the job with this: it is kept in `answers` or not at all.
    values: dict[str, Any] = {"state": state, "request": None, "error": error}
    return tx.execute(update(job_rows).where(open_row).values(**values)).rowcount == 1


def _place(row: Row) -> Any:
    return and_(job_rows.c.job_id == row.job_id, job_rows.c.row == row.row)


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
