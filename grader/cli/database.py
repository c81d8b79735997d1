"""`grader database`: what an operator does to the service's database."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from api.config import read_settings
from api.store import Store, backup, candidates, events, migrate
from api.store.engine import address
from grader.cli import output
from grader.errors import GraderError

ACTOR = "command line"


class OutputError(GraderError):
    """A file cannot be written."""


@contextmanager
def opened(url: str | None, *, upgrade: bool = True, create: bool = False) -> Iterator[Store]:
    """The database of a URL, or of GRADER_DATABASE, or the default one; says on stderr which that is.

    Only with `create` a file is made that is not there: of a mistyped path, it would look like a database that is empty.
    """
    url = url or read_settings().database
    print(f"Database: {address(url)}", file=sys.stderr)
    store = Store.open(url, upgrade=upgrade, create=create)
    try:
        yield store
    finally:
        store.close()


def named(url: str | None) -> str:
    """What the database of a command is called; without its password."""
    return address(url or read_settings().database)


def upgrade(url: str | None) -> None:
    """Runs the missing migrations."""
    with opened(url, upgrade=False, create=True) as store:
        done = migrate.upgrade(store.engine)
    print(f"Upgraded to {done[-1]} ({len(done)} steps)." if done else "The database is up to date.")


def save(url: str | None, target: Path) -> None:
    """Writes a backup."""
    with opened(url, upgrade=False) as store:
        rows = backup.backup(store, target)
    print(f"{rows} rows in {target} ({target.stat().st_size:,} bytes).")


def load(url: str | None, source: Path) -> None:
    """Reads a backup."""
    with opened(url, upgrade=False, create=True) as store:
        rows = backup.restore(store, source)
    print(f"{rows} rows restored from {source}.")


def export(url: str | None, candidate: str, target: Path | None) -> None:
    """Everything about a candidate as JSON, to a file that only its owner can read or to standard output."""
    with opened(url) as store, store.write() as tx:
        found = candidates.export(tx, candidate)
        events.add(tx, ACTOR, "candidate.exported", answers=len(found["answers"]))
    if target is None:
        output.print_json(found)
        return
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); name a new file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(found, out, ensure_ascii=False, indent=2)


def erase(url: str | None, candidate: str) -> None:
    """Deletes everything about a candidate."""
    with opened(url) as store:
        with store.write() as tx:
            erased = candidates.erase(tx, candidate, ACTOR)
        store.empty_log()
    _tell(erased)


def retain(url: str | None, days: int) -> None:
    """Deletes what is older than `days`."""
    with opened(url) as store:
        with store.write() as tx:
            erased = candidates.retain(tx, tx.now - timedelta(days=days), ACTOR)
        store.empty_log()
    _tell(erased)


def log(url: str | None, limit: int) -> None:
    """Who did what and when, newest first, one JSON object a line."""
    with opened(url) as store, store.read() as tx:
        for event in events.latest(tx, limit=limit):
            print(json.dumps({**vars(event), "at": event.at.isoformat()}, ensure_ascii=False))


def _tell(erased: candidates.Erased) -> None:
    print(f"{erased.answers} answers, {erased.grades} grades and {erased.job_rows} job rows deleted.")
