"""API keys: made, shown once, checked, revoked. What is kept cannot be turned back into a key.

A key is `ag_<id>_<secret>`: the id finds the row, the secret has 256 random bits. Because nobody can guess those, the
hash (Argon2id) is set to be cheap; a key that was checked once is remembered by its SHA-256 for as long as the process lives,
so that only the first request pays. Revoking and expiry are read at every request.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Row, select, update

from api.store import events
from api.store.engine import Store, Transaction, insert_row
from api.store.errors import StoreUnavailable, UnknownRecord
from api.store.tables import api_keys

logger = logging.getLogger("api.keys")

Role = Literal["candidate", "author", "reviewer", "admin"]
ROLES: tuple[Role, ...] = ("candidate", "author", "reviewer", "admin")

_TOKEN = re.compile(r"ag_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # OWASP's least for Argon2id: about 20 ms
# How exact "last used" is, and so how often a busy key costs a write.
LAST_USED_STEP = timedelta(minutes=1)
REMEMBERED = 4096


@dataclass(frozen=True)
class Key:
    """What may be known of a key after it was made."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def create(tx: Transaction, name: str, role: Role, expires_at: datetime | None = None) -> tuple[Key, str]:
    """A new key and the text to hand out, which is kept nowhere."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {
        "id": key_id,
        "name": name,
        "role": role,
        "hash": _HASHER.hash(secret),
        "created_at": tx.now,
        "expires_at": expires_at,
    }
    insert_row(tx, api_keys, row)
    events.add(tx, "command line", "key.created", key_id, role=role)
    return get(tx, key_id), f"ag_{key_id}_{secret}"


def get(tx: Transaction, key_id: str) -> Key:
    """One key; raises UnknownRecord."""
    row = tx.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    if row is None:
        raise UnknownRecord("key", key_id)
    return _key(row)


def all_keys(tx: Transaction) -> list[Key]:
    """Every key that was ever made, oldest first."""
    return [_key(row) for row in tx.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))]


def revoke(tx: Transaction, key_id: str) -> Key:
    """Ends a key for good; raises UnknownRecord. Revoking twice keeps the first moment."""
    key = get(tx, key_id)
    if key.revoked_at is None:
        tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=tx.now))
        events.add(tx, "command line", "key.revoked", key_id)
    return get(tx, key_id)


def any_configured(tx: Transaction) -> bool:
    """Whether keys are in use here. An expired one counts: its end must not open the service to everyone."""
    return tx.execute(select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)).first() is not None


class Keyring:
    """Tells whose key a text is. Safe to share by threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._verified: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def key_of(self, token: str) -> Key | None:
        """The valid key that a text is, or None."""
        found = _TOKEN.fullmatch(token)
        return self._valid(found[1], found[2]) if found else None

    def by_id(self, key_id: str) -> Key | None:
        """The valid key of an id that was proven otherwise (a signed cookie), or None."""
        return self._valid(key_id, None)

    def _valid(self, key_id: str, secret: str | None) -> Key | None:
        with self.store.read() as tx:
            row = tx.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
            now = tx.now
        if row is None or not (key := _key(row)).is_valid(now):
            return None
        if secret is not None and not self._fits(key_id, row.hash, secret):
            return None
        if key.last_used_at is None or abs(now - key.last_used_at) >= LAST_USED_STEP:
            self._note_use(key_id)
        return key

    def _fits(self, key_id: str, stored: str, secret: str) -> bool:
        digest = hashlib.sha256(secret.encode()).digest()
        with self._lock:
            known = self._verified.get((key_id, stored))
        if known is not None:
            return secrets.compare_digest(known, digest)
        try:
            _HASHER.verify(stored, secret)
        except VerificationError:
            return False
        with self._lock:
            self._verified[(key_id, stored)] = digest
            while len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        return True

    def _note_use(self, key_id: str) -> None:
        try:
            with self.store.write() as tx:
                tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=tx.now))
        except StoreUnavailable as error:
            # What can be read is still worth reading while nothing can be written.
            logger.warning("when key %s was last used cannot be kept: %s", key_id, error)


def _key(row: Row[tuple[object, ...]]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        role=cast(Role, row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
