"""Where checkpoints were pulled from. Frozen: a change to the tables is a new migration.

It tells what a source lists under a checkpoint's name from what somebody else lists there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns, and have the items made again, with what is theirs only."""
    op.add_column("checkpoint", sa.Column("source", TEXT))
    op.add_column("checkpoint", sa.Column("locator", TEXT))
    op.execute("UPDATE term_version SET version = 0")
