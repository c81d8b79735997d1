"""Every error as problem+json (RFC 9457): one table from error class to status, one shape for all.

The body of a request is never repeated in an error: it may hold anything, and it may be personal.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from api.places import places_of
from api.store.errors import Conflict, StoreError, StoreUnavailable, UnfitValue, UnknownRecord
from api.texts import say
from grader.errors import (
    AnswerTooLong,
    BankError,
    CalibrationError,
    EncoderError,
    GraderError,
    InvalidAnswer,
    InvalidQuestion,
    InvalidReview,
    JudgeError,
    JudgeMissing,
    JudgeUnavailable,
    UnknownQuestion,
)

MEDIA_TYPE = "application/problem+json"

# Most specific first: the first class that fits decides.
STATUS: dict[type[GraderError], tuple[int, str]] = {
    UnknownQuestion: (404, "Unknown question"),
    AnswerTooLong: (413, "Answer too long"),
    InvalidAnswer: (422, "Invalid answer"),
    InvalidQuestion: (422, "Invalid question"),
    InvalidReview: (422, "Invalid review"),
    UnknownRecord: (404, "Not found"),
    Conflict: (409, "Conflict"),
    UnfitValue: (422, "Invalid request"),
    StoreUnavailable: (503, "Database unavailable"),
    StoreError: (500, "Database unusable"),
    BankError: (500, "Bank unusable"),
    EncoderError: (500, "Encoder unusable"),
    JudgeMissing: (422, "No judge"),
    JudgeUnavailable: (503, "Judge unavailable"),
    JudgeError: (500, "Judge unusable"),
    CalibrationError: (500, "Calibration unusable"),
}


# What is said of a wrong body stays small, however large the body: so many fields, so many characters of a name.
MOST_FIELD_ERRORS = 50
FIELD_CHARS = 100

TITLES = {400: "Bad request", 404: "Not found", 405: "Method not allowed"}


class Refused(Exception):
    """A sound request that is not served now; `retry_after` in seconds says when to come back, if ever."""

    def __init__(self, status: int, title: str, detail: str, retry_after: int | None = None) -> None:
        self.status, self.title, self.detail, self.retry_after = status, title, detail, retry_after
        super().__init__(detail)


class NotReady(Exception):
    """The model and the bank are still being loaded, or could not be."""

    def __init__(self, detail: str, retry_after: int | None) -> None:
        self.detail, self.retry_after = detail, retry_after
        super().__init__(detail)


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it. `errors` lists the fields of an invalid body."""

    type: str = Field("about:blank", description="Always about:blank: the status says what kind of problem it is.")
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


def problem(
    status: int, title: str, detail: str, errors: list[FieldError] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem+json response."""
    body = Problem(type="about:blank", title=title, status=status, detail=detail, errors=errors)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def status_of(error: GraderError) -> tuple[int, str]:
    """HTTP status and title of a library error."""
    for kind, answer in STATUS.items():
        if isinstance(error, kind):
            return answer
    return 500, "Internal error"


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented problem responses of a route."""
    return {status: {"model": Problem, "content": {MEDIA_TYPE: {}}} for status in statuses}


class Page(Protocol):
    """Renders an error for a browser in its language, or says None when the request is not a browser's."""

    def __call__(
        self, request: Request, status: int, title: str, detail: str, *, refresh: bool = False
    ) -> Response | None: ...


def install(app: FastAPI, page: Page) -> None:
    """Registers the handlers: a page for a browser, problem+json for everyone else."""

    @app.exception_handler(GraderError)
    async def _library(request: Request, error: GraderError) -> Response:
        status, title = status_of(error)
        headers = {"Retry-After": "5"} if status == 503 else None
        return page(request, status, title, str(error)) or problem(status, title, str(error), headers=headers)

    @app.exception_handler(NotReady)
    async def _not_ready(request: Request, error: NotReady) -> Response:
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
        return page(request, 503, "One moment", error.detail, refresh=headers is not None) or problem(
            503, "Not ready", error.detail, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[:MOST_FIELD_ERRORS]
        if any(detail["type"] == "json_invalid" for detail in found):
            reason = found[0].get("ctx", {}).get("error", "")
            return problem(400, "Not JSON", f"The body is not valid JSON: {reason}")
        errors = [FieldError(field=_dotted(detail["loc"]), message=str(detail["msg"])) for detail in found]
        names = ", ".join(list(dict.fromkeys(e.field for e in errors))[:5])
        title = "Invalid request"
        shown = page(request, 422, title, say("refused.request_on_page", names=names))  # which lists no errors
        return shown or problem(422, title, say("refused.request", names=names), errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        title = TITLES.get(error.status_code, "Error")
        headers = dict(error.headers) if error.headers else None
        response = page(request, error.status_code, title, str(error.detail)) or problem(
            error.status_code, title, str(error.detail), headers=headers
        )
        if error.status_code == 405:  # the framework names those of the first route of the path only
            response.headers["allow"] = ", ".join(places_of(request.app).methods(request.scope["path"]))
        return response

    @app.exception_handler(Refused)
    async def _refused(request: Request, error: Refused) -> Response:
        response = page(request, error.status, error.title, error.detail) or problem(
            error.status, error.title, error.detail
        )
        if error.retry_after is not None:
            response.headers["retry-after"] = str(error.retry_after)
        return response


def unexpected(request: Request, page: Page) -> Response:
    """What is said of an error nobody foresaw: nothing of it, for it may hold anything."""
    title, detail = "Internal error", say("refused.unexpected")
    return page(request, 500, title, detail) or problem(500, title, detail)


def _dotted(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part not in {"body", "query", "path"}]
    return ".".join(parts)[:FIELD_CHARS] or "body"
