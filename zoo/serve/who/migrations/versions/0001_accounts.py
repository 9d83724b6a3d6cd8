"""Accounts, tokens, and who may read what. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "account",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("made", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_account"),
    )
    op.create_table(
        "token",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("made", TEXT, nullable=False),
        sa.Column("expires", TEXT),
        sa.Column("used", TEXT),
        sa.Column("revoked", TEXT),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_token_account", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "level",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("level", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_level"),
    )
    op.create_table(
        "reader",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("path", "account", name="pk_reader"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_reader_account", ondelete="CASCADE"
        ),
    )
