"""The visitor's own history: kept when asked for, shown, taken out, erased."""

from __future__ import annotations

import csv
import io
import json
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field

from api.cells import plain
from api.queue import GradingPlace
from api.state import LoadedGrader
from api.store.grades import StoredGrade
from api.web import progress
from api.web.attempt import Attempt, AttemptForm
from api.web.compare import compare
from api.web.profile import MOST_ATTEMPTS, CurrentVisitor, Visitor, begin, end, in_order
from api.web.render import page
from api.web.result import SIGNS, Result, result_of
from grader.errors import UnknownQuestion
from grader.library import Library
from grader.schema import Question

router = APIRouter(prefix="/history", include_in_schema=False, default_response_class=HTMLResponse)

PAGE_LENGTH = 50
CSV_COLUMNS = ("when", "question_id", "question", "score", "low", "high", "outcome", "hints", "answer")


class FirstForm(AttemptForm):
    """The attempt that a history begins with, if any."""

    question_id: Annotated[str, Field(max_length=80)] = ""


@router.get("")
def show(
    request: Request,
    grader: LoadedGrader,
    visitor: CurrentVisitor,
    after: Annotated[int, Query(ge=0, le=MOST_ATTEMPTS)] = 0,
) -> Response:
    """The attempts (newest first, `after` so many), what they say, and the way out."""
    attempts = visitor.attempts()
    questions = grader.questions
    shown = attempts[::-1][after : after + PAGE_LENGTH]
    values = {
        "kept": visitor.candidate is not None,
        "attempts": [(one, known_question(grader, one.question_id)) for one in shown],
        "older": after + PAGE_LENGTH if len(attempts) > after + PAGE_LENGTH else None,
        "trends": _trends(grader, attempts),
        "weakest": progress.weakest(attempts, questions),
        "summary": progress.summary(progress.progress(attempts), questions),
        "signs": SIGNS,
        "erased": False,
    }
    return page(request, "history.html", values)


@router.post("/start", dependencies=[GradingPlace])
def start(
    request: Request,
    grader: LoadedGrader,
    visitor: CurrentVisitor,
    form: Annotated[FirstForm, Form()],
) -> Response:
    """Begins a history; with an answer, that attempt is its first."""
    response = RedirectResponse("/history", 303)
    visitor = begin(request, response, visitor)
    if form.question_id:
        attempt = form.attempt(grader.question(form.question_id))
        grade = grader.grade(form.question_id, attempt.answer)
        kept = visitor.keep(attempt.question, attempt.answer, grade, attempt.hints)
        response.headers["location"] = f"/history/{kept.id}"
    return response


@router.get("/export.json")
def export_json(visitor: CurrentVisitor) -> Response:
    """Everything that is kept of the visitor."""
    body = json.dumps(visitor.export(), indent=1, ensure_ascii=False)
    return _download(body, "application/json", "history.json")


@router.get("/export.csv")
def export_csv(grader: LoadedGrader, visitor: CurrentVisitor) -> Response:
    """The attempts as a table, newest first."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(CSV_COLUMNS)
    for one in visitor.every_attempt():
        question = known_question(grader, one.question_id)
        low, high = one.grade.score_interval or (None, None)
        prompt = question.prompt if question else ""
        score, outcome = one.grade.score, one.grade.outcome
        texts = [plain(text) for text in (one.question_id, prompt, one.answer)]
        rows.writerow([one.answered_at.isoformat(), *texts[:2], score, low, high, outcome, len(one.hints), texts[2]])
    # With a byte order mark, or a table program reads it in the encoding of its country.
    return _download("\ufeff" + out.getvalue(), "text/csv; charset=utf-8", "history.csv")


@router.post("/erase")
def erase(request: Request, visitor: CurrentVisitor) -> Response:
    """Everything gone: attempts, answers, the cookie, and the drafts in this browser."""
    visitor.erase()
    values = {
        "kept": False,
        "attempts": [],
        "trends": [],
        "weakest": [],
        "summary": None,
        "older": None,
        "signs": SIGNS,
    }
    response = page(request, "history.html", {**values, "erased": True})
    end(response)
    return response


@router.get("/{grade_id}")
def attempt(request: Request, grade_id: str, grader: LoadedGrader, visitor: CurrentVisitor) -> Response:
    """One attempt, as its result page was, beside the attempt before it."""
    stored = visitor.attempt(grade_id)
    question = grader.question(stored.question_id)
    result = result_from(visitor, question, stored)
    return result_page(request, grader, result, Attempt(question, stored.answer, stored.hints), kept=True)


def result_page(request: Request, grader: Library, result: Result, attempt: Attempt, *, kept: bool) -> Response:
    """A result, wherever its attempt came from; `kept` says whether it is in the history."""
    questions = grader.bank_of(attempt.question.id).questions
    following = questions[(questions.index(attempt.question) + 1) % len(questions)]
    values = {"result": result, "attempt": attempt, "signs": SIGNS, "next": following, "kept": kept}
    return page(request, "result.html", values)


def result_from(visitor: Visitor, question: Question, stored: StoredGrade) -> Result:
    """The result page of a kept attempt: compared with the one before, its course that of all attempts up to it."""
    earlier = [one for one in visitor.attempts(question.id) if in_order(one) < in_order(stored)]
    comparison = compare(earlier[-1].grade, stored.grade, earlier[-1].answer, stored.answer) if earlier else None
    scores = [one.grade.score for one in earlier if one.grade.score is not None]
    return result_of(question, stored.answer, stored.grade, comparison, scores, len(stored.hints))


def _trends(grader: Library, attempts: list[StoredGrade]) -> list[progress.Trend]:
    """Bank by bank: topics of the same name in two of them are two topics."""
    several = len(grader.banks) > 1
    return [
        trend
        for bank in grader.banks
        for trend in progress.trends(attempts, bank.questions, bank.info.title if several else "")
    ]


def known_question(grader: Library, question_id: str) -> Question | None:
    """The question, unless no bank has it any longer."""
    try:
        return grader.question(question_id)
    except UnknownQuestion:
        return None


def _download(body: str, media_type: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(body, media_type=media_type, headers=headers)
