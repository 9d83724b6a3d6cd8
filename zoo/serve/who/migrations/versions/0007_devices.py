"""Logins by a device, tokens that end with another one, tries to tell webhooks. Frozen: a change to
the tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
WHOLE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
TEXTS = ("code", "client", "address", "wants", "expires", "state", "purpose", "name")


def upgrade() -> None:
    """Make the tables."""
    op.add_column("token", sa.Column("ends_with", TEXT))
    op.create_table(
        "device",
        sa.Column("digest", TEXT, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in TEXTS),
        sa.Column("next", WHOLE, nullable=False),
        sa.Column("pause", WHOLE, nullable=False),
        sa.Column("account", TEXT),
        sa.Column("token", TEXT),
        sa.PrimaryKeyConstraint("digest", name="pk_device"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_device_account", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["token"], ["token.id"], name="fk_device_token", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "attempt",
        sa.Column("webhook", TEXT, nullable=False),
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("row", WHOLE, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("webhook", "number", name="pk_attempt"),
        sa.ForeignKeyConstraint(
            ["webhook"], ["webhook.id"], name="fk_attempt_webhook", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "tried",
        sa.Column("who", TEXT, nullable=False),
        sa.Column("count", WHOLE, nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("who", name="pk_tried"),
    )
