"""One effect for one `Idempotency-Key`, however often and however fast the request is sent.

A record is claimed before the work, settled in the transaction that keeps its result, and released after an error. It keeps
a fingerprint of the body and which grade or job came of it, never the body or the response; erasing these erases it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, and_, delete, select, update

from api.store.engine import Transaction, insert_new
from api.store.tables import idempotency

# How long a response is given again; a client that still repeats after a day has lost track.
KEPT = timedelta(hours=24)
# A grade takes seconds at worst; who holds a claim longer has died.
LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Claim:
    """What is to be done: `mine`: the work; `busy`: wait; `done`: give the result; `other_body`: refuse."""

    state: Literal["mine", "busy", "done", "other_body"]
    grade_id: str | None = None
    job_id: str | None = None


def fingerprint(body: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its fields and its white space."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def claim(tx: Transaction, scope: str, key: str, fingerprint: str, lease: timedelta = LEASE) -> Claim:
    """Takes a key for the work, or says what came of it. `scope` is the API key's id, so that clients cannot collide."""
    new = {"scope": scope, "key": key, "fingerprint": fingerprint, "created_at": tx.now, "lease_until": tx.now + lease}
    if insert_new(tx, idempotency, new):
        return Claim("mine")
    row = tx.execute(select(idempotency).where(_is(scope, key)).with_for_update()).first()
    if row is None:  # released or purged between the two statements
        return Claim("mine") if insert_new(tx, idempotency, new) else Claim("busy")
    if tx.now - row.created_at >= KEPT:
        tx.execute(delete(idempotency).where(_is(scope, key)))
        return claim(tx, scope, key, fingerprint, lease)
    return _existing(tx, row, fingerprint, lease)


def _existing(tx: Transaction, row: Row[Any], fingerprint: str, lease: timedelta) -> Claim:
    if row.fingerprint != fingerprint:
        return Claim("other_body")
    if row.lease_until is None:
        return Claim("done", row.grade_id, row.job_id)
    if _held(row.lease_until, tx.now, lease):
        return Claim("busy")
    tx.execute(update(idempotency).where(_is(row.scope, row.key)).values(lease_until=tx.now + lease))
    return Claim("mine")


def _held(until: datetime, now: datetime, lease: timedelta) -> bool:
    """Whether a lease still runs; one that ends later than a lease lasts was taken before the clock was set back."""
    return now < until <= now + 2 * lease


def settle(tx: Transaction, scope: str, key: str, *, grade_id: str | None = None, job_id: str | None = None) -> None:
    """Ends the work, in the transaction that keeps its result."""
    result = {"lease_until": None, "grade_id": grade_id, "job_id": job_id}
    tx.execute(update(idempotency).where(_is(scope, key)).values(**result))


def release(tx: Transaction, scope: str, key: str) -> None:
    """Gives a claim up after an error: the same request may try again."""
    tx.execute(delete(idempotency).where(_is(scope, key), idempotency.c.lease_until.is_not(None)))


def purge(tx: Transaction) -> int:
    """Deletes records nobody is given again; how many."""
    return tx.execute(delete(idempotency).where(idempotency.c.created_at < tx.now - KEPT)).rowcount


def _is(scope: str, key: str) -> ColumnElement[bool]:
    return and_(idempotency.c.scope == scope, idempotency.c.key == key)
