"""Opening a database, transactions, and what is said when one cannot be used."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from api.store import Store, StoreError, StoreUnavailable, migrate
from api.store.engine import make_engine
from api.store.tables import events
from benchmarks.postgres import Cluster


def note(store: Store, action: str) -> None:
    with store.write() as tx:
        tx.execute(insert(events).values(at=tx.now, actor="test", action=action, details={}))


def noted(store: Store) -> list[str]:
    with store.read() as tx:
        return [row.action for row in tx.execute(select(events.c.action).order_by(events.c.sequence))]


def test_a_write_is_kept_when_it_ends_and_undone_when_it_fails(store: Store) -> None:
    note(store, "kept")

    def fail() -> None:
        with store.write() as tx:
            tx.execute(insert(events).values(at=tx.now, actor="test", action="undone", details={}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert noted(store) == ["kept"]


def test_a_moment_comes_back_as_it_went_in(store: Store) -> None:
    note(store, "one")
    with store.read() as tx:
        assert tx.execute(select(events.c.at)).scalar_one() == store.clock()


def test_many_threads_write_and_nothing_is_lost(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: note(store, f"n{number}"), range(100)))
    assert sorted(noted(store)) == sorted(f"n{number}" for number in range(100))


def test_a_read_sees_one_state_while_others_write(store: Store) -> None:
    with store.read() as tx:
        before = tx.execute(select(events)).all()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(note, store, "meanwhile").result()
        assert tx.execute(select(events)).all() == before
    assert noted(store) == ["meanwhile"]


def test_references_are_checked(store: Store) -> None:
    from api.store import Conflict
    from api.store.tables import job_rows

    with pytest.raises(Conflict), store.write() as tx:
        tx.execute(insert(job_rows).values(job_id="none", row=0, state="pending"))


def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'new' / 'g.db'}")
    with store.read() as tx:
        pragma = {
            name: tx.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        }
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000, "secure_delete": 1}
    assert pragma == expected
    assert stat.S_IMODE((tmp_path / "new" / "g.db").stat().st_mode) == 0o600
    store.close()


def test_a_secret_is_made_once_and_stays(store: Store, url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: store.secret("cookies"), range(8)))
    assert len(found) == 1
    assert len(found.pop()) == 32
    assert store.secret("other") != store.secret("cookies")
    again = Store.open(url)
    assert again.secret("cookies") == store.secret("cookies")
    again.close()


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg2x"]
)
def test_another_kind_of_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///FILE") as caught:
        make_engine(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_may_be_called_by_any_of_its_names(scheme: str) -> None:
    engine = make_engine(f"{scheme}://u@127.0.0.1:1/d")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")
    engine.dispose()


def test_a_server_that_is_not_there_is_unavailable_and_the_password_is_not_shown() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store.open("postgresql://u:hunter2@127.0.0.1:1/d")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "g.db").write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    with pytest.raises(StoreUnavailable, match="no SQLite database"):
        Store.open(f"sqlite:///{tmp_path / 'g.db'}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="GRADER_DATABASE"):
        Store.open(f"sqlite:///{tmp_path / 'file' / 'g.db'}")


def test_another_programs_tables_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "g.db") as connection:
        connection.execute("CREATE TABLE grades (mine TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="did not make"):
        Store.open(f"sqlite:///{tmp_path / 'g.db'}")


# ---- what goes wrong while it runs ---------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'g.db'}")
    note(store, "before")
    with store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    store.close()

    # SQLite reports a file that may not grow just as it reports a disk that is full.
    from sqlalchemy import event

    @event.listens_for(store.engine, "connect")
    def _limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(StoreUnavailable, match="disk is full"):
        all(note(store, f"{number:050}") is None for number in range(10_000))
    assert noted(store)[0] == "before"
    store.close()


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    """The process may write no file larger than 400 kB: the system refuses, as it does when a disk is full."""
    script = tmp_path / "fill.py"
    script.write_text(
        "import resource, signal, sys\n"
        "from sqlalchemy import insert\n"
        "from api.store import Store, StoreUnavailable\n"
        "from api.store.tables import events\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "kept = 0\n"
        "try:\n"
        "    while True:\n"
        "        with store.write() as tx:\n"
        "            tx.execute(insert(events).values(at=tx.now, actor='t', action=str(kept), details={'x': 'y' * 900}))\n"
        "        kept += 1\n"
        "except StoreUnavailable as error:\n"
        "    print(kept, error)\n",
        encoding="utf-8",
    )
    url = f"sqlite:///{tmp_path / 'g.db'}"
    done = subprocess.run([sys.executable, script, url], capture_output=True, text=True, check=True, timeout=120)
    kept, _, message = done.stdout.partition(" ")
    assert int(kept) > 10
    assert "cannot be used now" in message
    store = Store.open(url)
    assert noted(store) == [str(number) for number in range(int(kept))]
    note(store, "room again")
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only files; see the next test")
def test_a_read_only_file_can_be_read(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'g.db'}")
    note(store, "before")
    store.close()
    (tmp_path / "g.db").chmod(0o400)
    again = Store.open(f"sqlite:///{tmp_path / 'g.db'}")
    with pytest.raises(StoreUnavailable, match="read-only"):
        note(again, "after")
    again.close()


def test_a_database_that_refuses_writes_can_be_read(store: Store, url: str) -> None:
    note(store, "before")
    with store.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            connection.commit()
    store.close()
    again = Store.open(url)
    if again.engine.dialect.name == "sqlite":
        from sqlalchemy import event

        @event.listens_for(again.engine, "begin")
        def _read_only(connection: object) -> None:
            connection.exec_driver_sql("PRAGMA query_only=ON")  # type: ignore[attr-defined]

    with pytest.raises(StoreUnavailable, match="read-only"):
        note(again, "after")
    assert noted(again) == ["before"]
    again.close()


def test_postgresql_crashes_and_the_request_after_its_restart_works(postgres: Cluster) -> None:
    with postgres.database() as url:
        store = Store.open(url)
        note(store, "before")
        postgres.stop("immediate")
        try:
            with pytest.raises(StoreUnavailable):
                note(store, "while down")
        finally:
            postgres.start()
        note(store, "after")
        assert noted(store) == ["before", "after"]
        store.close()


def test_two_services_that_start_together_make_the_tables_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store.open(url), range(4)))
    with stores[0].engine.connect() as connection:
        assert migrate.revision(connection) == migrate.head()
    for store in stores:
        store.close()


def test_a_new_file_that_another_service_is_writing_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "grades.db"
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")  # no write-ahead log yet: SQLite itself would give up at once
        threading.Timer(0.3, other.rollback).start()
        store = Store.open(f"sqlite:///{path}")
    with store.read() as tx:
        assert tx.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    store.close()


def test_a_log_that_somebody_reads_is_emptied_the_next_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "grades.db"
    log = tmp_path / "grades.db-wal"
    with closing(Store.open(f"sqlite:///{file}")) as store, closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        note(store, "kept")
        store.empty_log()
        assert "cannot be emptied now" in caplog.text
        assert log.stat().st_size > 0
        reader.rollback()
        store.empty_log()
        assert log.stat().st_size == 0
