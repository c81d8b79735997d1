"""Grades an answer and keeps the grade, or does any work, once for each idempotency key: what routes and pages share.

Blocks; it runs in a worker thread, inside a place of the queue. Only to wait for an equal request takes no place (`FreeKey`).
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import StringConstraints
from starlette.concurrency import run_in_threadpool

from api.access import Caller
from api.errors import Refused
from api.state import StoreState
from api.store import Store, Transaction, grades, idempotency
from api.store.errors import Conflict, StoreUnavailable
from api.store.idempotency import Claim, ClaimLost
from grader.assist import JudgeMode
from grader.library import Library
from grader.schema import Grade, InlineQuestion, Question

# No control characters, which some databases refuse; no slash and no leading dot, since it is part of an address.
Candidate = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*$")
]
# What an Idempotency-Key is made of: visible ASCII.
KEY_PATTERN = r"^[\x21-\x7e]+$"
_KEY = re.compile(KEY_PATTERN)
Result = TypeVar("Result")
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
    """The same, at most once for a key: the grade, and whether it was there before; raises what `once` does as well."""

    def work(claim: Claim) -> Grade:
        return _work(grader, store, submission, scope, key, claim)

    def again(claim: Claim) -> Grade:
        if claim.grade_id is None:  # kept nothing: grading is a function of the answer, so it gives the same once more
            return grader.grade(submission.question, submission.answer, submission.judge)
        with store.read() as tx:
            return grades.get(tx, claim.grade_id).grade

    return once(store, work, again, scope=scope, key=key, body=body)


def once(
    store: Store,
    work: Callable[[Claim], Result],
    again: Callable[[Claim], Result],
    *,
    scope: str,
    key: str,
    body: Any,
) -> tuple[Result, bool]:
    """What `work` gives, which settles the claim, or what `again` finds of it; and whether it was there before.

    Raises Conflict when the key came with another body, Refused (409) when the first request does not end in time.
    """
    mark = idempotency.fingerprint(body)
    while True:
        claim = _claim(store, scope, key, mark)
        if claim.state == "done":
            return again(claim), True
        # Overtaken by an equal request, because this one took too long: what came of that one is the result.
        with suppress(ClaimLost), _released_on_error(store, scope, key, claim):
            return work(claim), False


def _work(grader: Library, store: Store, submission: Submission, scope: str, key: str, claim: Claim) -> Grade:
    grade = grader.grade(submission.question, submission.answer, submission.judge)
    with store.write() as tx:
        kept = _keep(tx, grader, submission, grade) if submission.store else None
        idempotency.settle(tx, scope, key, claim, grade_id=kept.id if kept else None)
    return kept.grade if kept else grade


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
        claim = _claimed_once(store, scope, key, mark)
        if claim.state == "other_body":
            raise Conflict("This Idempotency-Key came with another body before; use a new key for a new request.")
        if claim.state != "busy":
            return claim
        if time.monotonic() > end:
            raise _still_in_work()
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK_S)


def _claimed_once(store: Store, scope: str, key: str, mark: str) -> Claim:
    until = None
    try:
        with store.write() as tx:
            until = tx.now + idempotency.LEASE
            claim = idempotency.claim(tx, scope, key, mark, given_up=GIVEN_UP.of(scope, key))
    except StoreUnavailable:
        if until is not None:  # the answer to the commit may be all that was lost
            GIVEN_UP.add(scope, key, until)
        raise
    if claim.state != "busy":
        GIVEN_UP.forget(scope, key)
    return claim


@contextmanager
def _released_on_error(store: Store, scope: str, key: str, claim: Claim) -> Iterator[None]:
    try:
        yield
    except ClaimLost:
        raise
    except BaseException:
        try:
            with store.write() as tx:
                idempotency.release(tx, scope, key, claim)
        except StoreUnavailable:
            assert claim.until is not None
            GIVEN_UP.add(scope, key, claim.until)
        raise


def _still_in_work() -> Refused:
    detail = "A request with this Idempotency-Key is still being worked on; send it again soon."
    return Refused(409, "Still in work", detail, retry_after=5)


# ---- claims that nobody works for --------------------------------------------------------------------------------------


class GivenUp:
    """Claims that could not be released because the database was away: the same request need not wait for their end.

    Only this process knows of them; to all others they are held until the lease ends. Safe to share by threads.
    """

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self._claims: OrderedDict[tuple[str, str], frozenset[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, scope: str, key: str, until: datetime) -> None:
        with self._lock:
            self._claims[(scope, key)] = self._claims.get((scope, key), frozenset()) | {until}
            while len(self._claims) > self.most:
                self._claims.popitem(last=False)

    def of(self, scope: str, key: str) -> frozenset[datetime]:
        """The claims of a key, by the end of their lease, which is a moment of its own for each."""
        return self._claims.get((scope, key), frozenset())

    def forget(self, scope: str, key: str) -> None:
        """They have been taken over or settled."""
        with self._lock:
            self._claims.pop((scope, key), None)


GIVEN_UP = GivenUp()


async def until_free(request: Request) -> None:
    """Waits, without a place or a thread, for an equal request that is in work; raises Refused (409) when it does not end."""
    key, caller = request.headers.get("idempotency-key"), request.scope.get("state", {}).get("caller")
    if caller is None or key is None or _KEY.fullmatch(key) is None:  # the route says what is wrong with it
        return
    stores: StoreState = request.app.state.stores
    scope = scope_of(caller)

    def is_busy() -> bool:
        with stores.open().read() as tx:
            return idempotency.is_busy(tx, scope, key, given_up=GIVEN_UP.of(scope, key))

    end, pause = time.monotonic() + PATIENCE_S, FIRST_LOOK_S
    while await run_in_threadpool(is_busy):
        if time.monotonic() > end:
            raise _still_in_work()
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK_S)


def scope_of(caller: Caller) -> str:
    """Whose idempotency keys a request means: those of one API key, or of an open service."""
    return caller.key_id or ""


# Dependency of a route that grades once for a key, before its place in the queue: requests that only wait for one that is
# in work, or whose process was killed in the middle, would otherwise fill all places.
FreeKey = Depends(until_free)
