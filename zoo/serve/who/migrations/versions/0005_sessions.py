"""Who is signed in, in a browser. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "session",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("expires", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_session"),
        sa.ForeignKeyConstraint(
            ["token"], ["token.id"], name="fk_session_token", ondelete="CASCADE"
        ),
    )
