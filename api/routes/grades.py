"""`POST /v1/grades`: one answer in, one grade out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.errors import responses
from api.state import LoadedGrader
from grader.schema import Grade, InlineQuestion

router = APIRouter(prefix="/v1/grades", tags=["grades"])

EXAMPLES = {
    "bank": {
        "summary": "An answer to a question of the bank",
        "value": {
            "question_id": "zero-grad",
            "answer": "backward() adds to .grad instead of overwriting it, so zero_grad() clears the old gradients "
            "once per iteration before the next backward pass.",
        },
    },
    "inline": {
        "summary": "A question that comes with the answer",
        "value": {
            "question": {
                "prompt": "Why is the sky blue?",
                "reference_answers": ["Air scatters short wavelengths of sunlight more than long ones."],
                "criteria": [
                    {"statement": "Air molecules scatter sunlight.", "points": 1},
                    {"statement": "Blue light is scattered more than red light.", "points": 1},
                ],
            },
            "answer": "Because blue light is bounced around by the air far more than red light.",
        },
    },
}


class GradeRequest(BaseModel):
    """An answer, and the question it answers: by id or inline."""

    model_config = ConfigDict(extra="forbid")

    question_id: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = Field(
        None, description="Id of a question of the bank."
    )
    question: InlineQuestion | None = Field(None, description="A question that is not in the bank.")
    answer: str = Field(description="The answer as it was written: up to 20,000 characters, Markdown and code welcome.")
    view: Literal["full", "candidate"] = Field(
        "full", description="`candidate` leaves out the statements of criteria and misconceptions."
    )

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question_id is None) == (self.question is None):
            raise ValueError("give either question_id or question, not both and not neither")
        return self


@router.post("", responses=responses(400, 404, 413, 415, 422, 503))
def create_grade(
    request: Annotated[GradeRequest, Body(openapi_examples=EXAMPLES)],
    grader: LoadedGrader,
) -> Grade:
    """Grade one answer. The same request gets the same grade, to the last digit."""
    grade = grader.grade(request.question or request.question_id or "", request.answer)
    return grade if request.view == "full" else grade.for_candidate()
