"""What a request may be before anyone reads it (size, content type, encoding) and how long it may take.

Pure ASGI, so that an endless body is refused at the limit instead of being collected first.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Page, problem
from api.texts import say

# Bodies that are no JSON: files of answers, sent to where many answers are taken.
UPLOAD_PATH = "/v1/grades/batch"
# What is still read of a body that is too large before the connection is closed.
DISCARD_BYTES, DISCARD_SECONDS = 8 * 2**20, 1.0
UPLOAD_TYPES = frozenset({"application/x-ndjson", "application/jsonl", "text/csv"})


class RequestLimits:
    """Refuses bodies over the limit (413), too slow (408), not of a type the API reads (415) or not UTF-8 (400)."""

    def __init__(self, app: ASGIApp, page: Page, max_body_bytes: int, max_upload_bytes: int, patience: float) -> None:
        self.app = app
        self.page = page
        self.max_body_bytes = max_body_bytes
        self.max_upload_bytes = max_upload_bytes
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        is_api = scope["path"].startswith("/v1/")
        is_upload = scope["path"] == UPLOAD_PATH and kind in UPLOAD_TYPES
        limit = self.max_upload_bytes if scope["path"] == UPLOAD_PATH else self.max_body_bytes
        try:
            async with asyncio.timeout(self.patience):
                body = await _read(receive, headers, limit)
        except TimeoutError:
            detail = say("refused.body.too_slow", seconds=f"{self.patience:g}")
            await self._refuse(scope, receive, send, 408, "Body too slow", detail, close=True)
            return
        if body is None:
            detail = say("refused.body.too_large", limit=f"{limit:,}")
            await self._refuse(scope, receive, send, 413, "Body too large", detail, close=True)
        elif is_api and body and not is_upload and not _is_json(kind):
            detail = "Send the body as application/json (with that Content-Type header)."
            if scope["path"] == UPLOAD_PATH:
                detail = (
                    "Send the body as application/json, application/x-ndjson or text/csv (in the Content-Type header)."
                )
            await self._refuse(scope, receive, send, 415, "Unsupported media type", detail)
        elif is_api and not is_upload and not _is_utf8(body):
            await self._refuse(scope, receive, send, 400, "Not UTF-8", "The body is not UTF-8; JSON must be.")
        else:
            await self.app(scope, _replay(body, receive), send)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, title: str, detail: str, *, close: bool = False
    ) -> None:
        response = self.page(Request(scope), status, title, detail) or problem(status, title, detail)
        if close:
            # A socket closed with bytes unread is reset, and the client would never see the answer; so most of what is still
            # coming is read and dropped. What may be left after that is not, so no other request can follow on this connection.
            if status == 413 and "expect" not in Headers(scope=scope):  # who asks first has sent nothing yet
                await _discard(receive)
            response.headers["connection"] = "close"
        await response(scope, receive, send)


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is over the limit."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        return None
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the client went away; nobody reads the answer
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _discard(receive: Receive) -> None:
    """Reads on until the body ends, the client is gone, or it is no longer worth it."""
    size = 0
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while size < DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then whatever comes after it."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class TooSlow(Exception):
    """A client does not take its response; ends the connection."""


class ResponseDeadline:
    """Answers 503 when no response has begun within `seconds`, and gives up a client that takes no bytes for as long.

    Work that is under way in a thread cannot be stopped: it goes on, keeps its place in the queue, and its result is
    dropped, so the count of what runs stays true.
    """

    def __init__(self, app: ASGIApp, page: Page, seconds: float) -> None:
        self.app = app
        self.page = page
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, late = asyncio.Event(), False

        async def watched(message: Message) -> None:
            if late:
                return
            begun.set()
            try:
                async with asyncio.timeout(self.seconds):
                    await send(message)
            except TimeoutError:
                raise TooSlow(f"took no bytes for {self.seconds:g} s") from None

        work = asyncio.ensure_future(self.app(scope, receive, watched))
        first = asyncio.ensure_future(begun.wait())
        try:
            await asyncio.wait({work, first}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not begun.is_set():
                late = True
                await self._say_late(scope, receive, send)
            await work
        finally:
            first.cancel()
            work.cancel()  # only when this request itself is being cancelled; else it is done

    async def _say_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        title, detail = "Timed out", say("refused.late", seconds=f"{self.seconds:g}")
        response = self.page(Request(scope), 503, title, detail) or problem(503, title, detail)
        response.headers["retry-after"] = "5"
        await response(scope, receive, send)
