"""Who did what and when. An entry holds no answer, no grade and no candidate: it outlives erasure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select

from api.store.engine import Transaction, insert_row
from api.store.tables import events

Action = Literal[
    "grade.overridden",
    "grade.regraded",
    "candidate.erased",
    "candidate.exported",
    "retention.applied",
    "key.created",
    "key.revoked",
    "job.created",
    "job.cancelled",
    "job.deleted",
    "database.restored",
]


@dataclass(frozen=True)
class Event:
    """One thing that was done; `subject` is the id of what it was done to."""

    at: datetime
    actor: str
    action: str
    subject: str | None
    details: dict[str, Any]


def add(tx: Transaction, actor: str, action: Action, subject: str | None = None, **details: int | str | None) -> None:
    """Notes what was done, in the transaction that does it. `actor` is a key id, `local` or `command line`."""
    row = {"at": tx.now, "actor": actor, "action": action, "subject": subject, "details": details}
    insert_row(tx, events, row)


def latest(tx: Transaction, subject: str | None = None, limit: int = 100) -> list[Event]:
    """The newest entries, of everything or of one subject, newest first."""
    wanted = select(events).order_by(events.c.sequence.desc()).limit(limit)
    if subject is not None:
        wanted = wanted.where(events.c.subject == subject)
    return [Event(row.at, row.actor, row.action, row.subject, row.details) for row in tx.execute(wanted)]
