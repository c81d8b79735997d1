"""The score: a pure function, checked by hand and by properties."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grader.schema import Flag, Interval, Judgement, MisconceptionFinding, PointScale, Question
from grader.scoring import not_gradable, score

POINTS = PointScale(low=0.0, high=1.0)
INTERVAL = Interval(quantile=1.0, floor=2.0)
PROBABILITY = st.floats(0, 1)


def question(**changes: Any) -> Question:
    base = {
        "id": "q",
        "prompt": "Why?",
        "reference_answers": ["Because."],
        "criteria": [
            {"id": "a", "statement": "A.", "points": 60, "hint": "a?"},
            {"id": "b", "statement": "B.", "points": 40},
        ],
        "misconceptions": [{"id": "m", "statement": "M.", "correction": "Not M.", "penalty": 25}],
    }
    return Question.model_validate({**base, **changes})


def said(**probabilities: Any) -> list[Judgement]:
    return [Judgement(criterion_id=name, **value) for name, value in probabilities.items()]


MET, PARTLY, MISSING, WRONG = (
    {"p_met": 1.0},
    {"p_met": 0.0, "p_partial": 1.0},
    {"p_met": 0.0},
    {"p_met": 0.0, "p_contradicted": 1.0},
)


def test_points_are_added_up() -> None:
    result = score(question(), said(a=MET, b=PARTLY), [], [], POINTS, INTERVAL)
    assert (result.score, result.coverage, result.outcome) == (80.0, 0.8, "graded")
    assert [(r.verdict, r.points, r.max_points) for r in result.criteria] == [
        ("met", 60.0, 60.0),
        ("partial", 20.0, 40.0),
    ]


def test_a_contradicted_criterion_earns_nothing_and_says_so() -> None:
    result = score(question(), said(a=WRONG, b=MISSING), [], [], POINTS, INTERVAL)
    assert result.score == 0.0
    assert [r.verdict for r in result.criteria] == ["contradicted", "not_met"]


def test_a_misconception_takes_its_penalty_but_never_below_zero() -> None:
    held = [MisconceptionFinding(misconception_id="m", probability=0.9)]
    assert score(question(), said(a=MET, b=MISSING), held, [], POINTS, INTERVAL).score == 35.0
    assert score(question(), said(a=MISSING, b=MISSING), held, [], POINTS, INTERVAL).score == 0.0
    unlikely = [MisconceptionFinding(misconception_id="m", probability=0.4)]
    result = score(question(), said(a=MET, b=MET), unlikely, [], POINTS, INTERVAL)
    assert (result.score, result.misconceptions) == (100.0, ())


def test_of_a_group_only_the_best_count() -> None:
    grouped = question(
        groups=[{"id": "g", "any_of": 2}],
        criteria=[{"id": name, "statement": name, "points": 50, "group": "g"} for name in "abc"],
    )
    result = score(grouped, said(a=MET, b=PARTLY, c=MET), [], [], POINTS, INTERVAL)
    assert result.score == 100.0
    assert [r.points for r in result.criteria] == [50.0, 0.0, 50.0]
    assert score(grouped, said(a=MET, b=MISSING, c=MISSING), [], [], POINTS, INTERVAL).score == 50.0


def test_an_abstained_judgement_earns_nothing_and_goes_to_review() -> None:
    judgements = [Judgement(criterion_id="a", p_met=1.0, abstained=True), Judgement(criterion_id="b", p_met=1.0)]
    result = score(question(), judgements, [], [], POINTS, INTERVAL)
    assert (result.score, result.outcome, result.criteria[0].verdict) == (40.0, "needs_review", "abstained")


def test_an_answer_off_topic_earns_nothing_for_words_that_are_close() -> None:
    flag = Flag(code="off_topic", message="about something else")
    result = score(question(), said(a=MISSING, b=PARTLY), [], [flag], POINTS, INTERVAL)
    assert (result.score, result.outcome, result.flags) == (0.0, "needs_review", (flag,))
    assert {r.verdict for r in result.criteria} == {"not_met"}


def test_an_answer_that_covers_the_points_is_on_topic_whatever_it_looks_like() -> None:
    flag = Flag(code="off_topic", message="about something else")
    result = score(question(), said(a=MET, b=MISSING), [], [flag], POINTS, INTERVAL)
    assert (result.score, result.outcome, result.flags) == (60.0, "graded", ())


def test_two_suspicions_ask_for_twice_the_coverage() -> None:
    flags = [Flag(code="off_topic", message="elsewhere"), Flag(code="off_topic", message="far from every point")]
    assert score(question(), said(a=MISSING, b=MET), [], flags[:1], POINTS, INTERVAL).score == 40.0
    assert score(question(), said(a=MISSING, b=MET), [], flags, POINTS, INTERVAL).score == 0.0
    assert score(question(), said(a=MET, b=MISSING), [], flags, POINTS, INTERVAL).score == 60.0


def test_not_gradable_has_no_number_anywhere() -> None:
    result = not_gradable(question(), "It is empty.")
    assert (result.score, result.interval, result.outcome) == (None, None, "not_gradable")
    assert {r.verdict for r in result.criteria} == {"abstained"}
    assert result.review_reasons == ("It is empty.",)


def test_the_point_scale_stretches_credit() -> None:
    scale = PointScale(low=0.25, high=0.75)
    result = score(question(), said(a={"p_met": 0.75}, b={"p_met": 0.5}), [], [], scale, INTERVAL)
    assert [r.points for r in result.criteria] == [60.0, 20.0]


@given(PROBABILITY, PROBABILITY, PROBABILITY, PROBABILITY)
def test_score_and_interval_stay_in_bounds(a: float, b: float, c: float, penalty: float) -> None:
    judgements = said(a={"p_met": a * b, "p_partial": a * (1 - b)}, b={"p_met": c, "p_contradicted": (1 - c) * b})
    held = [MisconceptionFinding(misconception_id="m", probability=penalty)]
    result = score(question(), judgements, held, [], POINTS, INTERVAL)
    assert result.score is not None and result.interval is not None
    assert 0 <= result.interval[0] <= result.score <= result.interval[1] <= 100
    assert 0 <= result.coverage <= 1
    assert abs(sum(r.points for r in result.criteria) - 100 * result.coverage) < 0.02


@given(PROBABILITY, PROBABILITY)
def test_more_certainty_never_lowers_the_score(low: float, high: float) -> None:
    low, high = sorted((low, high))
    scores = [score(question(), said(a={"p_met": p}, b=MISSING), [], [], POINTS, INTERVAL).score for p in (low, high)]
    assert scores[0] is not None and scores[1] is not None and scores[0] <= scores[1]
