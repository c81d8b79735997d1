"""What a history says: how far each question has come, how each topic goes, which ideas keep being left out.

Works on attempts, oldest first; knows neither store nor request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from api.store.grades import StoredGrade
from api.web.charts import Line, line
from api.web.home import Progress, topic_of
from api.web.profile import by_question
from grader.schema import CriterionResult, Question

# Attempts on a trend, weak ideas on a page.
TREND_LENGTH = 24
MOST_WEAK = 8
# Of one question, so that the list is about more than the latest failure.
MOST_WEAK_OF_ONE = 3
# What a verdict says about needing another look, per point that the idea is worth.
WEAKNESS = {"not_met": 1.0, "contradicted": 1.25, "partial": 0.5}


@dataclass(frozen=True)
class Summary:
    """How much of the bank was tried; `average` is that of the best scores."""

    done: int
    all: int
    average: float | None


@dataclass(frozen=True)
class Trend:
    """The scores of a topic over time, oldest first."""

    topic: str
    scores: tuple[float, ...]
    picture: Line
    bank: str = ""  # its title, where there are several


@dataclass(frozen=True)
class WeakIdea:
    """A point that the latest answer to a question leaves out, half says or gets wrong."""

    question: Question
    result: CriterionResult
    missed: int  # attempts at this question that did not meet it


def progress(attempts: Sequence[StoredGrade]) -> dict[str, Progress]:
    """Attempts and best score by question id."""
    return {
        question_id: Progress(len(found), max((s for one in found if (s := one.grade.score) is not None), default=None))
        for question_id, found in by_question(list(attempts))
    }


def summary(found: dict[str, Progress], questions: Sequence[Question]) -> Summary | None:
    """The whole bank in a line; None before the first attempt."""
    here = [found[question.id] for question in questions if question.id in found]
    best = [one.best for one in here if one.best is not None]
    return Summary(len(here), len(questions), sum(best) / len(best) if best else None) if here else None


def trends(attempts: Sequence[StoredGrade], questions: Sequence[Question], bank: str = "") -> list[Trend]:
    """One for each topic of a bank that was tried, in the bank's order; '' gathers the questions that share none."""
    topics = topic_of(questions)
    scores: dict[str, list[float]] = {topic: [] for topic in topics.values()}
    for one in attempts:
        if one.grade.score is not None and one.question_id in topics:
            scores[topics[one.question_id]].append(one.grade.score)
    return [
        Trend(topic, tuple(found[-TREND_LENGTH:]), line(found[-TREND_LENGTH:]), bank)
        for topic, found in scores.items()
        if found
    ]


def weakest(attempts: Sequence[StoredGrade], questions: Sequence[Question]) -> list[WeakIdea]:
    """The ideas to come back to: missed most often and worth most, by the latest graded attempt at each question."""
    known = {question.id: question for question in questions}
    ideas: list[tuple[float, WeakIdea]] = []
    for question_id, found in by_question([one for one in attempts if one.grade.score is not None]):
        if question_id not in known:
            continue
        for result in found[-1].grade.criteria:
            if weight := WEAKNESS.get(result.verdict, 0.0):
                missed = sum(any(r.id == result.id and r.verdict != "met" for r in one.grade.criteria) for one in found)
                ideas.append((weight * result.max_points * missed, WeakIdea(known[question_id], result, missed)))
    ideas.sort(key=lambda pair: -pair[0])
    taken: Counter[str] = Counter()
    found_ideas: list[WeakIdea] = []
    for _, idea in ideas:
        taken[idea.question.id] += 1
        if taken[idea.question.id] <= MOST_WEAK_OF_ONE:
            found_ideas.append(idea)
    return found_ideas[:MOST_WEAK]
