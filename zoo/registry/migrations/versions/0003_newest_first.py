"""Checkpoints in the order in which a search shows them. Frozen: a change is a new migration."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_checkpoint_created", "checkpoint", ["created"])
