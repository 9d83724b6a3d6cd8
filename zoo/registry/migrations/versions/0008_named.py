"""Names here and at remotes by name. Frozen: a change to the tables is a new migration.

A search asks of each entry whether its name is here, too; that index is small.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
NAMED = sa.text("kind != 'catalog'")


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "ix_item_named", "item", ["name", "kind"], sqlite_where=NAMED, postgresql_where=NAMED
    )
