"""The score is computed here: RUBRIC + PROBABILITIES -> POINTS, VERDICTS, OUTCOME.

One pure function, no model, no I/O. The rules, in order:

1. credit of a criterion = P(met) + P(partial) / 2, stretched to 0..1 between the two ends of the point scale;
2. a criterion more likely contradicted than met earns nothing; so does one below `PARTIAL_FROM`;
3. of a group only the best `any_of` count;
4. every misconception found takes its penalty; the score never goes below 0;
5. an answer that looks off topic and covers little earns no points for words that happen to be close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grader.schema import (
    MAX_SCORE,
    CriterionResult,
    Flag,
    FlagCode,
    Interval,
    Judgement,
    MisconceptionFinding,
    MisconceptionResult,
    Outcome,
    PointScale,
    Question,
    Verdict,
)
from grader.texts import say

# Shares of a criterion's points, after stretching: below the first nothing is credited, from the second on all of it.
PARTIAL_FROM = 0.25
MET_FROM = 0.75
# Coverage from which on an answer is on topic in spite of one suspicion, twice as much in spite of two: right answers without
# jargon are far from everything.
ON_TOPIC_COVERAGE = 0.25
# A misconception is charged only when it is more likely than not.
MISCONCEPTION_FROM = 0.5
# Score points; an interval wider than this says too little to act on without a person.
WIDEST_INTERVAL = 65.0

REVIEW_FLAGS: tuple[FlagCode, ...] = (
    "injection_suspected",
    "keyword_list",
    "off_topic",
    "copied_reference",
    "judge_disagrees",
)


@dataclass(frozen=True)
class Scored:
    """The numbers of a grade, before they are put into words."""

    outcome: Outcome
    score: float | None
    interval: tuple[float, float] | None
    coverage: float
    criteria: tuple[CriterionResult, ...]
    misconceptions: tuple[MisconceptionResult, ...]
    review_reasons: tuple[str, ...]
    flags: tuple[Flag, ...]  # those that stand


def score(
    question: Question,
    judgements: Sequence[Judgement],
    findings: Sequence[MisconceptionFinding],
    flags: Sequence[Flag],
    points: PointScale,
    interval: Interval,
) -> Scored:
    """Adds the points up. `judgements` has one entry a criterion, in the question's order."""
    shares = [_share(judgement, points) for judgement in judgements]
    if suspicions := sum(flag.code == "off_topic" for flag in flags):
        if _earned(question, shares) >= suspicions * ON_TOPIC_COVERAGE * MAX_SCORE:
            flags = [flag for flag in flags if flag.code != "off_topic"]
        else:
            shares = [0.0] * len(shares)
    off_topic = any(flag.code == "off_topic" for flag in flags)
    counts = counted(question, shares)
    results = tuple(
        _result(question, number, judgement, share, number in counts, off_topic)
        for number, (judgement, share) in enumerate(zip(judgements, shares, strict=True))
    )
    held = tuple(_charged(question, finding) for finding in findings if _is_held(finding))
    earned = sum(result.points for result in results)
    total = round(min(MAX_SCORE, max(0.0, earned - sum(result.penalty for result in held))), 1)
    width = interval.quantile * sigma(question, judgements, interval.floor)
    low, high = round(max(0.0, total - width), 1), round(min(float(MAX_SCORE), total + width), 1)
    reasons = _review_reasons(flags, results, high - low)
    return Scored(
        outcome="needs_review" if reasons else "graded",
        score=total,
        interval=(low, high),
        coverage=round(min(1.0, earned / MAX_SCORE), 4),
        criteria=results,
        misconceptions=held,
        review_reasons=reasons,
        flags=tuple(flags),
    )


def not_gradable(question: Question, reason: str, flags: Sequence[Flag] = ()) -> Scored:
    """A grade without a number: nothing was judged, and nobody should read a zero into it."""
    results = tuple(
        CriterionResult(
            id=criterion.id,
            statement=criterion.statement,
            verdict="abstained",
            probability=0.0,
            points=0.0,
            max_points=round(criterion.points, 2),
            evidence=(),
            judged_by="encoder",
            hint=criterion.hint,
            group=criterion.group,
        )
        for criterion in question.criteria
    )
    return Scored("not_gradable", None, None, 0.0, results, (), (reason,), tuple(flags))


