"""Who moved names at remotes, and notes. Frozen: a change to the tables is a new migration.

The next fetch tells who moved a name. Checkpoints that may have a note are read once more: those
that were imported, and those that were trained since there are notes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
READ_AGAIN = """
INSERT INTO unread (manifest) SELECT manifest FROM checkpoint
WHERE (source IN ('file', 'folder') OR created >= '2026-11-28')
AND manifest NOT IN (SELECT manifest FROM unread)
"""


def upgrade() -> None:
    """Add the columns."""
    op.add_column("remote_ref", sa.Column("author", TEXT))
    op.add_column("remote_ref", sa.Column("note", TEXT))
    op.add_column("checkpoint", sa.Column("note", TEXT))
    op.add_column("item", sa.Column("note", TEXT))
    op.execute(READ_AGAIN)
