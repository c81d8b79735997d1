"""A person's word over the machine's, as a pure function."""

from __future__ import annotations

import pytest

from grader.errors import InvalidReview
from grader.pipeline import Grader
from grader.review import reviewed
from grader.schema import Grade, Question

ANSWER = "backward() adds to .grad, so zero_grad() clears the old gradients before the next backward pass."


@pytest.fixture(scope="module")
def question(fast_grader: Grader) -> Question:
    return fast_grader.bank.question("zero-grad")


@pytest.fixture(scope="module")
def grade(fast_grader: Grader) -> Grade:
    return fast_grader.grade("zero-grad", ANSWER)


def test_without_a_word_the_grade_is_confirmed(question: Question, grade: Grade) -> None:
    after = reviewed(question, grade)
    assert (after.score, after.criteria, after.misconceptions) == (grade.score, grade.criteria, grade.misconceptions)
    assert (after.outcome, after.review_reasons, after.score_interval) == ("graded", (), (grade.score, grade.score))
    assert after.provenance.judge == "person"
    assert after.provenance.model_copy(update={"judge": grade.provenance.judge}) == grade.provenance


def test_the_points_follow_from_the_verdicts(question: Question, grade: Grade) -> None:
    first, second, *_ = grade.criteria
    after = reviewed(question, grade, verdicts={first.id: "met", second.id: "partial"})
    settled = {one.id: one for one in after.criteria}
    assert (settled[first.id].points, settled[first.id].verdict) == (first.max_points, "met")
    assert (settled[second.id].points, settled[second.id].verdict) == (second.max_points / 2, "partial")
    penalties = sum(one.penalty for one in after.misconceptions)
    expected = min(100, max(0, sum(one.points for one in after.criteria) - penalties))
    assert after.score == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("verdict", "score"), [("met", 100), ("partial", 50), ("not_met", 0), ("contradicted", 0)])
def test_a_verdict_for_all_settles_an_answer_that_had_no_score(
    question: Question, grade: Grade, verdict: str, score: float
) -> None:
    refused = grade.model_copy(
        update={"outcome": "not_gradable", "score": None, "score_interval": None, "misconceptions": ()}
    )
    after = reviewed(question, refused, verdicts={one.id: verdict for one in grade.criteria})  # type: ignore[misc]
    assert after.score == pytest.approx(score, abs=0.1)
    assert after.feedback.summary != refused.feedback.summary or score == 0


def test_of_a_group_only_the_best_count(fast_grader: Grader) -> None:
    grouped = next(question for question in fast_grader.bank.questions if question.groups)
    refused = fast_grader.grade(grouped.id, "?")
    after = reviewed(grouped, refused, verdicts={one.id: "met" for one in refused.criteria})
    assert after.score == 100
    assert sum(one.points for one in after.criteria) == pytest.approx(grouped.possible_points(), abs=0.1)


def test_a_dropped_misconception_costs_nothing(fast_grader: Grader) -> None:
    found = [
        (question, grade)
        for question in fast_grader.bank.questions
        for sample in question.samples
        if sample.misconceptions and (grade := fast_grader.grade(question.id, sample.answer)).misconceptions
    ]
    question, grade = found[0]
    held = grade.misconceptions[0]
    after = reviewed(question, grade, dropped={held.id})
    assert held.id not in {one.id for one in after.misconceptions}
    earned = sum(one.points for one in after.criteria) - sum(one.penalty for one in after.misconceptions)
    assert after.score == pytest.approx(min(100, max(0, earned)), abs=0.1)


def test_a_score_stands_whatever_the_verdicts_say(question: Question, grade: Grade) -> None:
    after = reviewed(question, grade, verdicts={one.id: "met" for one in grade.criteria}, score=12.34)
    assert (after.score, after.score_interval) == (12.3, (12.3, 12.3))


def test_what_does_not_fit_is_refused(question: Question, grade: Grade) -> None:
    refused = grade.model_copy(update={"outcome": "not_gradable", "score": None, "score_interval": None})
    with pytest.raises(InvalidReview, match="it has: "):
        reviewed(question, grade, verdicts={"none": "met"})
    with pytest.raises(InvalidReview, match="can be dropped"):
        reviewed(question, grade, dropped={"none"})
    with pytest.raises(InvalidReview, match="verdict for every criterion"):
        reviewed(question, refused, verdicts={grade.criteria[0].id: "met"})
