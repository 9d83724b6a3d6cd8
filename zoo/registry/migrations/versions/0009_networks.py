"""Hierarchies of checkpoints. Frozen: a change to the tables is a new migration.

With heads and sizes of their own, they are not those kept for their architectures.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "network",
        sa.Column("plugin", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("network", TEXT, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("plugin", "version", "network", name="pk_network"),
    )
