"""What can go wrong with the store, as types.

    GraderError
    +-- StoreError            the database cannot be used as it is: wrong address, wrong version, missing driver
    |   +-- StoreUnavailable  it does not answer, is full, locked or read-only: the same request may succeed later
    +-- UnfitValue            the database can never hold a value of the request: too long, or with a NUL
    +-- UnknownRecord         no grade, job, key or candidate has that id, or it belongs to someone else
    +-- Conflict              the request fits no longer: it was superseded, or the idempotency key is taken

Every message says what to do; none repeats an answer, a password or a statement of SQL.
"""

from __future__ import annotations

from typing import Literal

from api.texts import say
from grader.errors import GraderError


class StoreError(GraderError):
    """The database cannot be used as it is."""


class StoreUnavailable(StoreError):
    """The database did not take or give the data this time."""


class UnfitValue(GraderError):
    """The database cannot hold what was sent: the fault of the request, which need not be sent again."""


class UnknownRecord(GraderError):
    """There is no such record for this caller."""

    def __init__(self, kind: Literal["candidate", "grade", "job", "key"], record_id: str) -> None:
        self.kind, self.record_id = kind, record_id
        super().__init__(say(f"refused.record.{kind}", id=repr(record_id)))


class Conflict(GraderError):
    """The request contradicts what is stored."""
