"""Which checkpoints hold a tensor. Frozen: a change to the tables is a new migration.

The keys of checkpoints that are known already are made when somebody looks for a tensor next.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "fingerprint",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("sampled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fingerprint"),
        sa.UniqueConstraint("manifest", name="uq_fingerprint_manifest"),
        sa.ForeignKeyConstraint(
            ["manifest"],
            ["checkpoint.manifest"],
            name="fk_fingerprint_manifest",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "tensor_key",
        sa.Column("key", sa.Integer, nullable=False),
        sa.Column("fingerprint_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key", "fingerprint_id", name="pk_tensor_key"),
        sa.ForeignKeyConstraint(
            ["fingerprint_id"],
            ["fingerprint.id"],
            name="fk_tensor_key_fingerprint_id",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tensor_key_fingerprint_id", "tensor_key", ["fingerprint_id"])
