"""Which route a path belongs to, before it is routed: for who may use it, for the log, and for what is allowed there."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, compile_path


class Places:
    """The routes of an app, found as its router will find them."""

    def __init__(self, app: FastAPI) -> None:
        self._compiled = [(methods, path, _pattern(app, path)) for methods, path in places(app)]

    def find(self, method: str, path: str) -> tuple[str, str] | None:
        """Method and path template; None when no route will answer (404, 405)."""
        for methods, template, pattern in self._compiled:
            if method in methods and pattern.match(path):
                return method, template
        return None

    def methods(self, path: str) -> list[str]:
        """What is allowed there, by any of the routes that share the path; HEAD goes wherever GET does."""
        found = {method for methods, _, pattern in self._compiled if pattern.match(path) for method in methods}
        return sorted(found | {"HEAD"} if "GET" in found else found)


def places(app: FastAPI) -> list[tuple[frozenset[str], str]]:
    """Methods and path template of every route of an app, in the order in which they are tried."""
    return [
        (frozenset(route.methods or {"GET"}), route.path)
        for route in iter_route_contexts(app.router.routes)
        if route.path is not None
    ]


def places_of(app: FastAPI) -> Places:
    """Those of an app whose routes are all there; made at the first request."""
    found: Places | None = getattr(app.state, "places", None)
    if found is None:
        found = app.state.places = Places(app)
    return found


def _pattern(app: FastAPI, path: str) -> re.Pattern[str]:
    mounted = any(isinstance(route, Mount) and route.path == path for route in app.router.routes)
    return compile_path(path + "/{path:path}" if mounted else path)[0]
