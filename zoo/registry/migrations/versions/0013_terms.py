"""An index of terms that may hold any character, and checkpoints to be read again.

Frozen: a change to the tables is a new migration. The terms are made when the program opens the
index next. Where checkpoints were pulled from is told since 0012: what was indexed before, and was
not trained here, is read once more from the store.
"""

from __future__ import annotations

from string import punctuation

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TOKEN = (" " + punctuation).replace("'", "''''")


def upgrade() -> None:
    """Make the index and the table."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TABLE item_term")
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE item_term USING fts5(terms, content='', columnsize=0, "
            f"detail=none, tokenize='ascii tokenchars ''{TOKEN}''')"
        )
    op.execute("UPDATE term_version SET version = 0")
    op.create_table(
        "unread",
        sa.Column("manifest", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("manifest", name="pk_unread"),
        sa.ForeignKeyConstraint(
            ["manifest"], ["checkpoint.manifest"], name="fk_unread_manifest", ondelete="CASCADE"
        ),
    )
    op.execute(
        "INSERT INTO unread (manifest) "
        "SELECT manifest FROM checkpoint WHERE source IS NULL AND recipe IS NULL"
    )
