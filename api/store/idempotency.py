"""One effect for one `Idempotency-Key`, however often and however fast the request is sent.

A record is claimed before the work, settled in the transaction that keeps its result, and released after an error. It keeps
a fingerprint of the body and which grade or job came of it, never the body or the response; erasing these erases it.

A claim is known by the moment at which its lease ends. Who has been overtaken (work that took longer than the lease, a clock
that was set) finds another moment there and can no longer settle, so there is one result even when two have worked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, select, update

from api.store import jobs
from api.store.engine import Transaction, insert_new
from api.store.tables import idempotency

# How long a response is given again; a client that still repeats after a day has lost track.
KEPT = timedelta(hours=24)
# A grade takes seconds at worst; who holds a claim longer has died.
LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Claim:
    """What is to be done: `mine`: the work; `busy`: wait; `done`: give the result; `other_body`: refuse.

    `until`, of a claim that is mine, is what settles or releases it.
    """

    state: Literal["mine", "busy", "done", "other_body"]
    grade_id: str | None = None
    job_id: str | None = None
    until: datetime | None = None


class ClaimLost(Exception):
    """Somebody else has taken the claim over: what was done for it must not be kept."""


def fingerprint(body: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its fields and its white space."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def claim(
    tx: Transaction,
    scope: str,
    key: str,
    fingerprint: str,
    lease: timedelta = LEASE,
    given_up: Collection[datetime] = (),
) -> Claim:
    """Takes a key for the work, or says what came of it. `scope` is the API key's id, so that clients cannot collide.

    `given_up` are the claims (by `until`) of which the caller knows that nobody works for them any more.
    """
    until = tx.now + lease
    new = {"scope": scope, "key": key, "fingerprint": fingerprint, "created_at": tx.now, "lease_until": until}
    if insert_new(tx, idempotency, new):
        return Claim("mine", until=until)
    row = tx.execute(select(idempotency).where(_is(scope, key)).with_for_update()).first()
    if row is None:  # released or purged between the two statements
        return Claim("mine", until=until) if insert_new(tx, idempotency, new) else Claim("busy")
    if tx.now - row.created_at >= KEPT:
        tx.execute(delete(idempotency).where(_is(scope, key)))
        return claim(tx, scope, key, fingerprint, lease)
    if row.fingerprint != fingerprint:
        return Claim("other_body")
    if row.lease_until is None:
        return Claim("busy") if _in_request(tx, row.job_id) else Claim("done", row.grade_id, row.job_id)
    if row.lease_until not in given_up and _held(row.lease_until, tx.now, lease):
        return Claim("busy")
    tx.execute(update(idempotency).where(_is(scope, key)).values(lease_until=until))
    return Claim("mine", until=until)


def is_busy(
    tx: Transaction, scope: str, key: str, lease: timedelta = LEASE, given_up: Collection[datetime] = ()
) -> bool:
    """Whether somebody works for a key, so that to claim it would be in vain."""
    row = tx.execute(select(idempotency.c.lease_until, idempotency.c.job_id).where(_is(scope, key))).first()
    if row is None or row.lease_until is None:
        return row is not None and _in_request(tx, row.job_id)
    return row.lease_until not in given_up and _held(row.lease_until, tx.now, lease)


def _in_request(tx: Transaction, job_id: str | None) -> bool:
    """Whether the request that made a small batch still grades it: its claim is settled by then, its results are not."""
    return job_id is not None and jobs.in_request(tx, job_id)


def _held(until: datetime, now: datetime, lease: timedelta) -> bool:
    """Whether a lease still runs; one that ends later than a lease lasts was taken before the clock was set back."""
    return now < until <= now + 2 * lease


def settle(
    tx: Transaction, scope: str, key: str, claim: Claim, *, grade_id: str | None = None, job_id: str | None = None
) -> None:
    """Ends the work, in the transaction that keeps its result; raises ClaimLost, and then nothing may be kept."""
    result = {"lease_until": None, "grade_id": grade_id, "job_id": job_id}
    if tx.execute(update(idempotency).where(_mine(scope, key, claim)).values(**result)).rowcount != 1:
        raise ClaimLost


def release(tx: Transaction, scope: str, key: str, claim: Claim) -> None:
    """Gives a claim up after an error: the same request may try again. One that is settled or lost stays as it is."""
    tx.execute(delete(idempotency).where(_mine(scope, key, claim)))


def purge(tx: Transaction) -> int:
    """Deletes records nobody is given again; how many."""
    return tx.execute(delete(idempotency).where(idempotency.c.created_at < tx.now - KEPT)).rowcount


def _is(scope: str, key: str) -> ColumnElement[bool]:
    return and_(idempotency.c.scope == scope, idempotency.c.key == key)


def _mine(scope: str, key: str, claim: Claim) -> ColumnElement[bool]:
    assert claim.until is not None, "only a claim that is mine can be ended"
    return and_(_is(scope, key), idempotency.c.lease_until == claim.until)
