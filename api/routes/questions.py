"""The bank over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from api.access import CurrentCaller
from api.errors import responses
from api.state import LoadedGrader
from grader.schema import Criterion, Group, Level, Misconception, Question, QuestionKind

router = APIRouter(prefix="/v1/questions", tags=["questions"])


class QuestionSummary(BaseModel):
    """A question as a candidate may see it."""

    number: int
    id: str
    prompt: str
    kind: QuestionKind
    level: Level
    tags: list[str]


class QuestionList(BaseModel):
    """All questions of the bank, in the order of their numbers."""

    bank: str = Field(description="Id, version and content hash of the bank.")
    questions: list[QuestionSummary]


class Rubric(BaseModel):
    """What only those who grade may see."""

    reference_answers: list[str]
    groups: list[Group]
    criteria: list[Criterion]
    misconceptions: list[Misconception]


class QuestionDetail(QuestionSummary):
    """One question; `rubric` only in the full view."""

    sources: list[str]
    hints: list[str] = Field(description="One hint a key concept, without giving it away.")
    rubric: Rubric | None = None


def _summary(question: Question) -> dict[str, object]:
    return question.model_dump(include=set(QuestionSummary.model_fields))


@router.get("", responses=responses(503))
def list_questions(grader: LoadedGrader) -> QuestionList:
    """All questions of the bank."""
    questions = [QuestionSummary.model_validate(_summary(question)) for question in grader.bank.questions]
    return QuestionList(bank=grader.bank.version, questions=questions)


@router.get("/{question_id}", responses=responses(404, 422, 503), response_model_exclude_none=True)
def show_question(
    grader: LoadedGrader,
    caller: CurrentCaller,
    question_id: Annotated[str, Path(max_length=80, examples=["zero-grad"])],
    view: Annotated[
        Literal["candidate", "full"], Query(description="`full` adds the rubric and the reference answers.")
    ] = "candidate",
) -> QuestionDetail:
    """One question, with hints; with its rubric when asked for."""
    if view == "full":
        caller.need_staff("rubrics and reference answers")
    question = grader.bank.question(question_id)
    rubric = Rubric.model_validate(question.model_dump(include=set(Rubric.model_fields))) if view == "full" else None
    hints = [criterion.hint for criterion in question.criteria if criterion.hint]
    return QuestionDetail.model_validate(
        {**_summary(question), "sources": question.sources, "hints": hints, "rubric": rubric}
    )
