"""People over machines: overriding a grade, its history, and how far people and the grader agree."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.access import CurrentCaller
from api.bodies import StrictJson
from api.errors import responses
from api.routes.grades import GradeId, KeptGrade
from api.state import OpenStore
from api.store import agreement, grades
from grader.schema import ExpectedVerdict

router = APIRouter(prefix="/v1", tags=["reviews"], route_class=StrictJson)

# What people write: a name on one line without control characters, a reason on several.
LINE = r"^[^\x00-\x1f\x7f]*$"
TEXT = r"^[^\x00-\x08\x0e-\x1f\x7f]*$"
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=TEXT)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=LINE)]


class OverrideRequest(BaseModel):
    """A person's word on a grade. Without score, criteria and misconceptions it confirms the grade."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "Says so in the second sentence.", "criteria": {"accumulates": "met"}}]
        },
    )

    reason: Words = Field(description="Why; kept with the grade, and not shown to candidates.")
    author: Name | None = Field(None, description="Who decides; the name of the key when left out.")
    criteria: dict[Annotated[str, StringConstraints(max_length=120)], ExpectedVerdict] = Field(
        default_factory=dict,
        max_length=100,
        description="Verdicts by id of the criterion; the points follow from them.",
    )
    dropped_misconceptions: list[Annotated[str, StringConstraints(max_length=120)]] = Field(
        default_factory=list, max_length=100, description="Ids of misconceptions that the answer does not hold."
    )
    score: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        None, description="The score; when left out it follows from the verdicts."
    )


class Override(BaseModel):
    """A grade before and after a person's word."""

    before: KeptGrade
    after: KeptGrade


class History(BaseModel):
    """Every grade of one answer, oldest first; the last one stands."""

    grades: list[KeptGrade]


class CriterionFigures(BaseModel):
    """Verdicts on one criterion, where a person gave one."""

    id: str
    reviewed: int
    agree: float = Field(description="Share of equal verdicts, 0 to 1.")
    kappa: float | None = Field(description="Cohen's kappa; null where chance explains everything.")


class QuestionFigures(BaseModel):
    """Scores of one question; differences are the person's less the grader's, in points of 100."""

    question_id: str
    reviewed: int
    scored: int = Field(description="Reviews where both gave a score.")
    mean_difference: float | None
    mean_absolute_difference: float | None
    within_interval: float | None = Field(description="Share of people's scores inside the grader's 90 % interval.")
    criteria: list[CriterionFigures]


class Agreement(BaseModel):
    """Fair only when what was reviewed was picked at random: whoever looks at doubtful grades alone finds more to change."""

    questions: list[QuestionFigures]


@router.post(
    "/grades/{grade_id}/override", status_code=201, responses=responses(400, 401, 403, 404, 409, 413, 415, 422)
)
def override_grade(
    grade_id: GradeId, request: OverrideRequest, response: Response, store: OpenStore, caller: CurrentCaller
) -> Override:
    """Put a person's word in the place of a grade. The grade before stays and can be read; 409 when it was superseded."""
    review = grades.Review(
        author=request.author or caller.name,
        reason=request.reason,
        score=request.score,
        verdicts=request.criteria,
        dropped=frozenset(request.dropped_misconceptions),
    )
    with store.write() as tx:
        before, after = grades.override(tx, grade_id, review, key_id=caller.key_id, owner=caller.owner)
    response.headers["Location"] = f"/v1/grades/{after.id}"
    return Override(before=KeptGrade.of(before, caller), after=KeptGrade.of(after, caller))


@router.get("/grades/{grade_id}/history", responses=responses(401, 403, 404, 422))
def show_history(grade_id: GradeId, store: OpenStore, caller: CurrentCaller) -> History:
    """Every grade of the same answer, oldest first."""
    with store.read() as tx:
        found = grades.history(tx, grade_id, caller.owner)
    return History(grades=[KeptGrade.of(stored, caller) for stored in found])


@router.get("/agreement", responses=responses(401, 403, 422))
def show_agreement(
    store: OpenStore,
    question_id: Annotated[str | None, Query(max_length=120, pattern=r"^[a-z0-9-]+$")] = None,
) -> Agreement:
    """How far people and the grader agree, per question and per criterion, over all grades that were reviewed."""
    with store.read() as tx:
        found = agreement.figures(tx, question_id)
    return Agreement.model_validate({"questions": found}, from_attributes=True)
