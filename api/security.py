"""What guards a browser's user: security headers, a policy for pages, and refusal of requests other sites make it send.

Cross-site requests are told by what every current browser says of them (`Sec-Fetch-Site`, else `Origin`), so forms carry no
token and nothing is kept between requests. Programs say neither and pass; that they may is a matter of keys, not of this.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Page, problem
from api.texts import say

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# Pages load scripts and styles from this service only and run nothing inline; nobody may frame them.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What is no page has no business loading anything, even when a browser is talked into showing it.
DATA_POLICY = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    # Not no-referrer: it makes browsers send `Origin: null` with our own forms, which SameSiteOnly could not tell apart.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Answers can be dictated, which needs the microphone; nothing else of the machine is asked for.
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(self), payment=(), usb=()",
}
HTML = "text/html"


def add_headers(headers: MutableHeaders, path: str, *, https: bool = False) -> None:
    """Completes the headers of a response; a Cache-Control the route has set stays."""
    is_page = headers.get("content-type", "").startswith(HTML)
    for name, value in HEADERS.items():
        headers[name] = value
    headers["content-security-policy"] = PAGE_POLICY if is_page else DATA_POLICY
    if https:
        headers["strict-transport-security"] = "max-age=31536000"
    if path.startswith("/static/"):
        headers.setdefault("cache-control", "public, max-age=3600")
    else:
        # A page may be shown again by the back button, or a typed answer would be lost; data is not kept anywhere.
        headers.setdefault("cache-control", "private, no-cache" if is_page else "no-store")


class SecurityHeaders:
    """Adds the headers above to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                add_headers(headers, scope["path"], https=scope["scheme"] == "https")
                message = {**message, "headers": headers.raw}
            await send(message)

        await self.app(scope, receive, with_headers)


class SameSiteOnly:
    """Refuses (403) a request that changes something when a browser says that another site made it send it."""

    def __init__(self, app: ASGIApp, page: Page, allowed_origins: tuple[str, ...] = ()) -> None:
        self.app = app
        self.page = page
        self.allowed_origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and self._foreign(Headers(scope=scope)):
            title, detail = "Cross-site request refused", say("refused.cross_site")
            response = self.page(Request(scope), 403, title, detail) or problem(403, title, detail)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin", "")
        if origin in self.allowed_origins:
            return False
        if site := headers.get("sec-fetch-site"):
            return site.strip().lower() not in {"same-origin", "none"}
        if not origin:
            return False  # no browser
        try:
            return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        except ValueError:
            return True


class HeadAsGet:
    """Answers HEAD wherever GET is answered, with the same headers and no body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        as_get = {**scope, "method": "GET"}
        await self.app(as_get, receive, without_body)
        scope.update({name: as_get[name] for name in ("route", "endpoint") if name in as_get})  # for the log
