"""Finds out who sends a request, and whether they may, before anything of its body is read.

A program sends its key as `Authorization: Bearer ag_...`; a browser has a signed cookie that it got for one at /login. On a
loopback address without any key the service is open to this machine: as long as nothing says that a request has come
from further away (a proxy in front, or a foreign host name that was made to point here).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi.security import HTTPBearer
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access import ACCESS, PUBLIC, Caller, Line
from api.errors import Page, Refused, problem, status_of
from api.places import places_of
from api.rates import address_of
from api.store import Store
from api.store.errors import StoreError
from api.store.keys import Key, Keyring, any_configured
from api.texts import say

COOKIE = "grader_session"
SESSION_SECONDS = 12 * 3600
# Shown in the OpenAPI document; the check itself is the middleware below.
BEARER = HTTPBearer(
    auto_error=False, description="A key made with `grader keys create`. Not needed on an open loopback."
)


class Authentication:
    """Puts a `Caller` into the request's state, or answers 401 or 403. Public routes get a caller when there is one."""

    def __init__(
        self,
        app: ASGIApp,
        store: Callable[[], Store],
        open_to_machine: bool,
        page: Page,
        public: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self.app = app
        self.store = store
        self.open_to_machine = open_to_machine
        self.page = page
        self.public = public  # routes the operator opens beyond the table
        self._keyring: Keyring | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        place = places_of(scope["app"]).find(scope["method"], scope["path"])
        if place is not None:
            try:
                caller = await self._caller(scope, place)
            except (Refused, StoreError) as error:
                await self._refusal(Request(scope), error)(scope, receive, send)
                return
            if caller is not None:
                scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)

    async def _caller(self, scope: Scope, place: tuple[str, str]) -> Caller | None:
        line = ACCESS.get(place, {})
        if line is PUBLIC or place in self.public:
            return None
        return await run_in_threadpool(self._identify, scope, line)

    def _identify(self, scope: Scope, line: Line) -> Caller:
        key = self._key(Headers(scope=scope), HTTPConnection(scope))
        if key is not None:
            reach = (line or {}).get(key.role)
            if reach is None:
                raise Refused(403, "Not allowed", say("refused.access.role", role=key.role))
            return Caller(key.id, key.name, key.role, reach)
        if not self._is_open(scope):
            raise Refused(401, "Key needed", say("refused.key.how"))
        if line is not None and "admin" not in line:
            raise Refused(403, "Not allowed", say("refused.access.no_line"))
        return Caller(None, "local", "admin", "all")

    def _key(self, headers: Headers, connection: HTTPConnection) -> Key | None:
        """The key that was sent; None when none was. Raises Refused when what was sent is none."""
        if "authorization" in headers:
            scheme, _, token = headers["authorization"].partition(" ")
            key = self.keyring.key_of(token.strip()) if scheme.lower() == "bearer" else None
            if key is None:
                detail = f"{say('refused.key.unknown')} {say('refused.key.how')}"
                raise Refused(401, "Key refused", detail)
            return key
        cookie = connection.cookies.get(COOKIE)
        return session_key(self.keyring, cookie) if cookie else None

    @property
    def keyring(self) -> Keyring:
        if self._keyring is None:
            self._keyring = Keyring(self.store())
        return self._keyring

    def _is_open(self, scope: Scope) -> bool:
        if not self.open_to_machine or address_of(scope) is not None or not _is_local(Headers(scope=scope)):
            return False
        with self.store().read() as tx:
            return not any_configured(tx)

    def _refusal(self, request: Request, error: Refused | StoreError) -> Response:
        if isinstance(error, StoreError):
            status, title = status_of(error)
            headers = {"retry-after": "5"} if status == 503 else None
            return self.page(request, status, title, str(error)) or problem(status, title, str(error), headers=headers)
        page = self.page(request, error.status, error.title, error.detail)
        if page is not None and error.status == 401 and request.method == "GET":
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
        headers = {"www-authenticate": 'Bearer realm="answer-grader"'} if error.status == 401 else None
        return page or problem(error.status, error.title, error.detail, headers=headers)


def _is_local(headers: Headers) -> bool:
    """Whether the host that was asked for is this machine by name or address.

    A page on the internet can make its own name point to 127.0.0.1 and so reach an open service from a browser here; such a
    name has a dot. No header of a proxy may be there either: whom it speaks for is somewhere else.
    """
    if "forwarded" in headers or "x-forwarded-for" in headers:
        return False
    host = headers.get("host", "").rsplit("@", 1)[-1]
    name = host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return "." not in name or name.lower().rstrip(".").endswith(".localhost")


# ---- a browser's session ---------------------------------------------------------------------------------------------


def _signer(store: Store) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(store.secret("session"), salt="session")


def session_cookie(store: Store, token: str) -> str | None:
    """What to set as the cookie COOKIE for a valid key; None when the key is none."""
    key = Keyring(store).key_of(token.strip())
    return None if key is None else str(_signer(store).dumps(key.id))


def session_key(keyring: Keyring, cookie: str) -> Key | None:
    """The key a cookie stands for, as long as it is valid; None otherwise."""
    try:
        content: Any = _signer(keyring.store).loads(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    return keyring.by_id(content) if isinstance(content, str) else None
