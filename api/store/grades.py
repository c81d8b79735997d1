"""Answers and grades: kept, found, overridden, regraded. A grade is never changed; what replaces it points to it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, Select, exists, select

from api.store import events
from api.store.engine import Transaction, insert_new, insert_row
from api.store.errors import Conflict, StoreError, UnknownRecord
from api.store.tables import answers, grades, versions
from api.texts import say
from grader.bank import question_from_inline
from grader.review import reviewed
from grader.schema import Grade, InlineQuestion, Outcome, Question, Verdict

Kind = Literal["grade", "override", "regrade"]


@dataclass(frozen=True)
class StoredGrade:
    """A grade with the answer it is of, and where it stands in the history of that answer."""

    grade: Grade
    answer: str
    question: InlineQuestion | None  # None: of the bank
    candidate: str | None
    key_id: str | None
    kind: Kind
    created_at: datetime
    supersedes: str | None
    superseded_by: str | None
    author: str | None  # of an override
    reason: str | None
    sequence: int
    answered_at: datetime  # `created_at` is later where a person or a newer grader has graded it again
    hints: tuple[str, ...]  # ids of the criteria whose hints were seen before the answer was sent

    @property
    def id(self) -> str:
        return self.grade.id

    @property
    def question_id(self) -> str:
        return self.grade.question_id


@dataclass(frozen=True)
class Review:
    """What a person says of a grade, and why. Nothing but author and reason: they confirm it."""

    author: str
    reason: str
    score: float | None = None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()  # ids of misconceptions that are none

    def content(self) -> dict[str, Any]:
        """What is kept of it; `criteria` tells agreement which verdicts a person has really looked at."""
        return {
            "author": self.author,
            "reason": self.reason,
            "score": self.score,
            "criteria": dict(self.verdicts),
            "dropped": sorted(self.dropped),
        }


@dataclass(frozen=True)
class Filter:
    """Which grades are wanted; None means any. `owner` is the id of the key they were made with."""

    outcome: Outcome | None = None
    question_id: str | None = None
    candidate: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    owner: str | None = None
    history: bool = False  # also what was superseded


@dataclass(frozen=True)
class Page:
    """Some grades, newest first, and where the next page begins (None: this was the last)."""

    grades: list[StoredGrade]
    next_cursor: int | None


# ---- writing ---------------------------------------------------------------------------------------------------------


def new_id(prefix: str) -> str:
    """A random id that nobody can guess: 128 bits."""
    return f"{prefix}_{secrets.token_hex(16)}"


def add(
    tx: Transaction,
    grade: Grade,
    *,
    answer: str,
    question: Question | InlineQuestion,
    candidate: str | None = None,
    key_id: str | None = None,
    hints: Sequence[str] | None = None,
) -> StoredGrade:
    """Keeps an answer and its grade; the grade comes back with the id it is kept under.

    The id a grade comes with is a hash of its content, so the same answer of two people has the same; a record has its own.
    """
    answer_id = new_id("ans")
    inline = question if isinstance(question, InlineQuestion) else None
    row = {
        "id": answer_id,
        "question_id": grade.question_id,
        "question": inline.model_dump(mode="json") if inline else None,
        "answer": answer,
        "hints": None if hints is None else list(hints),
        "candidate": candidate,
        "key_id": key_id,
        "created_at": tx.now,
    }
    insert_row(tx, answers, row)
    if isinstance(question, Question):
        keep_version(tx, "rubric", grade.provenance.rubric, question.model_dump(mode="json"))
    grade_id = _insert(tx, grade, answer_id=answer_id, kind="grade", key_id=key_id)
    return get(tx, grade_id)


def override(
    tx: Transaction, grade_id: str, review: Review, *, key_id: str | None = None, owner: str | None = None
) -> tuple[StoredGrade, StoredGrade]:
    """Puts a person's word in the place of a grade; what it was before and what it is now.

    Raises UnknownRecord, InvalidReview, and Conflict when the grade was superseded meanwhile.
    """
    before = _current(tx, grade_id, owner)
    after = reviewed(
        rubric_of(tx, before), before.grade, verdicts=review.verdicts, dropped=review.dropped, score=review.score
    )
    machine = tx.execute(select(grades.c.machine_grade_id).where(grades.c.id == grade_id)).scalar() or grade_id
    new = _insert(
        tx,
        after,
        answer_id=_answer_id(tx, grade_id),
        kind="override",
        key_id=key_id,
        supersedes=grade_id,
        machine_grade_id=machine,
        review=review.content(),
    )
    events.add(tx, key_id or "local", "grade.overridden", new, before=grade_id)
    return get(tx, grade_id), get(tx, new)


def regrade(tx: Transaction, grade_id: str, grade: Grade, question: Question | InlineQuestion) -> StoredGrade:
    """Puts a newer grade of the machine in the place of an older one; raises Conflict when that was superseded meanwhile."""
    _current(tx, grade_id, None)
    if isinstance(question, Question):
        keep_version(tx, "rubric", grade.provenance.rubric, question.model_dump(mode="json"))
    new = _insert(tx, grade, answer_id=_answer_id(tx, grade_id), kind="regrade", key_id=None, supersedes=grade_id)
    events.add(tx, "command line", "grade.regraded", new, before=grade_id)
    return get(tx, new)


def keep_version(tx: Transaction, kind: Literal["rubric", "calibration"], version: str, content: object) -> None:
    """Keeps what a version was, the first time it is used, so that an old grade can be explained later."""
    found = tx.execute(select(versions.c.version).where(versions.c.kind == kind, versions.c.version == version))
    if found.first() is None:
        insert_new(tx, versions, {"kind": kind, "version": version, "content": content, "first_used_at": tx.now})


def _insert(tx: Transaction, grade: Grade, **columns: Any) -> str:
    grade_id = new_id("grd")
    row = {
        "id": grade_id,
        "question_id": grade.question_id,
        "rubric": grade.provenance.rubric,
        "outcome": grade.outcome,
        "score": grade.score,
        "grade": grade.model_copy(update={"id": grade_id}).model_dump(mode="json"),
        "created_at": tx.now,
        **columns,
    }
    insert_row(tx, grades, row)
    return grade_id


def _current(tx: Transaction, grade_id: str, owner: str | None) -> StoredGrade:
    found = get(tx, grade_id, owner)
    if found.superseded_by is not None:
        raise Conflict(say("refused.conflict.superseded", id=grade_id, by=found.superseded_by))
    return found


def _answer_id(tx: Transaction, grade_id: str) -> str:
    found: str = tx.execute(select(grades.c.answer_id).where(grades.c.id == grade_id)).scalar_one()
    return found


# ---- reading ---------------------------------------------------------------------------------------------------------


def get(tx: Transaction, grade_id: str, owner: str | None = None) -> StoredGrade:
    """One grade; raises UnknownRecord when there is none or, with `owner`, when another key made it."""
    wanted = _selected().where(grades.c.id == grade_id)
    if owner is not None:
        wanted = wanted.where(answers.c.key_id == owner)
    row = tx.execute(wanted).first()
    if row is None:
        raise UnknownRecord("grade", grade_id)
    return _stored(row)


def find(tx: Transaction, wanted: Filter, cursor: int | None = None, limit: int = 50) -> Page:
    """Grades that fit a filter, newest first; `cursor` is what the page before gave."""
    query = _selected().where(*_conditions(wanted)).order_by(grades.c.sequence.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(grades.c.sequence < cursor)
    found = [_stored(row) for row in tx.execute(query)]
    return Page(found[:limit], found[limit - 1].sequence if len(found) > limit else None)


def history(tx: Transaction, grade_id: str, owner: str | None = None) -> list[StoredGrade]:
    """Every grade of the same answer, oldest first."""
    get(tx, grade_id, owner)
    query = _selected().where(grades.c.answer_id == _answer_id(tx, grade_id)).order_by(grades.c.sequence)
    return [_stored(row) for row in tx.execute(query)]


def rubric_of(tx: Transaction, stored: StoredGrade) -> Question:
    """The question as it was when the answer was graded."""
    if stored.question is not None:
        return question_from_inline(stored.question)
    version = stored.grade.provenance.rubric
    wanted = select(versions.c.content).where(versions.c.kind == "rubric", versions.c.version == version)
    content = tx.execute(wanted).scalar()
    if content is None:
        raise StoreError(say("refused.database.no_rubric", version=version, id=stored.id))
    return Question.model_validate(content)


def _selected() -> Select[Any]:
    later = grades.alias("later")
    superseded_by = select(later.c.id).where(later.c.supersedes == grades.c.id).scalar_subquery()
    return select(
        grades,
        answers.c.answer,
        answers.c.question,
        answers.c.hints,
        answers.c.created_at.label("answered_at"),
        answers.c.candidate,
        answers.c.key_id.label("owner"),
        superseded_by.label("superseded_by"),
    ).join(answers, answers.c.id == grades.c.answer_id)


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    equal = {
        grades.c.outcome: wanted.outcome,
        grades.c.question_id: wanted.question_id,
        answers.c.candidate: wanted.candidate,
        answers.c.key_id: wanted.owner,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if wanted.since is not None:
        conditions.append(grades.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(grades.c.created_at < wanted.until)
    if not wanted.history:
        later = grades.alias("replacing")
        conditions.append(~exists().where(later.c.supersedes == grades.c.id))
    return conditions


def _stored(row: Row[Any]) -> StoredGrade:
    review = row.review or {}
    return StoredGrade(
        grade=Grade.model_validate(row.grade),
        answer=row.answer,
        question=InlineQuestion.model_validate(row.question) if row.question else None,
        candidate=row.candidate,
        key_id=row.owner,
        kind=row.kind,
        created_at=row.created_at,
        supersedes=row.supersedes,
        superseded_by=row.superseded_by,
        author=review.get("author"),
        reason=review.get("reason"),
        sequence=row.sequence,
        answered_at=row.answered_at,
        hints=tuple(row.hints or ()),
    )
