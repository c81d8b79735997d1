"""`/v1/grades`: one answer in, one grade out; and the grades that were kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Body, Header, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.access import Caller, CurrentCaller
from api.bodies import StrictJson
from api.errors import responses
from api.grading import KEY_PATTERN, Candidate, FreeKey, Submission, grade_and_keep, grade_once, scope_of
from api.queue import GradingPlace
from api.state import LoadedGrader, OpenStore
from api.store import grades
from grader.assist import JudgeMode
from grader.schema import Grade, InlineQuestion, Outcome

router = APIRouter(prefix="/v1/grades", tags=["grades"], route_class=StrictJson)

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


GradeId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$", examples=["grd_0123456789abcdef"])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=KEY_PATTERN,
        description="Any text of your own, new for every new request. Sent again within a day, with the same body, it "
        "gets the same result and nothing is graded twice.",
    ),
]
# Databases keep no moments outside of the calendar; nobody's grades are older than this service either.
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2999, 1, 1, tzinfo=UTC))]


class GradeRequest(BaseModel):
    """An answer, and the question it answers: by id or inline."""

    model_config = ConfigDict(extra="forbid")

    question_id: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = Field(
        None, description="Id of a question of the bank."
    )
    question: InlineQuestion | None = Field(None, description="A question that is not in the bank.")
    answer: str = Field(description="The answer as it was written: up to 20,000 characters, Markdown and code welcome.")
    view: Literal["full", "candidate"] = Field(
        "full",
        description="`candidate` leaves out the statements of criteria and misconceptions; a candidate's key gets that "
        "whatever it asks for.",
    )
    candidate: Candidate | None = Field(
        None, description="Your reference of the person: find, export and erase by it. A name is not needed."
    )
    judge: JudgeMode | None = Field(
        None,
        description="Whether a language model settles what the offline judge is unsure of; `required` gets 503 when it "
        "was needed and had nothing to say. Default: as the service is set up.",
    )
    store: bool = Field(True, description="false: nothing of the request is kept; the grade cannot be read again.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question_id is None) == (self.question is None):
            raise ValueError("give either question_id or question, not both and not neither")
        return self


class Record(BaseModel):
    """What is kept around a grade. Null for a candidate: author, reason and question."""

    kind: Literal["grade", "override", "regrade"]
    created_at: datetime
    answer: str
    question: InlineQuestion | None = Field(description="The question that came with the answer; null: of the bank.")
    candidate: str | None
    supersedes: str | None = Field(description="The grade that this one replaces.")
    superseded_by: str | None = Field(description="The grade that replaces this one; null: this one stands.")
    author: str | None = Field(description="Who has overridden the grade.")
    reason: str | None = Field(description="Why they have.")


class KeptGrade(Grade):
    """A grade that was kept."""

    record: Record

    @classmethod
    def of(cls, stored: grades.StoredGrade, caller: Caller) -> KeptGrade:
        """As much of a stored grade as its reader may see."""
        hidden = {"author", "reason", "question"} if caller.is_candidate else set()
        names = [name for name in Record.model_fields if name not in hidden]
        record = Record.model_validate(dict.fromkeys(hidden) | {name: getattr(stored, name) for name in names})
        grade = stored.grade.for_candidate() if caller.is_candidate else stored.grade
        return cls.model_validate(grade.model_dump() | {"record": record})


class GradePage(BaseModel):
    """Grades, newest first."""

    grades: list[KeptGrade]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: this was the last.")


@router.post("", dependencies=[FreeKey, GradingPlace], responses=responses(400, 401, 403, 404, 409, 413, 415, 422))
def create_grade(
    request: Annotated[GradeRequest, Body(openapi_examples=EXAMPLES)],
    response: Response,
    grader: LoadedGrader,
    store: OpenStore,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
) -> Grade:
    """Grade one answer, and keep the grade unless `store` is false. The same answer gets the same grade, to the last digit."""
    question = request.question or request.question_id or ""
    submission = Submission(question, request.answer, request.candidate, caller.key_id, request.store, request.judge)
    if idempotency_key is None:
        grade = grade_and_keep(grader, store, submission)
    else:
        body = request.model_dump(mode="json")
        scope = scope_of(caller)
        grade, replayed = grade_once(grader, store, submission, scope=scope, key=idempotency_key, body=body)
        response.headers["Idempotency-Replayed"] = str(replayed).lower()
    if request.store:
        response.headers["Location"] = f"/v1/grades/{grade.id}"
    return grade.for_candidate() if caller.is_candidate or request.view == "candidate" else grade


@router.get("", responses=responses(401, 403, 422))
def list_grades(
    store: OpenStore,
    caller: CurrentCaller,
    outcome: Annotated[Outcome | None, Query(description="`needs_review` is the queue of reviewers.")] = None,
    question_id: Annotated[str | None, Query(max_length=120, pattern=r"^[a-z0-9-]+$")] = None,
    candidate: Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]+$")] = None,
    since: Annotated[
        Moment | None, Query(description="Graded at this moment or later, such as 2026-05-01T00:00:00Z.")
    ] = None,
    until: Annotated[Moment | None, Query(description="Graded before this moment.")] = None,
    history: Annotated[bool, Query(description="Also grades that were superseded.")] = False,
    cursor: Annotated[str | None, Query(max_length=18, pattern=r"^[0-9]+$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> GradePage:
    """The grades that were kept, newest first, as far as the key may see them."""
    wanted = grades.Filter(outcome, question_id, candidate, _utc(since), _utc(until), caller.owner, history)
    with store.read() as tx:
        page = grades.find(tx, wanted, int(cursor) if cursor else None, limit)
    return GradePage(
        grades=[KeptGrade.of(stored, caller) for stored in page.grades],
        next_cursor=None if page.next_cursor is None else str(page.next_cursor),
    )


@router.get("/{grade_id}", responses=responses(401, 403, 404, 422))
def show_grade(grade_id: GradeId, store: OpenStore, caller: CurrentCaller) -> KeptGrade:
    """One grade that was kept."""
    with store.read() as tx:
        return KeptGrade.of(grades.get(tx, grade_id, caller.owner), caller)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
