"""Jobs and their rows, and idempotency for what makes a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
SAFE = True

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables; adds `idempotency.job_id`."""
    op.create_table(
        "jobs",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("store", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.String(64)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("worker", sa.String(120)),
        sa.Column("lease_until", TIME),
        sa.PrimaryKeyConstraint("sequence", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_jobs_key_id"),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'cancelled')", name=op.f("ck_jobs_state")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "job_rows",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("client_id", sa.JSON()),
        sa.Column("candidate", sa.String(200)),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("request", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("grade_id", sa.String(64)),
        sa.Column("result", sa.JSON()),
        sa.PrimaryKeyConstraint("job_id", "row", name="pk_job_rows"),
        sa.UniqueConstraint("grade_id", name="uq_job_rows_grade_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_rows_job_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["grade_id"], ["grades.id"], name="fk_job_rows_grade_id", ondelete="SET NULL"),
        sa.CheckConstraint("state IN ('pending', 'graded', 'failed', 'cancelled')", name=op.f("ck_job_rows_state")),
    )
    op.create_index("ix_job_rows_candidate", "job_rows", ["candidate"])
    op.create_index("ix_job_rows_job_id_state", "job_rows", ["job_id", "state", "row"])
    with op.batch_alter_table("idempotency") as table:
        table.add_column(sa.Column("job_id", sa.String(64)))
        table.create_foreign_key("fk_idempotency_job_id", "jobs", ["job_id"], ["id"], ondelete="CASCADE")
        table.create_index("ix_idempotency_job_id", ["job_id"])
