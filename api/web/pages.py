"""The web form: questions, an answer, its grade. Server-rendered; works without JavaScript.

Candidates use these pages: no criterion statement is on them before the reference is asked for.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from api.errors import Refused
from api.state import LoadedGrader
from api.web import history, home, interview, login, progress, review
from api.web.attempt import Attempt, AttemptForm
from api.web.compare import compare
from api.web.history import result_page
from api.web.place import Refusal, status_for
from api.web.profile import CurrentVisitor
from api.web.render import PRACTICE_COOKIE, STATIC, error_page, local_path, page, practises
from api.web.result import SIGNS, result_of
from grader.errors import GraderError
from grader.library import Library
from grader.schema import Criterion, Question

__all__ = ["error_page", "install"]

# Seconds; a year.
PREFERENCE_AGE = 31_536_000

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def index(
    request: Request,
    grader: LoadedGrader,
    visitor: CurrentVisitor,
    q: Annotated[str, Query(max_length=200)] = "",
    topic: Annotated[str, Query(max_length=80)] = "",
    level: Annotated[str, Query(max_length=20)] = "",
    by: home.Order = "topic",
    bank: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """All questions, or those that fit a search."""
    every = grader.questions
    choice = home.Choice(q.strip(), topic, level, by, bank)
    found = home.shelves(grader.banks, choice)
    mine = progress.progress(visitor.attempts())
    values = {
        "banks": grader.banks,
        "choice": choice,
        "count": sum(shelf.count for shelf in found),
        "shelves": found,
        "topics": home.topics(every),
        "levels": [name for name in home.LEVELS if any(one.level == name for one in every)],
        "progress": mine,
        "summary": progress.summary(mine, every),
    }
    return page(request, "index.html", values)


@router.get("/surprise")
def surprise(grader: LoadedGrader, bank: Annotated[str, Query(max_length=80)] = "") -> Response:
    """Any question, or any of one bank."""
    banks = home.of_bank(grader.banks, bank) or grader.banks
    drawn = secrets.choice([question for one in banks for question in one.questions])
    return RedirectResponse(f"/questions/{drawn.id}", 303)


@router.get("/questions/{question_id}")
def ask(request: Request, question_id: str, grader: LoadedGrader) -> Response:
    """One question and an empty answer."""
    return _asked(request, grader, Attempt(grader.question(question_id), ""))


@router.post("/questions/{question_id}/hint")
def hint(
    request: Request, question_id: str, grader: LoadedGrader, form: Annotated[AttemptForm, Form()], refusal: Refusal
) -> Response:
    """The question again, the draft kept, with one more hint: for the most valuable point that the draft lacks."""
    attempt = form.attempt(grader.question(question_id))
    if refusal is not None:
        return _refused(request, grader, attempt, refusal)
    try:
        lacking = _lacking(grader, attempt)
    except GraderError as error:
        return _refused(request, grader, attempt, error)
    unseen = [criterion for criterion in lacking if criterion.id not in attempt.hints]
    if unseen:
        attempt = attempt.with_hint(max(unseen, key=lambda criterion: criterion.points).id)
    return _asked(request, grader, attempt, asked=True, exhausted=not unseen)


@router.post("/questions/{question_id}")
def submit(
    request: Request,
    question_id: str,
    grader: LoadedGrader,
    visitor: CurrentVisitor,
    form: Annotated[AttemptForm, Form()],
    refusal: Refusal,
) -> Response:
    """The grade of an answer; an answer that cannot be taken comes back with the reason, nothing lost."""
    attempt = form.attempt(grader.question(question_id))
    if refusal is not None:
        return _refused(request, grader, attempt, refusal)
    try:
        grade = grader.grade(question_id, attempt.answer)
        if visitor.candidate is not None and attempt.answer.strip():
            stored = visitor.keep(attempt.question, attempt.answer, grade, attempt.hints)
            return RedirectResponse(f"/history/{stored.id}", 303)
        before = grader.grade(question_id, attempt.previous) if attempt.is_another else None
    except GraderError as error:
        return _refused(request, grader, attempt, error)
    comparison = compare(before, grade, attempt.previous, attempt.answer) if before else None
    result = result_of(attempt.question, attempt.answer, grade, comparison, attempt.course, len(attempt.hints))
    return result_page(request, grader, result, attempt.after(grade.score), kept=False)


@router.get("/questions/{question_id}/reference")
def reference(request: Request, question_id: str, grader: LoadedGrader) -> Response:
    """Reference answers and rubric, for who asks to see them."""
    return page(request, "reference.html", {"question": grader.question(question_id), "result": None})


@router.post("/questions/{question_id}/reference")
def side_by_side(
    request: Request, question_id: str, grader: LoadedGrader, form: Annotated[AttemptForm, Form()], refusal: Refusal
) -> Response:
    """The reference beside one's own answer, with the verdict at each key point."""
    attempt = form.attempt(grader.question(question_id))
    if refusal is not None:
        return _refused(request, grader, attempt, refusal)
    try:
        grade = grader.grade(question_id, attempt.answer)
    except GraderError as error:
        return _refused(request, grader, attempt, error)
    values = {"question": attempt.question, "result": result_of(attempt.question, attempt.answer, grade)}
    return page(request, "reference.html", {**values, "attempt": attempt, "signs": SIGNS})


@router.post("/practice")
def switch_practice(request: Request, to: Annotated[str, Form(max_length=500)] = "/") -> Response:
    """Numbers off, or on again; kept in a cookie of this browser."""
    response = RedirectResponse(local_path(to), 303)
    secure = request.url.scheme == "https"
    if practises(request):
        response.delete_cookie(PRACTICE_COOKIE, samesite="lax", httponly=True, secure=secure)
    else:
        response.set_cookie(PRACTICE_COOKIE, "1", PREFERENCE_AGE, samesite="lax", httponly=True, secure=secure)
    return response


@router.get("/docs")
def docs(request: Request) -> Response:
    """The API in short, from its own description."""
    description = request.app.openapi()
    routes = [
        (method.upper(), path, operation.get("summary", ""), operation.get("description", ""))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    address = str(request.base_url).rstrip("/")
    return page(request, "docs.html", {"info": description["info"], "routes": routes, "address": address})


def _asked(request: Request, grader: Library, attempt: Attempt, status: int = 200, **more: Any) -> Response:
    bank = grader.bank_of(attempt.question.id).info.title if len(grader.banks) > 1 else ""
    values = {"attempt": attempt, "error": None, "asked": False, "exhausted": False, "bank": bank}
    return page(request, "question.html", {**values, "next": _next(grader, attempt.question), **more}, status)


def _refused(request: Request, grader: Library, attempt: Attempt, error: GraderError | Refused) -> Response:
    """The form again, with the answer and the reason."""
    return _asked(request, grader, attempt, status_for(error), error=str(error))


def _lacking(grader: Library, attempt: Attempt) -> list[Criterion]:
    """Criteria with a hint that the draft does not meet; all of them while there is no draft."""
    hinted = [criterion for criterion in attempt.question.criteria if criterion.hint]
    if not attempt.answer.strip():
        return hinted
    met = {r.id for r in grader.grade(attempt.question.id, attempt.answer).criteria if r.verdict == "met"}
    return [criterion for criterion in hinted if criterion.id not in met]


def _next(grader: Library, question: Question) -> Question:
    questions = grader.bank_of(question.id).questions
    return questions[(questions.index(question) + 1) % len(questions)]


def install(app: FastAPI) -> None:
    """Adds the pages and their static files."""
    for part in (router, interview.router, history.router, review.router, login.router):
        app.include_router(part)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
