"""How the questions of a bank do: difficulty, points nobody earns, grades that people change. Works on grades alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.store.grades import StoredGrade
from api.web.profile import by_question
from grader.schema import Criterion, Question

# Answers; below, "nobody earns this point" says more about chance than about the point.
ENOUGH_ANSWERS = 5


@dataclass(frozen=True)
class Item:
    """One question over all its grades. `difficulty` is 1 - mean score / 100; shares are of `answers`."""

    question: Question
    answers: int
    mean: float | None
    difficulty: float | None
    spread: float | None  # standard deviation of the scores, in points
    unscored: int
    never_earned: tuple[Criterion, ...]  # empty while there are too few answers to say
    review_share: float | None
    override_rate: float | None


def items(questions: Sequence[Question], stored: Sequence[StoredGrade]) -> list[Item]:
    """One line a question, in the bank's order; `stored` are grades that stand (nothing superseded)."""
    grouped = dict(by_question(list(stored)))
    return [_item(question, grouped.get(question.id, [])) for question in questions]


def _item(question: Question, stored: Sequence[StoredGrade]) -> Item:
    scores = [one.grade.score for one in stored if one.grade.score is not None]
    mean = sum(scores) / len(scores) if scores else None
    spread = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5 if mean is not None else None
    earned = {result.id for one in stored for result in one.grade.criteria if result.points > 0}
    never = tuple(c for c in question.criteria if c.id not in earned) if len(scores) >= ENOUGH_ANSWERS else ()
    count = len(stored)
    return Item(
        question=question,
        answers=count,
        mean=mean,
        difficulty=None if mean is None else 1 - mean / 100,
        spread=spread,
        unscored=count - len(scores),
        never_earned=never,
        review_share=sum(one.grade.outcome == "needs_review" for one in stored) / count if count else None,
        override_rate=sum(one.kind == "override" for one in stored) / count if count else None,
    )
