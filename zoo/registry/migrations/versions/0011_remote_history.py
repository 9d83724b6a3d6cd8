"""What names at remotes pointed at before. Frozen: a change to the tables is a new migration.

It tells a name that is behind from one that has diverged.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column."""
    op.add_column("remote_ref", sa.Column("history", sa.JSON(none_as_null=True)))
