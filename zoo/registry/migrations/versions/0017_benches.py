"""What `zoo bench` measured. Frozen: a change to the tables is a new migration.

It is read from files beside the store, of which no version before this one wrote any.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "bench",
        sa.Column("manifest", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("manifest", "name", name="pk_bench"),
        sa.ForeignKeyConstraint(
            ["manifest"], ["checkpoint.manifest"], name="fk_bench_manifest", ondelete="CASCADE"
        ),
    )
