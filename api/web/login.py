"""A browser's way in when the service asks for keys: a key once, a signed cookie from then on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from api.auth import COOKIE, SESSION_SECONDS, session_cookie
from api.state import OpenStore
from api.web.render import local_path, page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/login")
def ask(request: Request, to: Annotated[str, Query(alias="next", max_length=500)] = "/") -> Response:
    """Asks for a key."""
    return page(request, "login.html", {"to": local_path(to), "refused": False})


@router.post("/login")
def enter(
    request: Request,
    store: OpenStore,
    key: Annotated[str, Form(max_length=200)] = "",
    to: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Takes a key and goes on to where the visitor wanted to."""
    cookie = session_cookie(store, key)
    if cookie is None:
        return page(request, "login.html", {"to": local_path(to), "refused": True}, 401)
    response = RedirectResponse(local_path(to), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, cookie, SESSION_SECONDS, samesite="lax", httponly=True, secure=secure)
    return response


@router.post("/logout")
def leave() -> Response:
    """Takes the cookie away."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, samesite="lax", httponly=True)
    return response
