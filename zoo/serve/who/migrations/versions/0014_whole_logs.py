"""Names whose log could not be read whole. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the column."""
    op.add_column(
        "followed", sa.Column("whole", sa.Boolean(), nullable=False, server_default=sa.true())
    )
