"""A mock interview: some questions in a row, a timer if wanted, all results at the end.

Nothing is kept on the server: the questions stand in the address, the answers travel as fields of the form.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field, field_validator

from api.state import LoadedGrader
from api.web import home
from api.web.place import Refusal, status_for
from api.web.profile import CurrentVisitor
from api.web.render import page, texts_of
from api.web.result import SIGNS, Result, result_of
from grader.errors import GraderError
from grader.library import Library
from grader.schema import Question

router = APIRouter(prefix="/interview", include_in_schema=False, default_response_class=HTMLResponse)

COUNTS = (3, 5, 8)
MINUTES = (0, 3, 5)
MOST_QUESTIONS = max(COUNTS)
MOST_MINUTES = 60


class Setup(BaseModel):
    """What the visitor chose: how many questions, minutes for each (0: no timer), topic, level, bank."""

    count: Annotated[int, Field(ge=1, le=MOST_QUESTIONS)] = 5
    minutes: Annotated[int, Field(ge=0, le=MOST_MINUTES)] = 3
    topic: Annotated[str, Field(max_length=80)] = ""
    level: Annotated[str, Field(max_length=20)] = ""
    bank: Annotated[str, Field(max_length=80)] = ""


class InterviewForm(BaseModel):
    """The fields of the running interview; `answers` in the order of the questions, `started` in Unix seconds."""

    question: Annotated[list[str], Field(min_length=1, max_length=MOST_QUESTIONS)]
    answers: Annotated[list[str], Field(max_length=MOST_QUESTIONS)] = []
    answer: str = ""
    position: Annotated[int, Field(ge=0, lt=MOST_QUESTIONS)] = 0
    started: Annotated[int, Field(ge=0, le=2**40)] = 0
    minutes: Annotated[int, Field(ge=0, le=MOST_MINUTES)] = 0
    timer: bool = True
    action: Literal["next", "back", "timer", "finish"] = "next"

    @field_validator("answer")
    @classmethod
    def _as_typed(cls, text: str) -> str:
        return text.replace("\r\n", "\n")

    @field_validator("answers")
    @classmethod
    def _all_as_typed(cls, texts: list[str]) -> list[str]:
        return [text.replace("\r\n", "\n") for text in texts]


@dataclass(frozen=True)
class Sitting:
    """An interview in progress, at `position` (from 0)."""

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    position: int
    started: int
    minutes: int
    timer: bool

    @property
    def question(self) -> Question:
        return self.questions[self.position]

    @property
    def is_last(self) -> bool:
        return self.position == len(self.questions) - 1

    @property
    def ends(self) -> int:
        """When the planned time is over, in Unix seconds."""
        return self.started + self.minutes * 60 * len(self.questions)

    def minutes_left(self, now: float) -> int:
        return max(0, -int((now - self.ends) // 60))


@router.get("")
def start(request: Request, grader: LoadedGrader) -> Response:
    """The choices."""
    return _choices(request, grader)


def _choices(request: Request, grader: Library, error: str | None = None, status: int = 200) -> Response:
    every = grader.questions
    levels = [name for name in home.LEVELS if any(one.level == name for one in every)]
    counts = [count for count in COUNTS if count <= len(every)] or [len(every)]
    values = {"topics": home.topics(every), "levels": levels, "counts": counts, "minutes": MINUTES, "error": error}
    return page(request, "interview_start.html", {**values, "banks": grader.banks}, status)


@router.get("/draw")
def draw(request: Request, grader: LoadedGrader, setup: Annotated[Setup, Query()]) -> Response:
    """Draws the questions; from then on they stand in the address, so that a reload changes nothing."""
    every = [question for bank in home.of_bank(grader.banks, setup.bank) for question in bank.questions]
    fitting = home.chosen(every, home.Choice("", setup.topic, setup.level))
    if not fitting:
        return _choices(request, grader, texts_of(request)("interview.unfit"), 422)
    drawn = random.SystemRandom().sample(fitting, min(setup.count, len(fitting)))
    fields = [*(("question", one.id) for one in drawn), ("minutes", setup.minutes), ("started", int(time.time()))]
    return RedirectResponse(f"/interview/run?{urlencode(fields)}", 303)


@router.get("/run")
def begin(request: Request, grader: LoadedGrader, form: Annotated[InterviewForm, Query()]) -> Response:
    """The first question."""
    return _ask(request, _sitting(grader, form))


@router.post("/run")
def go_on(
    request: Request,
    grader: LoadedGrader,
    visitor: CurrentVisitor,
    form: Annotated[InterviewForm, Form()],
    refusal: Refusal,
) -> Response:
    """The next question, the one before, or the results; what was typed is kept in every case."""
    sitting = _sitting(grader, form)
    if form.action != "finish":
        return _ask(request, sitting)
    if refusal is not None:
        return _ask(request, sitting, str(refusal), status_for(refusal))
    try:
        pairs = list(zip(sitting.questions, sitting.answers, strict=True))
        grades = [grader.grade(question.id, answer) for question, answer in pairs]
        if visitor.candidate is not None:
            for (question, answer), grade in zip(pairs, grades, strict=True):
                if answer.strip():
                    visitor.keep(question, answer, grade)
    except GraderError as error:
        return _ask(request, sitting, str(error), status_for(error))
    results = [result_of(question, answer, grade) for (question, answer), grade in zip(pairs, grades, strict=True)]
    return _results(request, sitting, results)


def _results(request: Request, sitting: Sitting, results: list[Result]) -> Response:
    scores = [result.grade.score for result in results if result.grade.score is not None]
    values = {
        "results": results,
        "scored": len(scores),
        "average": sum(scores) / len(scores) if scores else None,
        "took": max(1, round((time.time() - sitting.started) / 60)) if sitting.started else None,
        "signs": SIGNS,
    }
    return page(request, "interview_result.html", values)


def _ask(request: Request, sitting: Sitting, error: str | None = None, status: int = 200) -> Response:
    values = {"sitting": sitting, "error": error, "left": sitting.minutes_left(time.time())}
    return page(request, "interview_question.html", values, status)


def _sitting(grader: Library, form: InterviewForm) -> Sitting:
    """Where the interview stands after this request; raises UnknownQuestion."""
    ids = list(dict.fromkeys(form.question))
    here = min(form.position, len(ids) - 1)
    answers = (form.answers + [""] * len(ids))[: len(ids)]
    answers[here] = form.answer
    step = {"next": 1, "back": -1}.get(form.action, 0)
    # The first page is asked for with GET and has no answer to step on from.
    position = here + step if form.answers else here
    return Sitting(
        questions=tuple(grader.question(one) for one in ids),
        answers=tuple(answers),
        position=min(max(0, position), len(ids) - 1),
        started=form.started,
        minutes=form.minutes,
        timer=form.timer if form.action != "timer" else not form.timer,
    )
