"""One file out, one file in: on either database, from either to the other, also from an earlier version."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from api.store import Store, StoreError, backup, events, grades, jobs, keys, migrate
from api.store.engine import make_engine
from api.store.grades import Filter, Review
from api.store.tables import metadata
from grader.schema import Grade, Question
from tests.api.store.conftest import ANSWER
from tests.api.store.test_migrations import fill

Keep = Callable[..., grades.StoredGrade]


def content(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table but the log, which notes the restore."""
    with store.read() as tx:
        return {
            table.name: sorted((tuple(row) for row in tx.execute(select(table))), key=str)
            for table in metadata.sorted_tables
            if table.name != "events"
        }


@pytest.fixture
def filled(store: Store, keep: Keep) -> Store:
    """A store with something in every table."""
    with store.write() as tx:
        key, _ = keys.create(tx, "a key", "admin")
    kept = [keep(candidate=f"c{n}", key_id=key.id, answer=f"{ANSWER} \x00 ☃ {n}") for n in range(5)]
    store.secret("cookies")
    with store.write() as tx:
        grades.override(tx, kept[2].id, Review("Dana", "because", score=1.5))
        jobs.create(tx, [jobs.NewRow({"answer": "x"}, 1)], key_id=key.id)
    return store


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_what_goes_out_comes_back_in(
    filled: Store, tmp_path: Path, target: str, request: pytest.FixtureRequest, question: Question, graded: Grade
) -> None:
    file = tmp_path / "b.gz"
    rows = backup.backup(filled, file)
    assert rows == sum(len(found) for found in content(filled).values()) + 3  # the log: key, override, job
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if target == "sqlite":
        check(filled, f"sqlite:///{tmp_path / 'restored.db'}", file, rows, graded, question)
        return
    with request.getfixturevalue("postgres").database() as url:
        check(filled, url, file, rows, graded, question)


def check(filled: Store, url: str, file: Path, rows: int, graded: Grade, question: Question) -> None:
    restored = Store.open(url, upgrade=False)
    assert backup.restore(restored, file) == rows
    assert content(restored) == content(filled)
    with restored.write() as tx:  # numbering goes on behind what was restored
        new = grades.add(tx, graded, answer="new", question=question)
        assert grades.find(tx, Filter(), limit=1).grades == [new]
        assert events.latest(tx)[0].action == "database.restored"
    restored.close()


def test_a_backup_of_the_first_version_is_restored_and_upgraded(
    tmp_path: Path, url: str, graded: Grade, question: Question
) -> None:
    old = Store(make_engine(f"sqlite:///{tmp_path / 'old.db'}"))
    migrate.upgrade(old.engine, "0001")
    with old.engine.begin() as connection:
        fill(connection, graded, question)
    backup.backup(old, tmp_path / "b.gz")
    old.close()
    store = Store.open(url, upgrade=False)
    assert backup.restore(store, tmp_path / "b.gz") == 5
    with store.read() as tx:
        assert migrate.revision(tx.connection) == migrate.head()
        assert grades.get(tx, "grd_old").answer == "an old answer\x00"
    store.close()


def test_a_backup_goes_into_an_empty_database_only(filled: Store, tmp_path: Path) -> None:
    backup.backup(filled, tmp_path / "b.gz")
    before = content(filled)
    with pytest.raises(StoreError, match="not empty"):
        backup.restore(filled, tmp_path / "b.gz")
    assert content(filled) == before


def test_a_backup_overwrites_nothing_and_an_empty_database_has_none(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'g.db'}", upgrade=False)
    with pytest.raises(StoreError, match="nothing to back up"):
        backup.backup(store, tmp_path / "b.gz")
    migrate.upgrade(store.engine)
    (tmp_path / "b.gz").write_text("mine")
    with pytest.raises(StoreError, match="never overwrites"):
        backup.backup(store, tmp_path / "b.gz")
    with pytest.raises(StoreError, match="cannot be written"):
        backup.backup(store, tmp_path / "none" / "b.gz")
    assert (tmp_path / "b.gz").read_text() == "mine"
    store.close()


def _damaged(whole: bytes) -> dict[str, bytes]:
    lines = gzip.decompress(whole).splitlines(keepends=True)
    return {
        "cut off": whole[: len(whole) // 2],
        "a line missing": gzip.compress(b"".join(lines[:3] + lines[4:])),
        "no trailer": gzip.compress(b"".join(lines[:-1])),
        "a byte changed": gzip.compress(b"".join(lines).replace(b"zero-grad", b"zero-grab", 1)),
        "a later version": gzip.compress(b"".join(lines).replace(f'"{migrate.head()}"'.encode(), b'"9999"', 1)),
        "not gzip": b"".join(lines),
        "something else": gzip.compress(b"hello\n"),
        "empty": b"",
    }


def test_a_damaged_file_touches_nothing(filled: Store, tmp_path: Path) -> None:
    backup.backup(filled, tmp_path / "b.gz")
    for name, damaged in _damaged((tmp_path / "b.gz").read_bytes()).items():
        (tmp_path / "damaged.gz").write_bytes(damaged)
        target = Store.open(f"sqlite:///{tmp_path / 'target.db'}", upgrade=False)
        with pytest.raises(StoreError):
            backup.restore(target, tmp_path / "damaged.gz")
        with target.engine.connect() as connection:
            assert migrate.revision(connection) is None, name
        target.close()
