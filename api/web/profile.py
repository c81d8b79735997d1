"""Who the visitor is, without an account: a random name in a signed cookie, made only when they ask for a history.

The name is all that ties attempts together; it is in no page and leaves this machine only in the browser that has it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, Response
from itsdangerous import BadSignature, URLSafeSerializer

from api.access import Caller, get_caller
from api.state import OpenStore
from api.store import Store, candidates, grades
from api.store.errors import UnknownRecord
from api.store.grades import Filter, StoredGrade
from grader.schema import Grade, Question

COOKIE = "profile"
COOKIE_AGE = 2 * 365 * 86_400  # seconds
# Attempts that pages look back on: more than a year of practice, and few enough to be read for one page. Exports hold all.
MOST_ATTEMPTS = 400


@dataclass(frozen=True)
class Visitor:
    """A browser, and the history it has here (`candidate` is None: it asked for none)."""

    store: Store
    candidate: str | None
    key_id: str | None

    def attempts(self, question_id: str | None = None) -> list[StoredGrade]:
        """The latest of what was kept, in the order they were answered; of one question or of all."""
        if self.candidate is None:
            return []
        wanted = Filter(candidate=self.candidate, question_id=question_id)
        with self.store.read() as tx:
            return sorted(grades.find(tx, wanted, limit=MOST_ATTEMPTS).grades, key=in_order)

    def every_attempt(self) -> Iterator[StoredGrade]:
        """All that was kept, newest first, however many they are."""
        cursor: int | None = None
        while self.candidate is not None:
            with self.store.read() as tx:
                found = grades.find(tx, Filter(candidate=self.candidate), cursor, MOST_ATTEMPTS)
            yield from found.grades
            cursor = found.next_cursor
            if cursor is None:
                return

    def attempt(self, grade_id: str) -> StoredGrade:
        """One of them; raises UnknownRecord for what is not this visitor's."""
        with self.store.read() as tx:
            found = grades.get(tx, grade_id)
        if self.candidate is None or found.candidate != self.candidate:
            raise UnknownRecord("grade", grade_id)
        return found

    def keep(self, question: Question, answer: str, grade: Grade, hints: Sequence[str] = ()) -> StoredGrade:
        """Adds an attempt and the hints it was written with; the visitor must have a history."""
        whose = {"candidate": self.candidate, "key_id": self.key_id}
        with self.store.write() as tx:
            return grades.add(tx, grade, answer=answer, question=question, hints=hints, **whose)

    def export(self) -> dict[str, object]:
        """Everything that is kept of them; raises UnknownRecord when nothing is."""
        with self.store.read() as tx:
            return candidates.export(tx, self.candidate or "")

    def erase(self) -> None:
        """Deletes everything that is kept of them."""
        if self.candidate is None:
            return
        with self.store.write() as tx:
            try:
                candidates.erase(tx, self.candidate, actor="visitor")
            except UnknownRecord:
                return  # a history without attempts is gone with its cookie
        self.store.empty_log()


def get_visitor(request: Request, store: OpenStore, caller: Annotated[Caller, Depends(get_caller)]) -> Visitor:
    """Dependency: the visitor, as their cookie says. A cookie this service did not sign counts as none."""
    return Visitor(store, _candidate(store, request.cookies.get(COOKIE)), caller.key_id)


CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]


def begin(request: Request, response: Response, visitor: Visitor) -> Visitor:
    """A new history, and the cookie that names it; a visitor who has one keeps it."""
    if visitor.candidate is not None:
        return visitor
    name = secrets.token_urlsafe(16)
    cookie = _signer(visitor.store).dumps(name)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, str(cookie), COOKIE_AGE, samesite="lax", httponly=True, secure=secure)
    return Visitor(visitor.store, f"profile:{name}", visitor.key_id)


def end(response: Response) -> None:
    """Takes the cookie away."""
    response.delete_cookie(COOKIE, samesite="lax", httponly=True)


def _candidate(store: Store, cookie: str | None) -> str | None:
    if not cookie:
        return None
    try:
        name = _signer(store).loads(cookie)
    except BadSignature:
        return None
    return f"profile:{name}" if isinstance(name, str) else None


def _signer(store: Store) -> URLSafeSerializer:
    return URLSafeSerializer(store.secret("cookies"), salt="profile")


def in_order(attempt: StoredGrade) -> tuple[datetime, int]:
    """What attempts are sorted by: when they were answered, not when somebody last looked at their grades."""
    return attempt.answered_at, attempt.sequence


def by_question(attempts: list[StoredGrade]) -> Iterator[tuple[str, list[StoredGrade]]]:
    """The attempts of each question, in the order the questions were first tried."""
    found: dict[str, list[StoredGrade]] = {}
    for one in attempts:
        found.setdefault(one.question_id, []).append(one)
    yield from found.items()
