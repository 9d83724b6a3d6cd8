"""What sources publish: numbers and facts. Frozen: a change to the tables is a new migration.

The measures of what is here already are made when the program opens the index next.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table and the columns."""
    op.add_column("item", sa.Column("metrics", sa.JSON))
    op.add_column("item", sa.Column("facts", sa.JSON))
    op.create_table(
        "measure",
        sa.Column("item_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "name", name="pk_measure"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name="fk_measure_item_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_measure_name", "measure", ["name", "value"])
    op.execute("UPDATE term_version SET version = 0")
