"""Brings a database from any earlier version to this one: by `grader database upgrade`, and at start when that is safe.

Safe is a database that holds nothing yet, and one whose missing migrations all say `SAFE = True`: they only add, so a
service of the version before could go on. Everything else waits for an operator who has made a backup.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from api.store.errors import StoreError
from api.store.tables import metadata

FOLDER = Path(__file__).parent / "migrations"
# Any number that nobody else locks; two services that start together upgrade one after the other.
ADVISORY_LOCK = 4_708_921_337


def scripts() -> ScriptDirectory:
    """The migrations that ship with this version."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def head() -> str:
    """The revision this version works with."""
    found = scripts().get_current_head()
    assert found is not None, "the package ships migrations"
    return found


def revision(connection: Connection) -> str | None:
    """The revision of a database; None when it has none yet."""
    return MigrationContext.configure(connection).get_current_revision()


def missing(current: str | None, target: str = "head") -> list[Script]:
    """The migrations from `current` to `target`, in order; raises StoreError when `current` is of a later version."""
    directory = scripts()
    known = {script.revision for script in directory.walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database is of a later version (revision {current}); start the version of answer-grader that wrote it."
        )
    if current == directory.get_current_head():
        return []
    found = directory.iterate_revisions(target, current or "base")
    return [script for script in reversed(list(found)) if isinstance(script, Script)]


def upgrade(engine: Engine, target: str = "head") -> list[str]:
    """Runs every missing migration up to `target`, all or none; the revisions that ran."""
    return _run(engine, target, lambda _script: True)


def says_safe(script: Script) -> bool:
    """What a migration says of itself."""
    return bool(script.module.SAFE)


def upgrade_when_safe(engine: Engine, is_safe: Callable[[Script], bool] = says_safe) -> list[str]:
    """The same at start; raises StoreError when a missing migration needs a backup first."""
    with engine.connect() as connection:
        if revision(connection) == head():
            return []  # the usual start writes nothing, so a read-only database can still be read
    return _run(engine, "head", is_safe)


def _run(engine: Engine, target: str, is_safe: Callable[[Script], bool]) -> list[str]:
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": ADVISORY_LOCK})
        current = revision(connection)
        if current is None:
            _refuse_foreign(connection)
        pending = missing(current, target)
        if current is not None and not all(is_safe(script) for script in pending):
            raise StoreError(
                f"The database must be upgraded (revision {current} to {head()}): make a backup with "
                "`grader database backup FILE`, then run `grader database upgrade`."
            )
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        with Operations.context(context):
            for script in pending:
                script.module.upgrade()
                context.stamp(scripts(), script.revision)
    return [script.revision for script in pending]


def _refuse_foreign(connection: Connection) -> None:
    """A database that holds another program's tables is not touched."""
    taken = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if taken:
        raise StoreError(
            f"The database holds tables that answer-grader did not make ({', '.join(taken)}); give it one of its own."
        )
