"""Opens the database and gives out transactions: SQLite and PostgreSQL behind one `Store`.

It knows nothing of what is kept; that is in the modules beside it, whose functions all take a `Transaction`.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.store import migrate, tables
from api.store.errors import Conflict, StoreError, StoreUnavailable, UnfitValue
from api.texts import say

logger = logging.getLogger("api.store")

# Milliseconds that SQLite waits for another process's write, and seconds that a request waits for a connection.
BUSY_TIMEOUT_MS = 10_000
POOL_TIMEOUT_S = 10
# Requests run in up to 40 threads; each needs one connection for a moment.
POOL_SIZE, POOL_OVERFLOW = 10, 30


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Transaction:
    """One transaction: a connection, and the moment that everything written in it carries."""

    connection: Connection
    now: datetime

    def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        return self.connection.execute(statement, parameters)

    @property
    def is_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"


class Store:
    """An open database. Safe to share by threads; every method blocks, so call it off the event loop."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self.engine = engine
        self.clock = clock
        # SQLite lets one write at a time; its own waiting is unfair, so threads of this process queue here.
        self._writing = threading.Lock()

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        upgrade: bool = True,
        create: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> Store:
        """The database at a URL (None: a SQLite file in the user's data folder), brought up to date when that is safe.

        Raises StoreError when it is of another version than can be used or, without `create`, a file that is not there;
        StoreUnavailable when it cannot be reached.
        """
        store = cls(make_engine(url, create=create), clock)
        try:
            if upgrade:
                with explained():
                    migrate.upgrade_when_safe(store.engine)
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the data; raises StoreUnavailable."""
        with explained(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield Transaction(connection, self.clock())

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that is on disk when this ends without an error, and undone otherwise; raises StoreUnavailable."""
        with explained():
            if self.engine.dialect.name == "sqlite":
                with self._writing, self.engine.connect() as connection:
                    immediate = connection.execution_options(sqlite_begin="IMMEDIATE")
                    with immediate.begin():
                        yield Transaction(immediate, self.clock())
                return
            with self.engine.begin() as connection:
                yield Transaction(connection, self.clock())

    def empty_log(self) -> None:
        """After a deletion: takes what was deleted out of SQLite's write-ahead log as well.

        Not within a transaction. What cannot be done now (somebody reads for long) is left to the next time; the deletion
        stands.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with explained():
            connection = self.engine.raw_connection()  # SQLAlchemy would begin a transaction
            try:
                is_busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                if is_busy:  # which is no error
                    logger.warning("the write-ahead log cannot be emptied now: somebody reads")
            except sqlite3.Error as error:
                logger.warning("the write-ahead log cannot be emptied now: %s", error)
            finally:
                connection.close()

    def secret(self, name: str) -> bytes:
        """A random secret of 32 bytes that is made at the first call and kept in the database: signs cookies and forms."""
        table = tables.secrets
        wanted = select(table.c.value).where(table.c.name == name)
        with self.read() as tx:
            found = tx.execute(wanted).scalar()
        if found is None:
            with self.write() as tx:
                insert_new(tx, table, {"name": name, "value": secrets.token_hex(32)})
                found = tx.execute(wanted).scalar_one()
        return bytes.fromhex(found)

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()


def insert_new(tx: Transaction, table: Any, values: Mapping[str, Any]) -> bool:
    """Inserts a row unless its key is taken; whether it did."""
    if tx.is_sqlite:
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        statement: Any = insert_sqlite(table).values(**values).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        statement = insert_postgresql(table).values(**values).on_conflict_do_nothing()
    # Not by rowcount: SQLAlchemy does not keep that of an INSERT with psycopg.
    return tx.execute(statement.returning(next(iter(table.primary_key)))).first() is not None


def insert_row(tx: Transaction, table: Any, values: Mapping[str, Any]) -> None:
    """Inserts one row."""
    tx.execute(insert(table).values(**values))


# ---- opening ---------------------------------------------------------------------------------------------------------


def default_path() -> Path:
    """Where grades are kept when nothing is said: a file in the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("answer-grader") / "grades.db"


def address(url: str | None) -> str:
    """A database URL as people may see it: without password and options; raises StoreError when it is none."""
    parsed = _parsed(url)
    return parsed.set(drivername=parsed.get_backend_name(), query={}).render_as_string(hide_password=True)


def make_engine(url: str | None, *, create: bool = True) -> Engine:
    """An engine for a database URL; raises StoreError when the URL or its driver cannot be used."""
    parsed = _parsed(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, create)
        engine = create_engine(
            parsed,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=True,  # a restarted server costs a reconnect, not a failed request
            hide_parameters=True,
            connect_args={"connect_timeout": POOL_TIMEOUT_S, "application_name": "answer-grader"},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs the driver psycopg: pip install 'answer-grader[postgres]'"
            if error.name and error.name.startswith("psycopg")
            else f"The database driver cannot be imported: {error}"
        ) from error
    return engine


def _parsed(url: str | None) -> URL:
    if not url:
        return URL.create("sqlite", database=str(default_path()))
    try:
        parsed = make_url(url)
        backend = parsed.drivername.split("+")[0]
    except (ArgumentError, ValueError):
        backend = ""
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite")
    raise StoreError(
        "The database must be sqlite:///FILE (a file, not :memory:) or postgresql://USER:PASSWORD@HOST/NAME; "
        "what GRADER_DATABASE holds is neither."
    )


def _sqlite(url: URL, create: bool) -> Engine:
    path = Path(url.database or "")
    if not create and not path.exists():
        raise StoreError(say("refused.database.no_such_file", path=path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.touch(mode=0o600)  # answers are personal: other users of the machine read nothing
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be made ({error.strerror}); set GRADER_DATABASE to a file in a folder that "
            "can be written."
        ) from error
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # Python's driver would begin and end transactions by its own rules; `_begun` says how instead.
        connection.isolation_level = None
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _use_write_ahead_log(connection)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A write begins as one: a read that turns into a write fails at once when another write came between.
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Makes the file one with a write-ahead log; only its first connection has anything to do.

    SQLite does not wait its busy timeout for the lock that the change needs when another connection holds one, as two
    services do that start together: the waiting is done here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Only the primary code: SQLITE_BUSY comes in several kinds.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


# ---- errors ----------------------------------------------------------------------------------------------------------

# What a driver says, in part, and the reason among the texts.
REASONS = {
    "disk is full": "full",
    "no space left": "full",
    "readonly database": "read_only_file",
    "read-only transaction": "read_only_server",
    "database is locked": "locked",
    "unable to open": "no_file",
    "not a database": "no_database",
    "malformed": "damaged",
    "password authentication": "password",
}


@contextmanager
def explained() -> Iterator[None]:
    """Turns what a driver raises into StoreUnavailable, UnfitValue or Conflict, with a reason and without SQL or data."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(say("refused.conflict.changed")) from error
    except DataError as error:
        raise UnfitValue(say("refused.database.unfit")) from error
    except PoolTimeout as error:
        raise StoreUnavailable(say("refused.database.busy")) from error
    except DBAPIError as error:
        text = str(error.orig).lower()
        reason = next((key for sign, key in REASONS.items() if sign in text), "other")
        detail = say(f"refused.database_reason.{reason}", kind=type(error.orig).__name__)
        raise StoreUnavailable(say("refused.database.unavailable", reason=detail)) from error
