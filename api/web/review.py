"""Pages for those who review: the queue, one grade with its evidence, candidates side by side, how the questions do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field

from api.access import CurrentCaller
from api.routes.reviews import LINE, TEXT
from api.state import LoadedGrader, OpenStore
from api.store import Transaction, grades
from api.store.grades import Filter, StoredGrade
from api.texts import say
from api.web.history import known_question
from api.web.place import status_for
from api.web.render import page
from api.web.result import SIGNS, result_of
from api.web.statistics import items
from grader.errors import GraderError
from grader.schema import Question, Verdict

router = APIRouter(prefix="/review", include_in_schema=False, default_response_class=HTMLResponse)

PAGE_LENGTH = 25
MOST_COMPARED = 12
# Grades that the statistics look at: the newest ones.
MOST_GRADES = 2_000
VERDICTS: tuple[Verdict, ...] = ("met", "partial", "not_met", "contradicted")


class ReviewForm(BaseModel):
    """What a reviewer says. `verdict` has one entry a criterion, in order, '' for those they leave as they are."""

    author: Annotated[str, Field(max_length=200, pattern=LINE)] = ""
    reason: Annotated[str, Field(max_length=2_000, pattern=TEXT)] = ""
    score: Annotated[str, Field(max_length=20)] = ""
    verdict: Annotated[list[str], Field(max_length=60)] = []
    dropped: Annotated[list[str], Field(max_length=60)] = []


@dataclass(frozen=True)
class Compared:
    """One question, and the newest grade of each who answered it."""

    question: Question | None
    stored: tuple[StoredGrade, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]  # criterion, verdict by candidate


@router.get("")
def queue(
    request: Request,
    grader: LoadedGrader,
    store: OpenStore,
    caller: CurrentCaller,
    outcome: Literal["needs_review", "graded", "not_gradable", ""] = "needs_review",
    question: Annotated[str, Query(max_length=120)] = "",
    cursor: int | None = None,
) -> Response:
    """What waits for a person, newest first."""
    wanted = Filter(outcome=outcome or None, question_id=question or None, owner=caller.owner)
    with store.read() as tx:
        found = grades.find(tx, wanted, cursor, PAGE_LENGTH)
    values = {
        "rows": [(one, known_question(grader, one.question_id)) for one in found.grades],
        "banks": grader.banks,
        "outcome": outcome,
        "question_id": question,
        "next_cursor": found.next_cursor,
    }
    return page(request, "review_queue.html", values)


@router.get("/items")
def item_statistics(request: Request, grader: LoadedGrader, store: OpenStore, caller: CurrentCaller) -> Response:
    """How the questions of the bank do."""
    with store.read() as tx:
        found = grades.find(tx, Filter(owner=caller.owner), limit=MOST_GRADES).grades
    several = len(grader.banks) > 1
    titles = {question.id: bank.info.title for bank in grader.banks for question in bank.questions} if several else {}
    values = {"items": items(grader.questions, found), "banks": titles, "count": len(found), "most": MOST_GRADES}
    return page(request, "review_items.html", values)


@router.get("/questions/{question_id}")
def compare_candidates(
    request: Request, question_id: str, grader: LoadedGrader, store: OpenStore, caller: CurrentCaller
) -> Response:
    """Everyone's newest answer to one question, point by point."""
    with store.read() as tx:
        wanted = Filter(question_id=question_id, owner=caller.owner)
        found = grades.find(tx, wanted, limit=MOST_COMPARED * 8).grades
    question = known_question(grader, question_id)
    return page(
        request, "review_compare.html", {"compared": _compared(question, found), "signs": SIGNS, "id": question_id}
    )


@router.get("/grades/{grade_id}")
def show(request: Request, grade_id: str, store: OpenStore, caller: CurrentCaller) -> Response:
    """One grade: the evidence for each point, what came before, and the form that replaces it."""
    with store.read() as tx:
        return _shown(request, tx, grade_id, caller.owner, ReviewForm(author=caller.name))


@router.post("/grades/{grade_id}")
def override(
    request: Request, grade_id: str, store: OpenStore, caller: CurrentCaller, form: Annotated[ReviewForm, Form()]
) -> Response:
    """Puts the reviewer's word in the place of the grade, which is kept."""
    try:
        with store.write() as tx:
            stored = grades.get(tx, grade_id, caller.owner)
            _, after = grades.override(tx, grade_id, _review(form, stored), key_id=caller.key_id, owner=caller.owner)
    except (GraderError, ValueError) as error:
        status = status_for(error) if isinstance(error, GraderError) else 422
        with store.read() as tx:
            return _shown(request, tx, grade_id, caller.owner, form, str(error), status)
    return RedirectResponse(f"/review/grades/{after.id}", 303)


def _review(form: ReviewForm, stored: StoredGrade) -> grades.Review:
    """The form as a review; raises ValueError with what is missing."""
    if not form.author.strip() or not form.reason.strip():
        raise ValueError(say("refused.review_form.who_and_why"))
    try:
        score = float(form.score.replace(",", ".")) if form.score.strip() else None
    except ValueError:
        raise ValueError(say("refused.review_form.score")) from None
    said: dict[str, Verdict] = {}
    for result, verdict in zip(stored.grade.criteria, form.verdict, strict=False):
        if chosen := next((one for one in VERDICTS if one == verdict), None):
            said[result.id] = chosen
    return grades.Review(form.author.strip(), form.reason.strip(), score, said, frozenset(form.dropped))


def _shown(
    request: Request,
    tx: Transaction,
    grade_id: str,
    owner: str | None,
    form: ReviewForm,
    error: str | None = None,
    status: int = 200,
) -> Response:
    chain = grades.history(tx, grade_id, owner)
    stored = next(one for one in chain if one.id == grade_id)
    question = grades.rubric_of(tx, stored)
    values: dict[str, Any] = {
        "stored": stored,
        "result": result_of(question, stored.answer, stored.grade),
        "chain": chain,
        "verdicts": VERDICTS,
        "form": form,
        "error": error,
        "signs": SIGNS,
    }
    return page(request, "review_grade.html", values, status)


def _compared(question: Question | None, found: Sequence[StoredGrade]) -> Compared:
    newest: dict[str, StoredGrade] = {}
    for one in found:
        newest.setdefault(one.candidate or one.id, one)
    stored = tuple(list(newest.values())[:MOST_COMPARED])
    names = list(dict.fromkeys(result.id for one in stored for result in one.grade.criteria))
    statements = {c.id: c.statement for c in question.criteria} if question else {}
    verdicts = [{result.id: result.verdict for result in one.grade.criteria} for one in stored]
    rows = tuple((statements.get(name, name), tuple(by.get(name) for by in verdicts)) for name in names)
    return Compared(question, stored, rows)
