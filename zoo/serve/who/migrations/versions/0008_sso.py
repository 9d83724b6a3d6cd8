"""Signing in by another service, and tokens for jobs that such a service vouches for. Frozen: a
change to the tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    own = sa.Column("own", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("session", own)
    op.create_table(
        "provider",
        *(
            sa.Column(name, TEXT, nullable=False)
            for name in ("name", "issuer", "client_id", "secret_file", "hosts", "domains")
        ),
        sa.Column("creates", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_provider"),
    )
    op.create_table(
        "identity",
        *(sa.Column(name, TEXT, nullable=False) for name in ("issuer", "subject", "made")),
        sa.Column("account", TEXT),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_identity"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_identity_account", ondelete="SET NULL"
        ),
    )
    op.create_table(
        "publisher",
        *(
            sa.Column(name, TEXT, nullable=False)
            for name in ("id", "path", "issuer", "claims", "hosts", "account", "made")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_publisher"),
        sa.ForeignKeyConstraint(
            ["account"], ["account.name"], name="fk_publisher_account", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "spent",
        *(sa.Column(name, TEXT, nullable=False) for name in ("digest", "until")),
        sa.PrimaryKeyConstraint("digest", name="pk_spent"),
    )
