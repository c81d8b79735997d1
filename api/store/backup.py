"""One file out, one file in: the same for SQLite and PostgreSQL, so that a backup also moves from one to the other.

The file is gzip'd NDJSON: a header (format, revision), every row of every table from one state of the database, and a trailer
with the number of rows and a SHA-256 of all lines before it. It is read back at the revision it was written at, then upgraded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, DateTime, MetaData, Table, func, insert, select, text

from api.store import events, migrate
from api.store.engine import Store, Transaction, explained
from api.store.errors import StoreError

FORMAT = "answer-grader backup 1"
ROWS_AT_ONCE = 500


def backup(store: Store, target: Path) -> int:
    """Writes everything to a new file that only its owner can read; the number of rows. The service may go on meanwhile."""
    with explained(), store.read() as tx:
        revision = migrate.revision(tx.connection)
        if revision is None:
            raise StoreError("The database is empty: there is nothing to back up.")
        header = {"format": FORMAT, "revision": revision, "written_at": tx.now.isoformat()}
        with _new_file(target) as write:
            write(header)
            rows = 0
            for table in _tables(tx.connection):
                for row in _rows(tx.connection, table):
                    write({"table": table.name, "row": row})
                    rows += 1
            write({"rows": rows}, last=True)
    return rows


def restore(store: Store, source: Path) -> int:
    """Reads a backup into a database that holds nothing yet, all or none; the number of rows.

    Raises StoreError when the file is not whole, is of a later version, or the database is not empty.
    """
    header, rows = _checked(
        source
    )  # a first pass over the whole file: nothing is touched before it is known to be sound
    with explained():
        with store.engine.connect() as connection:
            if _holds_rows(connection):
                raise StoreError("The database is not empty; restore into a new one and point GRADER_DATABASE to it.")
        current = _current(store)
        if current is None:
            migrate.upgrade(store.engine, header["revision"])
        elif current != header["revision"]:
            raise StoreError(
                f"The empty database is at revision {current}, the backup at {header['revision']}; restore into a "
                "database that was never used."
            )
    with store.write() as tx:
        _insert_all(tx, source)
    migrate.upgrade(store.engine)
    with store.write() as tx:
        events.add(tx, "command line", "database.restored", rows=rows, written_at=header["written_at"])
    return rows


# ---- out -------------------------------------------------------------------------------------------------------------


@contextmanager
def _new_file(target: Path) -> Iterator[Any]:
    """A function that writes lines to a file beside `target`, which takes its place when all went well."""
    partial = target.with_name(target.name + ".partial")
    digest = hashlib.sha256()
    if target.exists():
        raise StoreError(f"{target} is there already; a backup never overwrites one.")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:

                def write(value: dict[str, Any], *, last: bool = False) -> None:
                    content = value | {"sha256": digest.hexdigest()} if last else value
                    line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
                    digest.update(line)
                    packed.write(line)

                yield write
            raw.flush()
            os.fsync(raw.fileno())
        partial.rename(target)
    except OSError as error:
        raise StoreError(f"The backup cannot be written to {target}: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _tables(connection: Connection) -> list[Table]:
    """The tables as they are in this database, which may be of an earlier version; referred-to ones first."""
    metadata = MetaData()
    metadata.reflect(connection)
    for column in (column for table in metadata.sorted_tables for column in table.columns):
        if isinstance(column.type, JSON):
            column.type.none_as_null = True  # what was NULL comes back as NULL, not as the JSON value null
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    ordered = select(table).order_by(*table.primary_key.columns)
    for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(ordered):
        yield {name: _plain(value) for name, value in row._mapping.items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()


# ---- in --------------------------------------------------------------------------------------------------------------


def _lines(source: Path) -> Iterator[bytes]:
    try:
        with gzip.open(source, "rb") as packed:
            yield from packed
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{source} cannot be read as a backup: {error}.") from error


def _checked(source: Path) -> tuple[dict[str, Any], int]:
    """The header and the number of rows of a file that is whole."""
    digest, before, last, number = hashlib.sha256(), b"", b"", 0
    header: dict[str, Any] = {}
    for number, line in enumerate(_lines(source)):
        if number == 0:
            header = _header(source, line)
        digest.update(before)
        before, last = line, line
    trailer = _json(source, last) if number else {}
    if trailer.get("rows") != number - 1 or trailer.get("sha256") != digest.hexdigest():
        raise StoreError(f"{source} is not whole: it was cut off or changed. Take another backup.")
    return header, number - 1


def _header(source: Path, line: bytes) -> dict[str, Any]:
    header = _json(source, line)
    if header.get("format") != FORMAT:
        raise StoreError(f"{source} is no backup of answer-grader, or one of a later version.")
    if header["revision"] not in {script.revision for script in migrate.scripts().walk_revisions()}:
        raise StoreError(f"{source} is of a later version (revision {header['revision']}); restore it with that one.")
    return header


def _json(source: Path, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise StoreError(f"{source} is no backup of answer-grader.") from error
    return found if isinstance(found, dict) else {}


def _current(store: Store) -> str | None:
    with store.engine.connect() as connection:
        return migrate.revision(connection)


def _holds_rows(connection: Connection) -> bool:
    return any(connection.execute(select(table).limit(1)).first() is not None for table in _tables(connection))


def _insert_all(tx: Transaction, source: Path) -> None:
    tables = {table.name: table for table in _tables(tx.connection)}
    waiting: list[dict[str, Any]] = []
    name = ""
    for line in _lines(source):
        content = json.loads(line)
        if "table" not in content:
            continue
        if waiting and (content["table"] != name or len(waiting) == ROWS_AT_ONCE):
            tx.execute(insert(tables[name]), waiting)
            waiting = []
        name = content["table"]
        waiting.append(_typed(tables[name], content["row"], tx.is_sqlite))
    if waiting:
        tx.execute(insert(tables[name]), waiting)
    if not tx.is_sqlite:
        _advance_sequences(tx, list(tables.values()))


def _typed(table: Table, row: dict[str, Any], is_sqlite: bool) -> dict[str, Any]:
    return {name: _moment(value, is_sqlite) if _is_time(table, name) else value for name, value in row.items()}


def _is_time(table: Table, name: str) -> bool:
    return isinstance(table.c[name].type, DateTime)


def _moment(value: str | None, is_sqlite: bool) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=None) if is_sqlite else moment


def _advance_sequences(tx: Transaction, tables: list[Table]) -> None:
    """New rows must be numbered after the restored ones."""
    for table in tables:
        numbered = table.c.get("sequence")
        if numbered is not None and isinstance(numbered.type, BigInteger):
            highest = tx.execute(select(func.max(numbered))).scalar()
            if highest is not None:
                statement = text("SELECT setval(pg_get_serial_sequence(:table, 'sequence'), :highest)")
                tx.execute(statement, {"table": table.name, "highest": highest})
