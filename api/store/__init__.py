"""What the service remembers: answers, grades, reviews, jobs, keys. SQLite file or PostgreSQL, by URL.

    tables        what is kept                        grades        kept, found, overridden, regraded
    engine        Store: opens, gives transactions    keys          API keys
    migrate       from any version to this one        idempotency   one effect for one key
    errors        what can go wrong                   candidates    export, erasure, retention
    events        who did what and when               agreement     people and the grader compared
    backup        one file out, one file in           jobs          many answers, row by row

The functions take a `Transaction` of `Store.read()` or `Store.write()`, so that a route can make one of several steps.
"""

from __future__ import annotations

from api.store.engine import Store, Transaction
from api.store.errors import Conflict, StoreError, StoreUnavailable, UnknownRecord

__all__ = ["Conflict", "Store", "StoreError", "StoreUnavailable", "Transaction", "UnknownRecord"]
