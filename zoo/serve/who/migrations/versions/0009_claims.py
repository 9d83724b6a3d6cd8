"""Claims that somebody must have for whom a provider makes an account. Frozen: a change to the
tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the column."""
    op.add_column("provider", sa.Column("claims", TEXT, nullable=False, server_default="{}"))
