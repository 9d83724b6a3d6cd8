"""Teams that people are in because a provider says of which groups they are. Frozen: a change to
the tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the columns and the table."""
    for name, default in (("groups_claim", ""), ("rules", "[]")):
        column = sa.Column(name, TEXT, nullable=False, server_default=default)
        op.add_column("provider", column)
    op.create_table(
        "grouped",
        *(sa.Column(name, TEXT, nullable=False) for name in ("provider", "account", "team")),
        sa.Column("role", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("provider", "account", "team", name="pk_grouped"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_grouped_account", ondelete="CASCADE"
        ),
    )
