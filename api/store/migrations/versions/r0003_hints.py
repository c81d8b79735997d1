"""The hints somebody asked for before they sent an answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
SAFE = True


def upgrade() -> None:
    """Adds `answers.hints`."""
    op.add_column("answers", sa.Column("hints", sa.JSON()))
