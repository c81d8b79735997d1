"""Answers, grades, versions, events, keys, idempotency: the first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
SAFE = True

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("hash", sa.String(200), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.CheckConstraint("role IN ('candidate', 'author', 'reviewer', 'admin')", name=op.f("ck_api_keys_role")),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("question_id", sa.String(120), nullable=False),
        sa.Column("question", sa.JSON()),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("candidate", sa.String(200)),
        sa.Column("key_id", sa.String(64)),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_answers_key_id"),
    )
    op.create_index("ix_answers_candidate", "answers", ["candidate"])
    op.create_index("ix_answers_created_at", "answers", ["created_at"])
    _create_grades()
    op.create_table(
        "versions",
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("version", sa.String(120), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("first_used_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "version", name="pk_versions"),
    )
    op.create_table(
        "events",
        sa.Column("sequence", SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(200)),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("lease_until", TIME),
        sa.Column("grade_id", sa.String(64)),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency"),
        sa.ForeignKeyConstraint(["grade_id"], ["grades.id"], name="fk_idempotency_grade_id", ondelete="CASCADE"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_index("ix_idempotency_grade_id", "idempotency", ["grade_id"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )


def _create_grades() -> None:
    op.create_table(
        "grades",
        sa.Column("sequence", SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("answer_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("supersedes", sa.String(64)),
        sa.Column("machine_grade_id", sa.String(64)),
        sa.Column("question_id", sa.String(120), nullable=False),
        sa.Column("rubric", sa.String(120), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("grade", sa.JSON(), nullable=False),
        sa.Column("review", sa.JSON()),
        sa.Column("key_id", sa.String(64)),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_grades"),
        sa.UniqueConstraint("id", name="uq_grades_id"),
        sa.UniqueConstraint("supersedes", name="uq_grades_supersedes"),
        sa.ForeignKeyConstraint(["answer_id"], ["answers.id"], name="fk_grades_answer_id"),
        sa.ForeignKeyConstraint(["supersedes"], ["grades.id"], name="fk_grades_supersedes"),
        sa.ForeignKeyConstraint(["machine_grade_id"], ["grades.id"], name="fk_grades_machine_grade_id"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_grades_key_id"),
        sa.CheckConstraint("kind IN ('grade', 'override', 'regrade')", name=op.f("ck_grades_kind")),
        sa.CheckConstraint("(kind = 'grade') = (supersedes IS NULL)", name=op.f("ck_grades_supersedes")),
        sa.CheckConstraint("(kind = 'override') = (review IS NOT NULL)", name=op.f("ck_grades_review")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_grades_answer_id", "grades", ["answer_id"])
    op.create_index("ix_grades_machine_grade_id", "grades", ["machine_grade_id"])
    op.create_index("ix_grades_question_id_sequence", "grades", ["question_id", "sequence"])
    op.create_index("ix_grades_outcome_sequence", "grades", ["outcome", "sequence"])
