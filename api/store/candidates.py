"""What a person may ask for: everything kept about them, as JSON, and its end. And the end of what has become old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, select

from api.store import events, idempotency
from api.store.engine import Transaction
from api.store.errors import UnknownRecord
from api.store.tables import answers, grades, job_rows, jobs


@dataclass(frozen=True)
class Erased:
    """How many records are gone."""

    answers: int
    grades: int
    job_rows: int


def export(tx: Transaction, candidate: str) -> dict[str, Any]:
    """Everything about one candidate, ready for JSON; raises UnknownRecord when there is nothing."""
    found = tx.execute(select(answers).where(answers.c.candidate == candidate).order_by(answers.c.created_at)).all()
    rows = tx.execute(
        select(job_rows).where(job_rows.c.candidate == candidate).order_by(job_rows.c.job_id, job_rows.c.row)
    ).all()
    if not found and not rows:
        raise UnknownRecord("candidate", candidate)
    return {
        "candidate": candidate,
        "exported_at": tx.now.isoformat(),
        "answers": [_answer(tx, row) for row in found],
        "job_rows": [
            {
                "job_id": row.job_id,
                "row": row.row,
                "id": row.client_id,
                "state": row.state,
                "error": row.error,
                "request": row.request,
                "grade_id": row.grade_id,
                "result": row.result,
            }
            for row in rows
        ],
    }


def _answer(tx: Transaction, row: Any) -> dict[str, Any]:
    history = tx.execute(select(grades).where(grades.c.answer_id == row.id).order_by(grades.c.sequence))
    return {
        "id": row.id,
        "question_id": row.question_id,
        "question": row.question,
        "answer": row.answer,
        "hints": row.hints,
        "created_at": row.created_at.isoformat(),
        "grades": [
            {
                "kind": grade.kind,
                "created_at": grade.created_at.isoformat(),
                "supersedes": grade.supersedes,
                "review": grade.review,
                "grade": grade.grade,
            }
            for grade in history
        ],
    }


def erase(tx: Transaction, candidate: str, actor: str) -> Erased:
    """Deletes everything about one candidate; raises UnknownRecord when there is nothing.

    The note of it says how much, not who: their reference is personal, too.
    """
    erased = _delete(tx, answers.c.candidate == candidate, job_rows.c.candidate == candidate)
    if erased == Erased(0, 0, 0):
        raise UnknownRecord("candidate", candidate)
    _note(tx, actor, "candidate.erased", erased)
    return erased


def retain(tx: Transaction, older_than: datetime, actor: str) -> Erased:
    """Deletes every answer that came in before a moment, with its grades, and jobs that ended before it."""
    old_jobs = select(jobs.c.id).where(jobs.c.finished_at < older_than)
    erased = _delete(tx, answers.c.created_at < older_than, job_rows.c.job_id.in_(old_jobs))
    tx.execute(delete(jobs).where(jobs.c.finished_at < older_than, ~exists().where(job_rows.c.job_id == jobs.c.id)))
    idempotency.purge(tx)
    if erased != Erased(0, 0, 0):
        _note(tx, actor, "retention.applied", erased)
    return erased


def _delete(tx: Transaction, of_answers: ColumnElement[bool], of_rows: ColumnElement[bool]) -> Erased:
    """Grades point at earlier grades of the same answer, so the latest of each go first."""
    rows = tx.execute(delete(job_rows).where(of_rows)).rowcount
    ids = select(answers.c.id).where(of_answers)
    doomed = grades.c.answer_id.in_(ids)
    removed = 0
    # A grade that nothing replaces and no override is about can go; each round uncovers the ones before it.
    while count := tx.execute(delete(grades).where(doomed, grades.c.sequence.in_(_unreferenced(doomed)))).rowcount:
        removed += count
    return Erased(tx.execute(delete(answers).where(of_answers)).rowcount, removed, rows)


def _unreferenced(doomed: ColumnElement[bool]) -> Any:
    later, about = grades.alias("later"), grades.alias("about")
    return select(grades.c.sequence).where(
        doomed,
        ~exists().where(later.c.supersedes == grades.c.id),
        ~exists().where(about.c.machine_grade_id == grades.c.id),
    )


def _note(tx: Transaction, actor: str, action: events.Action, erased: Erased) -> None:
    events.add(tx, actor, action, answers=erased.answers, grades=erased.grades, job_rows=erased.job_rows)
