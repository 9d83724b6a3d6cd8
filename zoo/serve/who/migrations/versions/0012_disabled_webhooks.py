"""Webhooks that are told nothing for now. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the column."""
    op.add_column(
        "webhook", sa.Column("disabled", sa.Boolean(), nullable=False, server_default=sa.false())
    )
