"""What evaluations found. Frozen: a change to the tables is a new migration.

They are read from files beside the store, of which no version before this one wrote any.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "evaluation",
        sa.Column("manifest", TEXT, nullable=False),
        sa.Column("data_digest", TEXT, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("manifest", "data_digest", name="pk_evaluation"),
        sa.ForeignKeyConstraint(
            ["manifest"], ["checkpoint.manifest"], name="fk_evaluation_manifest", ondelete="CASCADE"
        ),
    )
