"""Names are looked up by their last part. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_ref_name", "ref", ["name"])
    op.create_index("ix_remote_ref_name", "remote_ref", ["name"])
