"""Grades an answer and keeps the grade, once for each idempotency key: what the JSON routes and the pages share.

Blocks; it runs in a worker thread, inside a place of the queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from api.errors import Refused
from api.store import Store, Transaction, grades, idempotency
from api.store.errors import Conflict
from api.store.idempotency import Claim
from grader.assist import JudgeMode
from grader.library import Library
from grader.schema import Grade, InlineQuestion, Question

# How long the second of two equal requests waits for the first, and how often it looks.
PATIENCE_S, FIRST_LOOK_S, LONGEST_LOOK_S = 30.0, 0.01, 0.25


@dataclass(frozen=True)
class Submission:
    """An answer to be graded; `question` is an id of the bank, or a question that came along."""

    question: str | InlineQuestion
    answer: str
    candidate: str | None = None
    key_id: str | None = None
    store: bool = True
    judge: JudgeMode | None = None


def asked(grader: Library, question: str | InlineQuestion) -> Question | InlineQuestion:
    """What is kept with a grade, so that it can be explained and graded again: the question as it is now."""
    return grader.question(question) if isinstance(question, str) else question


def grade_and_keep(grader: Library, store: Store, submission: Submission) -> Grade:
    """The grade of an answer, kept unless the submission says otherwise; raises what `Library.grade` does."""
    grade = grader.grade(submission.question, submission.answer, submission.judge)
    if not submission.store:
        return grade
    with store.write() as tx:
        return _keep(tx, grader, submission, grade).grade


def grade_once(
    grader: Library, store: Store, submission: Submission, *, scope: str, key: str, body: Any
) -> tuple[Grade, bool]:
    """The same, at most once for a key: the grade, and whether it was there before.

    Raises Conflict when the key came with another body, Refused (409) when the first request does not end in time.
    """
    mark = idempotency.fingerprint(body)
    claim = _claim(store, scope, key, mark)
    if claim.state == "done" and claim.grade_id is not None:
        with store.read() as tx:
            return grades.get(tx, claim.grade_id).grade, True
    if claim.state == "done":  # kept nothing: grading is a function of the answer, so it gives the same once more
        return grader.grade(submission.question, submission.answer, submission.judge), True
    with _released_on_error(store, scope, key):
        grade = grader.grade(submission.question, submission.answer, submission.judge)
        with store.write() as tx:
            kept = _keep(tx, grader, submission, grade) if submission.store else None
            idempotency.settle(tx, scope, key, grade_id=kept.id if kept else None)
    return (kept.grade if kept else grade), False


def _keep(tx: Transaction, grader: Library, submission: Submission, grade: Grade) -> grades.StoredGrade:
    return grades.add(
        tx,
        grade,
        answer=submission.answer,
        question=asked(grader, submission.question),
        candidate=submission.candidate,
        key_id=submission.key_id,
    )


def _claim(store: Store, scope: str, key: str, mark: str) -> Claim:
    end, pause = time.monotonic() + PATIENCE_S, FIRST_LOOK_S
    while True:
        with store.write() as tx:
            claim = idempotency.claim(tx, scope, key, mark)
        if claim.state == "other_body":
            raise Conflict("This Idempotency-Key came with another body before; use a new key for a new request.")
        if claim.state != "busy":
            return claim
        if time.monotonic() > end:
            detail = "A request with this Idempotency-Key is still being worked on; send it again soon."
            raise Refused(409, "Still in work", detail, retry_after=5)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK_S)


@contextmanager
def _released_on_error(store: Store, scope: str, key: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with store.write() as tx:
            idempotency.release(tx, scope, key)
        raise
