"""A person's word over the machine's: the grade that stands after a review. Pure: no model, no I/O.

A person may settle verdicts, drop misconceptions that are none, set the score, or do none of it and so confirm the grade.
What they do not touch stays as the judge had it; the points follow from the verdicts as they do everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from grader import feedback
from grader.errors import InvalidReview
from grader.schema import MAX_SCORE, CriterionResult, Grade, MisconceptionResult, Question, Verdict
from grader.scoring import Scored, counted
from grader.texts import say

# Share of a criterion's points that a verdict earns when a person gives it.
SHARES: dict[Verdict, float] = {"met": 1.0, "partial": 0.5, "not_met": 0.0, "contradicted": 0.0}


def reviewed(
    question: Question,
    grade: Grade,
    *,
    verdicts: Mapping[str, Verdict] | None = None,
    dropped: Set[str] = frozenset(),
    score: float | None = None,
) -> Grade:
    """The grade after a review: `verdicts` by criterion id, `dropped` ids of misconceptions, `score` in 0..100.

    Raises InvalidReview when an id is not in the grade, or when nothing says what the score of an ungraded answer is.
    """
    verdicts = verdicts or {}
    _check(grade, verdicts, dropped, score)
    criteria = tuple(_settled(result, verdicts.get(result.id)) for result in grade.criteria)
    if verdicts:
        criteria = _within_groups(question, criteria)
    misconceptions = tuple(found for found in grade.misconceptions if found.id not in dropped)
    total = _total(grade, criteria, misconceptions, score, changed=bool(verdicts or dropped))
    earned = sum(result.points for result in criteria)
    scored = Scored(
        outcome="graded",
        score=total,
        interval=(total, total),
        coverage=round(min(1.0, earned / MAX_SCORE), 4),
        criteria=criteria,
        misconceptions=misconceptions,
        review_reasons=(),
        flags=grade.flags,
    )
    return grade.model_copy(
        update={
            "outcome": scored.outcome,
            "score": total,
            "score_interval": scored.interval,
            "coverage": scored.coverage,
            "criteria": criteria,
            "misconceptions": misconceptions,
            "review_reasons": (),
            "feedback": feedback.write(question, scored),
            "provenance": grade.provenance.model_copy(update={"judge": "person"}),
        }
    )


def _check(grade: Grade, verdicts: Mapping[str, Verdict], dropped: Set[str], score: float | None) -> None:
    known = {result.id for result in grade.criteria}
    if unknown := sorted(set(verdicts) - known):
        raise InvalidReview(say("refused.review.criterion", id=repr(unknown[0]), known=", ".join(sorted(known))))
    if unknown := sorted(dropped - {found.id for found in grade.misconceptions}):
        raise InvalidReview(say("refused.review.misconception", id=repr(unknown[0])))
    settled = len(verdicts) == len(known) and known
    if grade.score is None and score is None and not settled:
        raise InvalidReview(say("refused.review.no_score"))


def _settled(result: CriterionResult, verdict: Verdict | None) -> CriterionResult:
    if verdict is None:
        return result
    share = SHARES.get(verdict, 0.0)
    points = round(result.max_points * share, 2)
    return result.model_copy(update={"verdict": verdict, "probability": share, "points": points})


def _within_groups(question: Question, criteria: tuple[CriterionResult, ...]) -> tuple[CriterionResult, ...]:
    """Of each group only the best `any_of` count, as when the machine adds up."""
    shares = [SHARES.get(result.verdict, 0.0) for result in criteria]
    counts = counted(question, shares) if len(question.criteria) == len(criteria) else set(range(len(criteria)))
    return tuple(
        result if number in counts else result.model_copy(update={"points": 0.0})
        for number, result in enumerate(criteria)
    )


def _total(
    grade: Grade,
    criteria: tuple[CriterionResult, ...],
    misconceptions: tuple[MisconceptionResult, ...],
    score: float | None,
    *,
    changed: bool,
) -> float:
    if score is not None:
        return round(score, 1)
    if not changed and grade.score is not None:
        return grade.score
    penalties = sum(found.penalty for found in misconceptions)
    return round(min(float(MAX_SCORE), max(0.0, sum(result.points for result in criteria) - penalties)), 1)
