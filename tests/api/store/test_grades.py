"""Grades over time: kept as they were, found, overridden, regraded; never changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from api.store import Conflict, Store, UnknownRecord, agreement, events, grades, keys
from api.store.grades import Filter, Review
from api.store.tables import answers, versions
from grader.errors import InvalidReview
from grader.pipeline import Grader
from grader.schema import Grade, Question
from tests.api.store.conftest import ANSWER, SKY, Clock

Keep = Callable[..., grades.StoredGrade]


def test_a_grade_comes_back_to_the_last_digit(store: Store, keep: Keep, graded: Grade) -> None:
    kept = keep(candidate="anna")
    assert kept.grade == graded.model_copy(update={"id": kept.id})
    with store.read() as tx:
        assert grades.get(tx, kept.id) == kept
    assert (kept.kind, kept.answer, kept.candidate, kept.created_at) == ("grade", ANSWER, "anna", store.clock())


@pytest.mark.parametrize(
    "answer", ["nul \x00 and \x1b", "emoji 👩‍🔬 café", "مرحبا", '"\\u0000" \\ %s :x', " \n\t", "x" * 20_000]
)
def test_any_answer_comes_back_as_it_was_sent(keep: Keep, answer: str) -> None:
    assert keep(answer=answer).answer == answer


def test_an_inline_question_is_kept_with_the_answer(store: Store, keep: Keep, fast_grader: Grader) -> None:
    kept = keep(grade=fast_grader.grade(SKY, "Air scatters light."), question=SKY, answer="Air scatters light.")
    assert kept.question == SKY
    with store.read() as tx:
        rubric = grades.rubric_of(tx, kept)
        assert [criterion.id for criterion in rubric.criteria] == [one.id for one in kept.grade.criteria]
        assert tx.execute(select(func.count()).select_from(versions)).scalar() == 0


def test_the_rubric_is_kept_once_as_it_was(store: Store, keep: Keep, question: Question) -> None:
    first = keep()
    keep()
    with store.read() as tx:
        assert grades.rubric_of(tx, first) == question
        assert tx.execute(select(func.count()).select_from(versions)).scalar() == 1


def test_an_unknown_grade_and_somebody_elses_are_the_same_to_who_asks(store: Store, keep: Keep) -> None:
    with store.write() as tx:
        mine, _ = keys.create(tx, "mine", "candidate")
        other, _ = keys.create(tx, "other", "candidate")
    kept = keep(key_id=mine.id)
    with store.read() as tx:
        assert grades.get(tx, kept.id, mine.id) == kept
        for grade_id, owner in ((kept.id, other.id), ("grd_none", None)):
            with pytest.raises(UnknownRecord):
                grades.get(tx, grade_id, owner)


# ---- finding ---------------------------------------------------------------------------------------------------------


def test_pages_hold_every_grade_once_newest_first(store: Store, keep: Keep, clock: Clock) -> None:
    kept = []
    for number in range(11):
        clock.advance(seconds=-60 if number == 5 else 1)  # a clock that is set back does not disturb the order
        kept.append(keep(candidate=f"c{number}").id)
    found, cursor = [], None
    with store.read() as tx:
        while True:
            page = grades.find(tx, Filter(), cursor, limit=4)
            found += [one.id for one in page.grades]
            if (cursor := page.next_cursor) is None:
                break
    assert found == kept[::-1]


def test_a_page_is_not_disturbed_by_new_grades(store: Store, keep: Keep) -> None:
    kept = [keep().id for _ in range(4)]
    with store.read() as tx:
        first = grades.find(tx, Filter(), limit=2)
    keep()
    with store.read() as tx:
        second = grades.find(tx, Filter(), first.next_cursor, limit=2)
    assert [one.id for one in (*first.grades, *second.grades)] == kept[::-1]
    assert second.next_cursor is None


def test_every_filter_filters(store: Store, keep: Keep, graded: Grade, clock: Clock) -> None:
    start = clock.now
    a = keep(candidate="anna", grade=graded.model_copy(update={"outcome": "needs_review"}))
    clock.advance(hours=1)
    b = keep(candidate="ben", grade=graded.model_copy(update={"outcome": "graded", "question_id": "autograd"}))
    clock.advance(hours=1)

    def found(**wanted: object) -> set[str]:
        with store.read() as tx:
            return {one.id for one in grades.find(tx, Filter(**wanted)).grades}  # type: ignore[arg-type]

    assert found() == {a.id, b.id}
    assert found(outcome="needs_review") == {a.id}
    assert found(question_id="autograd") == {b.id}
    assert found(candidate="anna") == {a.id}
    assert found(candidate="nobody") == set()
    assert found(until=b.created_at) == {a.id}
    assert found(since=b.created_at) == {b.id}
    assert found(since=start, until=clock.now, candidate="ben", outcome="graded") == {b.id}


# ---- a person's word -------------------------------------------------------------------------------------------------


def test_an_override_is_a_new_grade_that_points_to_the_old_one(store: Store, keep: Keep, clock: Clock) -> None:
    kept = keep(candidate="anna")
    clock.advance(days=1)
    verdicts = {one.id: "met" for one in kept.grade.criteria}
    with store.write() as tx:
        before, after = grades.override(tx, kept.id, Review("Dana", "All there.", verdicts=verdicts))
    assert (before.grade, before.superseded_by) == (kept.grade, after.id)
    assert (after.kind, after.supersedes, after.author, after.reason) == ("override", kept.id, "Dana", "All there.")
    assert (after.candidate, after.answer, after.created_at) == ("anna", ANSWER, clock.now)
    assert after.grade.score == 100
    assert after.grade.score_interval == (100, 100)
    assert after.grade.outcome == "graded"
    assert after.grade.provenance.judge == "person"
    with store.read() as tx:
        assert [one.id for one in grades.history(tx, after.id)] == [kept.id, after.id]
        assert [one.id for one in grades.find(tx, Filter()).grades] == [after.id]
        assert [one.id for one in grades.find(tx, Filter(history=True)).grades] == [after.id, kept.id]
        assert [event.action for event in events.latest(tx, after.id)] == ["grade.overridden"]


def test_a_grade_is_replaced_once(store: Store, keep: Keep) -> None:
    kept = keep()
    with store.write() as tx:
        _, after = grades.override(tx, kept.id, Review("Dana", "first", score=10))
    with pytest.raises(Conflict, match=after.id), store.write() as tx:
        grades.override(tx, kept.id, Review("Eli", "second", score=90))
    with store.write() as tx:
        _, last = grades.override(tx, after.id, Review("Eli", "on top", score=90))
    with store.read() as tx:
        assert [one.grade.score for one in grades.history(tx, kept.id)][1:] == [10, 90]
    assert last.supersedes == after.id


def test_of_two_reviewers_at_once_one_is_told(store: Store, keep: Keep) -> None:
    kept = keep()

    def review(number: int) -> str:
        try:
            with store.write() as tx:
                grades.override(tx, kept.id, Review(f"r{number}", "at once", score=number))
        except Conflict:
            return "told"
        return "kept"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(review, range(8)))
    assert sorted(outcomes) == ["kept"] + ["told"] * 7


def test_a_review_that_does_not_fit_changes_nothing(store: Store, keep: Keep, graded: Grade) -> None:
    kept = keep()
    refused = keep(grade=graded.model_copy(update={"outcome": "not_gradable", "score": None, "score_interval": None}))
    for grade_id, review in (
        (kept.id, Review("Dana", "?", verdicts={"no-such-criterion": "met"})),
        (kept.id, Review("Dana", "?", dropped=frozenset({"no-such-misconception"}))),
        (refused.id, Review("Dana", "confirmed")),
    ):
        with pytest.raises(InvalidReview), store.write() as tx:
            grades.override(tx, grade_id, review)
    with store.read() as tx:
        assert all(one.kind == "grade" for one in grades.find(tx, Filter()).grades)


def test_a_regrade_points_to_what_it_replaces(store: Store, keep: Keep, graded: Grade, question: Question) -> None:
    kept = keep()
    better = graded.model_copy(update={"score": 77.0})
    with store.write() as tx:
        new = grades.regrade(tx, kept.id, better, question)
    assert (new.kind, new.supersedes, new.grade.score) == ("regrade", kept.id, 77.0)
    with store.read() as tx:
        assert tx.execute(select(func.count()).select_from(answers)).scalar() == 1


# ---- agreement -------------------------------------------------------------------------------------------------------


def test_agreement_is_counted_from_the_last_word_on_each_grade(store: Store, keep: Keep, graded: Grade) -> None:
    first, *others = [one.id for one in graded.criteria]
    machine = graded.model_copy(
        update={
            "score": 50.0,
            "score_interval": (40.0, 60.0),
            "criteria": tuple(one.model_copy(update={"verdict": "met"}) for one in graded.criteria),
        }
    )
    reviews = [("met", 50.0), ("met", 58.0), ("not_met", 20.0), ("not_met", 30.0)]
    for verdict, score in reviews:
        kept = keep(grade=machine)
        with store.write() as tx:
            _, draft = grades.override(tx, kept.id, Review("Dana", "draft", score=0))
            grades.override(tx, draft.id, Review("Dana", "final", score=score, verdicts={first: verdict}))  # type: ignore[dict-item]
    with store.read() as tx:
        (found,) = agreement.figures(tx)
        assert agreement.figures(tx, "autograd") == []
    assert (found.question_id, found.reviewed, found.scored) == ("zero-grad", 4, 4)
    assert found.mean_difference == pytest.approx(-10.5)
    assert found.mean_absolute_difference == pytest.approx(14.5)
    assert found.within_interval == 0.5
    assert found.criteria == [agreement.CriterionAgreement(first, 4, 0.5, 0.0)]
    assert others


def test_kappa_is_cohens() -> None:
    """Hand-worked: 50 pairs, 35 equal; chance .25 * .5 + ... gives (.7 - .5) / (1 - .5) = .4."""
    pairs = [("met", "met")] * 20 + [("met", "not_met")] * 5 + [("not_met", "met")] * 10 + [("not_met", "not_met")] * 15
    assert agreement.kappa(pairs) == pytest.approx(0.4)
    assert agreement.kappa([("met", "met")] * 3) is None
