"""Both real databases: a SQLite file, and a private PostgreSQL that these tests start on a free port.

Every test that takes `store` or `url` runs on both. Where PostgreSQL is not installed its half is skipped and says how to
get it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from api.store import Store, grades
from grader.pipeline import Grader
from grader.schema import Grade, InlineQuestion, Question

ANSWER = "backward() adds to .grad, so zero_grad() clears the old gradients before the next backward pass."
SKY = InlineQuestion(
    prompt="Why is the sky blue?",
    reference_answers=("Air molecules scatter sunlight. Blue light is scattered far more than red light.",),
)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    """An open, empty store."""
    opened = Store.open(url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def question(fast_grader: Grader) -> Question:
    """A question of the bank."""
    return fast_grader.bank.question("zero-grad")


@pytest.fixture(scope="session")
def graded(fast_grader: Grader) -> Grade:
    """The grade of ANSWER."""
    return fast_grader.grade("zero-grad", ANSWER)


@pytest.fixture
def keep(store: Store, graded: Grade, question: Question) -> Callable[..., grades.StoredGrade]:
    """Keeps a grade: `keep(candidate=..., key_id=..., answer=..., grade=..., question=...)`."""

    def add(
        *,
        grade: Grade = graded,
        question: Question | InlineQuestion = question,
        answer: str = ANSWER,
        candidate: str | None = None,
        key_id: str | None = None,
        hints: Sequence[str] | None = None,
    ) -> grades.StoredGrade:
        with store.write() as tx:
            whose = {"candidate": candidate, "key_id": key_id}
            return grades.add(tx, grade, answer=answer, question=question, hints=hints, **whose)

    return add
