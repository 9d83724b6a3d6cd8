"""Which names reach which objects. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "document",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_document"),
        sa.UniqueConstraint("digest", name="uq_document_digest"),
    )
    op.create_table(
        "holds",
        sa.Column("digest", TEXT, nullable=False),
        _document("holds"),
        sa.PrimaryKeyConstraint("digest", "document", name="pk_holds"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "named",
        _document("named"),
        sa.Column("repo", TEXT, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("document", "repo", "tag", name="pk_named"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "followed",
        sa.Column("repo", TEXT, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("repo", "tag", name="pk_followed"),
    )


def _document(table: str) -> sa.Column[int]:
    key = sa.ForeignKey("document.id", name=f"fk_{table}_document", ondelete="CASCADE")
    return sa.Column("document", sa.Integer, key, nullable=False)
