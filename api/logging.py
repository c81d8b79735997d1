"""The log: one JSON object a line, with the request's id, and without a word of anybody's answer.

Messages of unforeseen exceptions are left out as well: those of a database or a validator repeat what was sent. What is kept
is the type and the places in the code, which is what finds a fault.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
import traceback
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, Processor, WrappedLogger

from api.errors import Page, unexpected
from api.metrics import Metrics
from api.places import places_of
from api.rates import UNLIMITED, key_of
from grader.errors import GraderError

LogFormat = Literal["auto", "json", "console"]
REQUEST_ID = "x-request-id"
# Taken over from a caller when it looks like an id; anything else could forge lines of a log.
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
MOST_FRAMES = 30


def configure(level: str = "info", style: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Sends everything that is logged to `stream` (default: stderr) as JSON, or coloured for a terminal."""
    target = stream or sys.stderr
    to_terminal = style == "console" or (style == "auto" and target.isatty())
    last: Processor = structlog.dev.ConsoleRenderer() if to_terminal else structlog.processors.JSONRenderer()
    sink = logging.StreamHandler(target)
    sink.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [sink]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # they come with outputs of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it would say at every start what dialect it found
    for name in ("httpx", "httpx2"):  # they would log the addresses of judges and webhooks
        logging.getLogger(name).setLevel(logging.WARNING)


def _without_messages(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces an exception by its types and places; messages of our own errors are ours and stay."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = describe(error)
    return event


def describe(error: BaseException) -> list[dict[str, Any]]:
    """An exception and its causes, outermost first: type, own message if it is one of ours, places in the code."""
    found: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(found) < 5:
        one: dict[str, Any] = {"type": type(current).__name__, "at": _places(current.__traceback__)}
        if isinstance(current, GraderError):
            one["message"] = str(current)
        found.append(one)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


# What every line passes, whether our code or a library logs it.
SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _without_messages,
]


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for a module of the service; silent below warnings until `configure` was called, as a library has to be."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


log = get("api.request")


class RequestLog:
    """Gives every request an id, logs and counts its response, and turns an unforeseen error into a 500."""

    def __init__(self, app: ASGIApp, page: Page, metrics: Metrics) -> None:
        self.app = app
        self.page = page
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID, ""))
        scope.setdefault("state", {})["request_id"] = request_id
        begun, status = time.perf_counter(), 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=list(message["headers"]))
                headers[REQUEST_ID] = request_id
                message = {**message, "headers": headers.raw}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, with_id)
            except Exception as error:
                log.error("failed", exc_info=error, route=route_of(scope))
                if status:
                    raise Broken from None  # half a response is out; the connection has to end
                await unexpected(Request(scope), self.page)(scope, receive, with_id)
            finally:
                self._done(scope, status, time.perf_counter() - begun)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        self.metrics.answered(scope["method"] if scope["method"] in METHODS else "other", route, status, seconds)
        # A service that starts is asked every second; why one never gets ready is a line of its own (api/state.py).
        is_probe = scope["path"].startswith(UNLIMITED) and (status < 500 or scope["path"] == "/readyz")
        made = {"job": scope["state"]["job"]} if "job" in scope["state"] else {}
        log.log(
            logging.DEBUG if is_probe else logging.INFO,
            "request",
            method=scope["method"][:20],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            key=key_of(scope),
            **made,
        )


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


class Broken(Exception):
    """A response ended halfway. What happened is in the log already."""


def route_of(scope: Scope) -> str:
    """The pattern of the route that answered, such as `/v1/grades/{grade_id}`: paths hold ids, and names of people.

    Of a request that was refused before: of the route that would have. `none` where there is none.
    """
    if "route" in scope:
        return str(getattr(scope["route"], "path", "none"))
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    place = places_of(scope["app"]).find(method, scope["path"])
    return "none" if place is None else place[1]


def new_request_id() -> str:
    """An id for a request that has none."""
    return f"req_{secrets.token_hex(12)}"


def _request_id(given: str) -> str:
    return given if _GOOD_ID.fullmatch(given) else new_request_id()
