"""What a request may be before anyone reads it: its size, its content type, its encoding.

Pure ASGI, so that an endless body is refused at the limit instead of being collected first.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import SECURITY_HEADERS, Page, problem


class RequestLimits:
    """Refuses bodies over `max_body_bytes` (413), API bodies that are not JSON (415) or not UTF-8 (400)."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, page: Page) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        is_api = scope["path"].startswith("/v1/")
        if is_api and not _is_json(headers.get(b"content-type", b"")):
            detail = "Send the body as application/json (with that Content-Type header)."
            await problem(415, "Unsupported media type", detail)(scope, receive, send)
            return
        body = await self._read(receive, headers)
        if body is None:
            detail = f"The body is larger than {self.max_body_bytes:,} bytes."
            page = self.page(Request(scope), 413, "Body too large", detail)
            await (page or problem(413, "Body too large", detail))(scope, receive, send)
            return
        if is_api and not _is_utf8(body):
            await problem(400, "Not UTF-8", "The body is not UTF-8; JSON must be.")(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | None:
        """The whole body, or None as soon as it is over the limit."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
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
            if size > self.max_body_bytes:
                return None
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)


def _is_json(content_type: bytes) -> bool:
    kind = content_type.split(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


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


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every response."""

    HEADERS = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers)