def credit(judgement: Judgement) -> float:
    """Expected share of the points, 0..1, as the judge sees it."""
    return judgement.p_met + 0.5 * judgement.p_partial


def _share(judgement: Judgement, points: PointScale) -> float:
    """Share of the criterion's points after stretching; 0 where a wrong version is the likelier reading."""
    if judgement.abstained or judgement.p_contradicted > judgement.p_met + judgement.p_partial:
        return 0.0
    share = min(1.0, max(0.0, (credit(judgement) - points.low) / (points.high - points.low)))
    return 0.0 if share < PARTIAL_FROM else share


def _verdict(judgement: Judgement, share: float, off_topic: bool) -> Verdict:
    if judgement.abstained:
        return "abstained"
    others = max(
        judgement.p_met + judgement.p_partial, 1 - judgement.p_met - judgement.p_partial - judgement.p_contradicted
    )
    if judgement.p_contradicted > others and not off_topic:
        return "contradicted"
    if share >= MET_FROM:
        return "met"
    return "partial" if share >= PARTIAL_FROM else "not_met"


def _earned(question: Question, shares: Sequence[float]) -> float:
    return sum(question.criteria[number].points * shares[number] for number in counted(question, shares))


def counted(question: Question, shares: Sequence[float]) -> set[int]:
    """Indices of the criteria whose points count: all without a group, and the best `any_of` of each group."""
    counted = {number for number, criterion in enumerate(question.criteria) if criterion.group is None}
    for group in question.groups:
        members = [number for number, criterion in enumerate(question.criteria) if criterion.group == group.id]
        counted.update(sorted(members, key=lambda number: (-shares[number], number))[: group.any_of])
    return counted


def _result(
    question: Question, number: int, judgement: Judgement, share: float, counts: bool, off_topic: bool
) -> CriterionResult:
    criterion = question.criteria[number]
    verdict = _verdict(judgement, share, off_topic)
    earned = criterion.points * (1.0 if verdict == "met" else share) if counts else 0.0
    return CriterionResult(
        id=criterion.id,
        statement=criterion.statement,
        verdict=verdict,
        probability=round(judgement.p_met, 4),
        points=round(earned, 2),
        max_points=round(criterion.points, 2),
        evidence=judgement.evidence if verdict in {"met", "partial", "contradicted"} else (),
        judged_by=judgement.judged_by,
        hint=criterion.hint,
        group=criterion.group,
    )


def _is_held(finding: MisconceptionFinding) -> bool:
    return finding.probability >= MISCONCEPTION_FROM


def _charged(question: Question, finding: MisconceptionFinding) -> MisconceptionResult:
    misconception = next(m for m in question.misconceptions if m.id == finding.misconception_id)
    return MisconceptionResult(
        id=misconception.id,
        statement=misconception.statement,
        evidence=finding.evidence,
        penalty=round(misconception.penalty, 2),
        correction=misconception.correction,
        source=misconception.source,
    )


def sigma(question: Question, judgements: Sequence[Judgement], floor: float) -> float:
    """Standard deviation of the score, in points, if the judge's probabilities were right; `floor` adds what it misses."""
    credits = [credit(judgement) for judgement in judgements]
    variance = floor**2
    for number in counted(question, credits):
        judgement = judgements[number]
        spread = judgement.p_met + 0.25 * judgement.p_partial - credits[number] ** 2
        variance += question.criteria[number].points ** 2 * max(0.0, spread)
    return math.sqrt(variance)


def _review_reasons(flags: Sequence[Flag], results: Sequence[CriterionResult], width: float) -> tuple[str, ...]:
    reasons = [say(f"grade.reason.{code}") for code in REVIEW_FLAGS if any(flag.code == code for flag in flags)]
    if any(result.verdict == "abstained" for result in results):
        reasons.append(say("grade.reason.abstained"))
    if width > WIDEST_INTERVAL:
        reasons.append(say("grade.reason.uncertain", points=f"{width:.0f}"))
    return tuple(reasons)
