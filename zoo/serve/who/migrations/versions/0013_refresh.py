"""What the tokens of programs are refreshed by. Frozen: a change to the tables is a new
migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "refresh",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("first", TEXT, nullable=False),
        sa.Column("expires", TEXT, nullable=False),
        sa.Column("used", TEXT),
        sa.ForeignKeyConstraint(
            ["token"], ["token.id"], name="fk_refresh_token", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["by"], ["token.id"], name="fk_refresh_by", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name="pk_refresh"),
    )
    op.create_index("refresh_first", "refresh", ["first"])
