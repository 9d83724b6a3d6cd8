"""Teams, roles, protected names, repositories, and what a token is for. Frozen: a change to the
tables is a new migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; who was a reader has that role."""
    op.add_column(
        "account", sa.Column("team", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.execute("ALTER TABLE token RENAME COLUMN scopes TO purpose")
    op.add_column("token", sa.Column("only", TEXT, nullable=False, server_default=""))
    op.create_table(
        "role",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("who", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("path", "who", name="pk_role"),
        sa.ForeignKeyConstraint(["who"], ["account.name"], name="fk_role_who", ondelete="CASCADE"),
    )
    op.execute("INSERT INTO role (path, who, role) SELECT path, account, 'reader' FROM reader")
    op.drop_table("reader")
    op.create_table(
        "protected",
        sa.Column("pattern", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("pattern", name="pk_protected"),
    )
    op.create_table(
        "repo",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("made", TEXT, nullable=False),
        sa.Column("moved", TEXT),
        sa.PrimaryKeyConstraint("path", name="pk_repo"),
    )
