"""How far people and the grader agree: per question, and per criterion, over every grade that a person has reviewed.

Whoever reviews only what looks wrong will read too little agreement here: a review that changes nothing counts as well,
and a fair figure needs reviews of grades that were picked at random.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select

from api.store.engine import Transaction
from api.store.tables import grades


@dataclass(frozen=True)
class CriterionAgreement:
    """Verdicts on one criterion where a person gave one. `kappa` (Cohen 1960) is None when chance explains all."""

    id: str
    reviewed: int
    agree: float
    kappa: float | None


@dataclass(frozen=True)
class QuestionAgreement:
    """Scores of one question, in points of 100; differences are the person's less the grader's."""

    question_id: str
    reviewed: int
    scored: int  # of these, both gave a score
    mean_difference: float | None
    mean_absolute_difference: float | None
    within_interval: float | None  # share of people's scores in the grader's 90 % interval
    criteria: list[CriterionAgreement]


def figures(tx: Transaction, question_id: str | None = None) -> list[QuestionAgreement]:
    """The figures of every question that was reviewed, or of one; by question id."""
    found: dict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
    for row in tx.execute(_pairs(question_id)):
        found[row.question_id].append((row.machine, row.person, row.review))
    return [_question(name, found[name]) for name in sorted(found)]


def _pairs(question_id: str | None) -> Any:
    """The last word of a person on each machine's grade, beside that grade."""
    person, machine, later = grades.alias("person"), grades.alias("machine"), grades.alias("later")
    last = ~exists().where(later.c.supersedes == person.c.id, later.c.kind == "override")
    wanted = (
        select(machine.c.question_id, machine.c.grade.label("machine"), person.c.grade.label("person"), person.c.review)
        .join(machine, machine.c.id == person.c.machine_grade_id)
        .where(person.c.kind == "override", last)
    )
    return wanted if question_id is None else wanted.where(machine.c.question_id == question_id)


def _question(question_id: str, pairs: Sequence[tuple[Any, Any, Any]]) -> QuestionAgreement:
    scored = [(m, p) for m, p, _ in pairs if m["score"] is not None and p["score"] is not None]
    differences = [p["score"] - m["score"] for m, p in scored]
    within = [m["score_interval"][0] <= p["score"] <= m["score_interval"][1] for m, p in scored]
    return QuestionAgreement(
        question_id=question_id,
        reviewed=len(pairs),
        scored=len(scored),
        mean_difference=_mean(differences, 2),
        mean_absolute_difference=_mean([abs(one) for one in differences], 2),
        within_interval=_mean(within, 4),
        criteria=_criteria(pairs),
    )


def _criteria(pairs: Sequence[tuple[Any, Any, Any]]) -> list[CriterionAgreement]:
    verdicts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for machine, _, review in pairs:
        before = {one["id"]: one["verdict"] for one in machine["criteria"]}
        for criterion, verdict in review["criteria"].items():
            verdicts[criterion].append((before[criterion], verdict))
    return [
        CriterionAgreement(name, len(found), round(_observed(found), 4), kappa(found))
        for name, found in sorted(verdicts.items())
    ]


def _observed(pairs: Sequence[tuple[str, str]]) -> float:
    return sum(one == other for one, other in pairs) / len(pairs)


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen 1960), 1 at best; None when chance alone would always agree."""
    machine, person = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(machine[verdict] * person[verdict] for verdict in machine) / len(pairs) ** 2
    return None if chance == 1 else round((_observed(pairs) - chance) / (1 - chance), 4)


def _mean(values: Iterable[float], digits: int) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), digits) if found else None
