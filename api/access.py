"""Who may do what: one line a route. A route that has no line is refused, and fails a test.

`own` means: what was made with the same key. `all` means: everything. A role that is not in a line may not use the route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from api.errors import Refused
from api.store.keys import Role

Reach = Literal["own", "all"]
Line = Mapping[Role, Reach] | None

PUBLIC: Line = None
ANYONE: Line = {"candidate": "own", "author": "own", "reviewer": "all", "admin": "all"}
STAFF: Line = {"author": "own", "reviewer": "all", "admin": "all"}
REVIEWERS: Line = {"reviewer": "all", "admin": "all"}
ADMINS: Line = {"admin": "all"}

ACCESS: dict[tuple[str, str], Line] = {
    # operate
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): ADMINS,
    ("GET", "/openapi.json"): PUBLIC,
    # questions: the full view is for staff, the route looks at it
    ("GET", "/v1/questions"): ANYONE,
    ("GET", "/v1/questions/{question_id}"): ANYONE,
    # grades
    ("POST", "/v1/grades"): ANYONE,
    ("GET", "/v1/grades"): ANYONE,
    ("GET", "/v1/grades/{grade_id}"): ANYONE,
    ("GET", "/v1/grades/{grade_id}/history"): STAFF,
    ("POST", "/v1/grades/{grade_id}/override"): REVIEWERS,
    ("GET", "/v1/agreement"): REVIEWERS,
    # batches
    ("POST", "/v1/grades/batch"): ANYONE,
    ("GET", "/v1/jobs/{job_id}"): ANYONE,
    ("GET", "/v1/jobs/{job_id}/results"): ANYONE,
    ("DELETE", "/v1/jobs/{job_id}"): ANYONE,
    # people
    ("GET", "/v1/candidates/{candidate:reference}"): ADMINS,
    ("DELETE", "/v1/candidates/{candidate:reference}"): ADMINS,
    ("GET", "/v1/events"): ADMINS,
    # pages
    ("GET", "/static"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/"): ANYONE,
    ("GET", "/questions/{question_id}"): ANYONE,
    ("POST", "/questions/{question_id}"): ANYONE,
    ("GET", "/questions/{question_id}/reference"): STAFF,
    ("POST", "/questions/{question_id}/hint"): ANYONE,
    ("POST", "/questions/{question_id}/reference"): STAFF,
    ("GET", "/surprise"): ANYONE,
    ("POST", "/practice"): ANYONE,
    ("GET", "/interview"): ANYONE,
    ("GET", "/interview/draw"): ANYONE,
    ("GET", "/interview/run"): ANYONE,
    ("POST", "/interview/run"): ANYONE,
    # one's own history: told apart by the visitor's cookie, not by the key
    ("GET", "/history"): ANYONE,
    ("POST", "/history/start"): ANYONE,
    ("GET", "/history/export.json"): ANYONE,
    ("GET", "/history/export.csv"): ANYONE,
    ("POST", "/history/erase"): ANYONE,
    ("GET", "/history/{grade_id}"): ANYONE,
    ("GET", "/review"): REVIEWERS,
    ("GET", "/review/items"): REVIEWERS,
    ("GET", "/review/questions/{question_id}"): REVIEWERS,
    ("GET", "/review/grades/{grade_id}"): REVIEWERS,
    ("POST", "/review/grades/{grade_id}"): REVIEWERS,
}


@dataclass(frozen=True)
class Caller:
    """Who sent a request, and how far they may see with it. Without a key: whoever sits at this machine."""

    key_id: str | None
    name: str
    role: Role
    reach: Reach

    @property
    def owner(self) -> str | None:
        """The key whose records they may see; None: everybody's."""
        return self.key_id if self.reach == "own" else None

    @property
    def is_candidate(self) -> bool:
        """A candidate sees feedback and hints: no criterion, no reference answer, no reviewer's reason."""
        return self.role == "candidate"

    @property
    def actor(self) -> str:
        """What the log of events calls them."""
        return self.key_id or self.name

    def need_staff(self, what: str) -> None:
        """Raises Refused (403) for a candidate."""
        if self.is_candidate:
            raise Refused(403, "Not allowed", f"A candidate's key may not see {what}; use one of another role.")


async def get_caller(request: Request) -> Caller:
    """Dependency: who sent the request, as api/auth.py found out."""
    caller: Caller = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(get_caller)]
