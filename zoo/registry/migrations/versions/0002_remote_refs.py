"""What the names of the remotes point at. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "remote_ref",
        sa.Column("remote", sa.String, nullable=False),
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("tag", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("remote", "namespace", "name", "tag", name="pk_remote_ref"),
    )
    op.create_index("ix_remote_ref_manifest", "remote_ref", ["manifest"])
