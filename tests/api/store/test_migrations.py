"""From every earlier version to this one, with data in it; and what happens to a database of a later version."""

from __future__ import annotations

import json

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from api.store import Store, StoreError, candidates, grades, jobs, keys, migrate
from api.store.engine import make_engine
from api.store.tables import metadata
from grader.schema import Grade, Question

REVISIONS = [script.revision for script in reversed(list(migrate.scripts().walk_revisions()))]


def test_there_is_one_line_of_migrations_and_each_says_whether_it_is_safe() -> None:
    assert sorted(REVISIONS) == REVISIONS
    assert all(isinstance(script.module.SAFE, bool) for script in migrate.scripts().walk_revisions())


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_any_version_is_upgraded_and_keeps_its_grades(
    url: str, revision: str, graded: Grade, question: Question
) -> None:
    engine = make_engine(url)
    migrate.upgrade(engine, revision)
    with engine.begin() as connection:
        fill(connection, graded, question)
    engine.dispose()

    store = Store.open(url)
    with store.read() as tx:
        assert migrate.revision(tx.connection) == migrate.head()
        old = grades.get(tx, "grd_old")
        assert (old.grade.score, old.answer, old.candidate) == (graded.score, "an old answer\x00", "anna")
        assert old.created_at.isoformat() == "2025-01-02T03:04:05+00:00"
        assert [key.name for key in keys.all_keys(tx)] == ["old key"]
    with store.write() as tx:
        before, after = grades.override(tx, "grd_old", grades.Review("Ben", "looked at it", score=50))
        assert (before.superseded_by, after.grade.score) == (after.id, 50)
        job = jobs.create(tx, [jobs.NewRow({"answer": "x"})], key_id="0123456789abcdef")
        assert job.pending == 1
        assert candidates.erase(tx, "anna", "test") == candidates.Erased(1, 2, 0)
    store.close()


def fill(connection: Connection, graded: Grade, question: Question) -> None:
    """Rows as the first version wrote them: plain SQL, because the code of that version is gone."""
    moment = "2025-01-02 03:04:05.000000" + ("" if connection.dialect.name == "sqlite" else "+00:00")
    values = {
        "at": moment,
        "grade": json.dumps(graded.model_dump(mode="json") | {"id": "grd_old"}),
        "answer": json.dumps("an old answer\x00"),
        "rubric": graded.provenance.rubric,
        "question": json.dumps(question.model_dump(mode="json")),
        "score": graded.score,
    }
    for statement in (
        "INSERT INTO api_keys (id, name, role, hash, created_at) VALUES ('0123456789abcdef', 'old key', 'admin', 'x', :at)",
        "INSERT INTO answers (id, question_id, answer, candidate, key_id, created_at)"
        " VALUES ('ans_old', 'zero-grad', :answer, 'anna', '0123456789abcdef', :at)",
        "INSERT INTO grades (id, answer_id, kind, question_id, rubric, outcome, score, grade, key_id, created_at)"
        " VALUES ('grd_old', 'ans_old', 'grade', 'zero-grad', :rubric, 'graded', :score, :grade, '0123456789abcdef', :at)",
        "INSERT INTO versions (kind, version, content, first_used_at) VALUES ('rubric', :rubric, :question, :at)",
        "INSERT INTO idempotency (scope, key, fingerprint, created_at, grade_id) VALUES ('', 'k', 'f', :at, 'grd_old')",
    ):
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(text(statement), used)


def test_a_database_of_a_later_version_is_left_alone(url: str) -> None:
    store = Store.open(url)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match="later version"):
        Store.open(url)


def test_a_second_upgrade_does_nothing(url: str) -> None:
    engine = make_engine(url)
    assert migrate.upgrade(engine) == REVISIONS
    assert migrate.upgrade(engine) == []
    assert migrate.upgrade_when_safe(engine) == []
    engine.dispose()


def test_what_is_not_safe_waits_for_an_operator(url: str) -> None:
    engine = make_engine(url)
    migrate.upgrade(engine, REVISIONS[0])
    with pytest.raises(StoreError, match="grader database backup"):
        migrate.upgrade_when_safe(engine, is_safe=lambda _script: False)
    with engine.connect() as connection:
        assert migrate.revision(connection) == REVISIONS[0]
    engine.dispose()
