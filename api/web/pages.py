"""The web form: questions, an answer, its grade. Server-rendered, works without JavaScript, stores nothing.

Candidates use these pages: no criterion statement is on them before the reference is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from api.errors import status_of
from api.state import LoadedGrader
from api.web.highlight import pieces
from grader.errors import GraderError
from grader.feedback import label
from grader.pipeline import Grader
from grader.schema import CriterionResult, Grade, Question

STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)
_environment = Environment(
    loader=PackageLoader("api.web", "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["label"] = label
templates = Jinja2Templates(env=_environment)

GROUPS = {
    "met": ("Covered", "✓"),
    "partial": ("Partly covered", "◐"),
    "contradicted": ("To check", "✗"),
}


@router.get("/", response_class=HTMLResponse)
def index(request: Request, grader: LoadedGrader) -> Response:
    """All questions."""
    return templates.TemplateResponse(request, "index.html", {"bank": grader.bank})


@router.get("/questions/{question_id}", response_class=HTMLResponse)
def ask(request: Request, question_id: str, grader: LoadedGrader) -> Response:
    """One question and an empty answer."""
    question = grader.bank.question(question_id)
    context = {"question": question, "answer": "", "error": None, "next": _next(grader, question)}
    return templates.TemplateResponse(request, "question.html", context)


@router.post("/questions/{question_id}", response_class=HTMLResponse)
def submit(request: Request, question_id: str, grader: LoadedGrader, answer: Annotated[str, Form()] = "") -> Response:
    """The grade of an answer; an answer that cannot be taken comes back with the reason, nothing lost."""
    question = grader.bank.question(question_id)
    text = answer.replace("\r\n", "\n")  # browsers send Windows line ends; offsets refer to what was typed
    context = {"question": question, "answer": text, "error": None, "next": _next(grader, question)}
    try:
        grade = grader.grade(question_id, text)
    except GraderError as error:
        status, _ = status_of(error)
        return templates.TemplateResponse(request, "question.html", {**context, "error": str(error)}, status)
    context |= {"grade": grade, "pieces": pieces(text, grade), "groups": _groups(grade), "missing": _missing(grade)}
    return templates.TemplateResponse(request, "result.html", context)


@router.get("/questions/{question_id}/reference", response_class=HTMLResponse)
def reference(request: Request, question_id: str, grader: LoadedGrader) -> Response:
    """Reference answers and rubric, for who asks to see them."""
    question = grader.bank.question(question_id)
    return templates.TemplateResponse(request, "reference.html", {"question": question})


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> Response:
    """The API in short, from its own description."""
    description = request.app.openapi()
    routes = [
        (method.upper(), path, operation.get("summary", ""), operation.get("description", ""))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    context = {"info": description["info"], "routes": routes, "address": str(request.base_url).rstrip("/")}
    return templates.TemplateResponse(request, "docs.html", context)


def _next(grader: Grader, question: Question) -> Question:
    questions = grader.bank.questions
    return questions[(questions.index(question) + 1) % len(questions)]


def _groups(grade: Grade) -> list[tuple[str, str, str, list[tuple[int, CriterionResult]]]]:
    """Verdict, title, sign and the numbered results of each group that has any."""
    numbered = list(enumerate(grade.criteria, start=1))
    return [
        (verdict, title, sign, found)
        for verdict, (title, sign) in GROUPS.items()
        if (found := [(number, result) for number, result in numbered if result.verdict == verdict])
    ]


def _missing(grade: Grade) -> list[str]:
    return [result.hint or "One more key point." for result in grade.criteria if result.verdict == "not_met"]


def error_page(request: Request, status: int, title: str, detail: str, *, refresh: bool = False) -> Response | None:
    """An error as a page for a browser; None for everyone else, who gets problem+json."""
    machine = request.url.path.startswith(("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json"))
    if machine or "text/html" not in request.headers.get("accept", ""):
        return None
    context = {"title": title, "detail": detail, "refresh": refresh}
    return templates.TemplateResponse(request, "error.html", context, status)


def install(app: FastAPI) -> None:
    """Adds the pages and their static files."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
