"""Who changed what, and what was refused; and how many bytes a namespace may hold. Frozen: a change
to the tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
WHOLE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
TEXTS = ("at", "who", "token", "address", "action", "name", "detail", "result", "request", "before")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit",
        sa.Column("number", WHOLE, nullable=False, autoincrement=False),
        *(sa.Column(name, TEXT, nullable=False) for name in (*TEXTS, "hash")),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_table(
        "quota",
        sa.Column("namespace", TEXT, nullable=False),
        sa.Column("bytes", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("namespace", name="pk_quota"),
    )
