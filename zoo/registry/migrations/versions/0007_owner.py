"""Whose index it is, and PostgreSQL's own types. Frozen: a change is a new migration.

There, numbers have 64 bits, as SQLite's have, and text is in the order of its characters.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table; change the types."""
    op.create_table(
        "owner",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("filled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owner"),
    )
    if op.get_bind().dialect.name != "sqlite":
        _widen()


def _widen() -> None:
    inspector = sa.inspect(op.get_bind())
    for table in inspector.get_table_names():
        changes = [
            f'ALTER COLUMN "{column["name"]}" TYPE {kind}'
            for column in inspector.get_columns(table)
            if (kind := _kind(column["type"])) and table != "alembic_version"
        ]
        if changes:
            op.execute(f'ALTER TABLE "{table}" ' + ", ".join(changes))


def _kind(now: sa.types.TypeEngine[object]) -> str | None:
    if isinstance(now, sa.BigInteger):
        return None
    if isinstance(now, sa.Integer):
        return "BIGINT"
    return 'VARCHAR COLLATE "C"' if isinstance(now, sa.String) else None
