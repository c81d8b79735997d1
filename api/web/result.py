"""What a result page shows, worked out from the grade: the template only lays it out.

Candidates read these pages: hints and labels are in here, statements of criteria and references are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api.texts import say
from api.web.charts import Gauge, Line, gauge, line
from api.web.compare import Comparison
from api.web.highlight import Piece, pieces
from grader.schema import CriterionResult, EvidenceSpan, Flag, Grade, Question

GroupName = Literal["contradicted", "met", "partial", "not_met", "abstained"]
# The order on the page; a sign beside each, so that no meaning hangs on colour alone.
GROUPS: tuple[tuple[GroupName, str], ...] = (
    ("met", "✓"),
    ("partial", "◐"),
    ("not_met", "○"),
    ("contradicted", "✗"),
    ("abstained", "–"),
)
SIGNS: dict[str, str] = {**dict(GROUPS), "misconception": "✗", "flag": "!"}
# Score points; from here on the page says to take the number with care.
WIDE_INTERVAL = 50.0


@dataclass(frozen=True)
class Point:
    """A criterion as it stands on the page; `words` says whether there are marked words to lead to."""

    number: int
    result: CriterionResult
    words: bool


@dataclass(frozen=True)
class PointGroup:
    """All points with the same verdict."""

    verdict: GroupName
    sign: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Correction:
    """A wrong belief, the words it shows in, and what is right; `source` is where to read about it."""

    number: int
    id: str
    evidence: tuple[EvidenceSpan, ...]
    penalty: float
    text: str
    source: str | None


@dataclass(frozen=True)
class Step:
    """Something to do next: words, or an address to read (`url`)."""

    text: str
    url: str | None


@dataclass(frozen=True)
class Result:
    """Everything on a result page. `course` are the scores of this question so far, this one last."""

    question: Question
    answer: str
    grade: Grade
    pieces: tuple[Piece, ...]
    groups: tuple[PointGroup, ...]
    corrections: tuple[Correction, ...]
    steps: tuple[Step, ...]
    gauge: Gauge | None
    comparison: Comparison | None
    scores: tuple[float, ...]
    course: Line | None
    hints_used: int

    @property
    def earned(self) -> float:
        return round(sum(result.points for result in self.grade.criteria), 1)

    @property
    def penalties(self) -> float:
        return round(sum(found.penalty for found in self.grade.misconceptions), 1)

    @property
    def notes(self) -> tuple[Flag, ...]:
        """The flags that the summary does not already put into words."""
        return tuple(flag for flag in self.grade.flags if flag.message not in self.grade.feedback.summary)

    @property
    def is_wide(self) -> bool:
        interval = self.grade.score_interval
        return interval is not None and interval[1] - interval[0] >= WIDE_INTERVAL

    @property
    def by_llm(self) -> bool:
        return any(result.judged_by == "llm" for result in self.grade.criteria)

    def shown(self, names: Sequence[GroupName]) -> tuple[PointGroup, ...]:
        """The groups of these names, in the page's order."""
        return tuple(group for group in self.groups if group.verdict in names)


def result_of(
    question: Question,
    answer: str,
    grade: Grade,
    comparison: Comparison | None = None,
    earlier: Sequence[float] = (),
    hints_used: int = 0,
) -> Result:
    """The result page of a grade; `earlier` are the scores of the attempts before, oldest first."""
    cut = tuple(pieces(answer, grade))
    scores = (*earlier, *([] if grade.score is None else [grade.score]))
    shown = grade.score is not None and grade.score_interval is not None
    return Result(
        question=question,
        answer=answer,
        grade=grade,
        pieces=cut,
        groups=_groups(grade, {mark.number for piece in cut for mark in piece.marks}) if shown else (),
        corrections=_corrections(question, grade),
        steps=tuple(_step(text) for text in grade.feedback.next_steps),
        gauge=gauge(grade.score or 0.0, grade.score_interval or (0.0, 100.0), earlier[-1] if earlier else None)
        if shown
        else None,
        comparison=comparison,
        scores=scores,
        course=line(scores) if len(scores) > 1 else None,
        hints_used=hints_used,
    )


def _groups(grade: Grade, marked: set[int]) -> tuple[PointGroup, ...]:
    points = [Point(number, result, number in marked) for number, result in enumerate(grade.criteria, start=1)]
    return tuple(
        PointGroup(verdict, sign, found)
        for verdict, sign in GROUPS
        if (found := tuple(point for point in points if point.result.verdict == verdict))
    )


def _corrections(question: Question, grade: Grade) -> tuple[Correction, ...]:
    fallback = question.sources[0] if question.sources else None
    return tuple(
        Correction(number, found.id, found.evidence, found.penalty, found.correction, found.source or fallback)
        for number, found in enumerate(grade.misconceptions, start=len(grade.criteria) + 1)
    )


def _step(text: str) -> Step:
    read = say("grade.next.read", source="")
    return Step("", text.removeprefix(read)) if text.startswith(f"{read}http") else Step(text, None)
