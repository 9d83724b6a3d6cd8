"""How often repositories were downloaded. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "download",
        sa.Column("repo", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repo", "day", name="pk_download"),
    )
