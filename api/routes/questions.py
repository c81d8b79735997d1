"""The banks over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from api.access import CurrentCaller
from api.errors import responses
from api.state import LoadedGrader
from grader.bank import Bank
from grader.schema import Criterion, Group, Identifier, Level, Misconception, Question, QuestionKind

router = APIRouter(prefix="/v1/questions", tags=["questions"])


class QuestionSummary(BaseModel):
    """A question as a candidate may see it."""

    number: int
    id: str
    prompt: str
    kind: QuestionKind
    level: Level
    tags: list[str]
    bank: str = Field(description="Id of its bank.")


class BankSummary(BaseModel):
    """A bank that the service has questions from."""

    id: str
    title: str
    version: str = Field(description="Id, version and content hash, as in `provenance.bank` of its grades.")
    questions: int = Field(description="How many there are.")


class QuestionList(BaseModel):
    """All questions, bank by bank, each in the order of its numbers."""

    bank: str = Field(description="Id, version and content hash of the first bank; `banks` has all.")
    banks: list[BankSummary]
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


def _summary(bank: Bank, question: Question) -> dict[str, object]:
    return question.model_dump(include=set(QuestionSummary.model_fields)) | {"bank": bank.info.id}


def _bank(bank: Bank) -> BankSummary:
    return BankSummary(id=bank.info.id, title=bank.info.title, version=bank.version, questions=len(bank.questions))


@router.get("", responses=responses(422, 503))
def list_questions(
    grader: LoadedGrader,
    bank: Annotated[Identifier | None, Query(description="Id of one bank; default: all.")] = None,
) -> QuestionList:
    """All questions of all banks, or of one."""
    banks = [one for one in grader.banks if bank in {None, one.info.id}]
    questions = [QuestionSummary.model_validate(_summary(one, question)) for one in banks for question in one.questions]
    return QuestionList(bank=grader.banks[0].version, banks=[_bank(one) for one in banks], questions=questions)


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
    question = grader.question(question_id)
    rubric = Rubric.model_validate(question.model_dump(include=set(Rubric.model_fields))) if view == "full" else None
    hints = [criterion.hint for criterion in question.criteria if criterion.hint]
    return QuestionDetail.model_validate(
        {
            **_summary(grader.bank_of(question_id), question),
            "sources": question.sources,
            "hints": hints,
            "rubric": rubric,
        }
    )
