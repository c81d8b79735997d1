"""What can go wrong with the store, as types.

    GraderError
    +-- StoreError            the database cannot be used as it is: wrong address, wrong version, missing driver
    |   +-- StoreUnavailable  it does not answer, is full, locked or read-only: the same request may succeed later
    +-- UnknownRecord         no grade, job, key or candidate has that id, or it belongs to someone else
    +-- Conflict              the request fits no longer: it was superseded, or the idempotency key is taken

Every message says what to do; none repeats an answer, a password or a statement of SQL.
"""

from __future__ import annotations

from grader.errors import GraderError


class StoreError(GraderError):
    """The database cannot be used as it is."""


class StoreUnavailable(StoreError):
    """The database did not take or give the data this time."""


class UnknownRecord(GraderError):
    """There is no such record for this caller."""

    def __init__(self, kind: str, record_id: str) -> None:
        self.kind, self.record_id = kind, record_id
        super().__init__(f"There is no {kind} {record_id!r} here, or none that you may see.")


class Conflict(GraderError):
    """The request contradicts what is stored."""
