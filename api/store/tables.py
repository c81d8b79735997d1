"""The tables, as SQLAlchemy Core knows them. The migrations make them; a test compares the two.

Grades are append-only: nothing here is updated but states (jobs, keys, idempotency) and nothing deleted but by erasure
and retention. An override or a regrade is a new row of `grades` that points to the one it replaces.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

# SQLite numbers rows by itself only when the type is exactly INTEGER.
SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. PostgreSQL keeps the zone, SQLite cannot: it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _id(length: int = 64) -> Column[str]:
    return Column("id", String(length), primary_key=True)


def _sequence() -> Column[int]:
    """The order of arrival: unlike a time it cannot jump back."""
    return Column("sequence", SEQUENCE, primary_key=True, autoincrement=True)


api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("hash", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),
    CheckConstraint("role IN ('candidate', 'author', 'reviewer', 'admin')", name="role"),
)

# JSON holds what people wrote: PostgreSQL's text cannot keep U+0000, which an answer may contain, its json can.
answers = Table(
    "answers",
    metadata,
    _id(),
    Column("question_id", String(120), nullable=False),
    Column("question", JSON(none_as_null=True)),
    Column("answer", JSON, nullable=False),
    # Ids of the criteria whose hints were seen before it was sent; null: nobody counted (not from the web form).
    Column("hints", JSON(none_as_null=True)),
    Column("candidate", String(200), index=True),
    Column("key_id", String(64), ForeignKey(api_keys.c.id)),
    Column("created_at", UtcTime, nullable=False, index=True),
)

grades = Table(
    "grades",
    metadata,
    _sequence(),
    Column("id", String(64), nullable=False, unique=True),
    Column("answer_id", String(64), ForeignKey(answers.c.id), nullable=False, index=True),
    Column("kind", String(20), nullable=False),
    # Unique: a grade is replaced once, so two reviewers cannot both replace the same one.
    Column("supersedes", String(64), ForeignKey("grades.id"), unique=True),
    # The machine's grade that an override is about, however many overrides came between.
    Column("machine_grade_id", String(64), ForeignKey("grades.id"), index=True),
    Column("question_id", String(120), nullable=False),
    Column("rubric", String(120), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("score", Float),
    Column("grade", JSON, nullable=False),
    Column("review", JSON(none_as_null=True)),
    Column("key_id", String(64), ForeignKey(api_keys.c.id)),
    Column("created_at", UtcTime, nullable=False),
    CheckConstraint("kind IN ('grade', 'override', 'regrade')", name="kind"),
    CheckConstraint("(kind = 'grade') = (supersedes IS NULL)", name="supersedes"),
    CheckConstraint("(kind = 'override') = (review IS NOT NULL)", name="review"),
    Index("ix_grades_question_id_sequence", "question_id", "sequence"),
    Index("ix_grades_outcome_sequence", "outcome", "sequence"),
    sqlite_autoincrement=True,
)

versions = Table(
    "versions",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("version", String(120), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("first_used_at", UtcTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    _sequence(),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(60), nullable=False),
    Column("subject", String(200)),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    _sequence(),
    Column("id", String(64), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("store", Boolean, nullable=False),
    Column("key_id", String(64), ForeignKey(api_keys.c.id)),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("worker", String(120)),
    Column("lease_until", UtcTime),
    CheckConstraint("state IN ('queued', 'running', 'done', 'cancelled')", name="state"),
    sqlite_autoincrement=True,
)

job_rows = Table(
    "job_rows",
    metadata,
    Column("job_id", String(64), ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("client_id", JSON(none_as_null=True)),
    Column("candidate", String(200), index=True),
    Column("state", String(20), nullable=False),
    # Emptied when the row is settled: from then on the answer is in `answers`, or nowhere.
    Column("request", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("grade_id", String(64), ForeignKey(grades.c.id, ondelete="SET NULL"), unique=True),
    # Only of jobs that keep nothing else: their results live here until the job is deleted (`jobs.purge`).
    Column("result", JSON(none_as_null=True)),
    CheckConstraint("state IN ('pending', 'graded', 'failed', 'cancelled')", name="state"),
    Index("ix_job_rows_job_id_state", "job_id", "state", "row"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
    # While set, one request works on it; after that moment another may take it over (the first has died).
    Column("lease_until", UtcTime),
    Column("grade_id", String(64), ForeignKey(grades.c.id, ondelete="CASCADE"), index=True),
    Column("job_id", String(64), ForeignKey(jobs.c.id, ondelete="CASCADE"), index=True),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", Text, nullable=False),
)


def row_dict(row: Any) -> dict[str, Any]:
    """A result row as a dict."""
    return dict(row._mapping)
