"""One table of all that a search finds, and an index of terms. Frozen: a change is a new migration.

The items of names, and all terms, are made when the registry is opened next: see
`zoo.registry.items`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEPT = (
    "id, name, backbone, architecture, tag, license, hub_id, channels, height, width, mean, "
    "std, interpolation, crop_pct, crop_mode, num_classes, text"
)


def upgrade() -> None:
    """Make the tables, move what sources list, and drop what is replaced."""
    _items()
    _listings()
    _checkpoints()
    _terms()


def _terms() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("""CREATE VIRTUAL TABLE item_term USING fts5(
            terms, content='', columnsize=0, detail=none, tokenize='ascii')""")
    else:
        op.execute("CREATE TABLE item_term (rowid BIGINT PRIMARY KEY, terms TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX ix_item_term_terms ON item_term USING gin (terms)")


def _preprocessing() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("channels", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("width", sa.Integer),
        sa.Column("mean", sa.JSON),
        sa.Column("std", sa.JSON),
        sa.Column("interpolation", sa.String),
        sa.Column("crop_pct", sa.Float),
        sa.Column("crop_mode", sa.String),
    )


def _items() -> None:
    op.create_table(
        "item",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("ref_tag", sa.String, nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("backbone", sa.String, nullable=False),
        sa.Column("architecture", sa.String, nullable=False),
        sa.Column("tag", sa.String),
        sa.Column("license", sa.String),
        sa.Column("hub_id", sa.String),
        *_preprocessing(),
        sa.Column("num_classes", sa.Integer),
        sa.Column("params", sa.Integer),
        sa.Column("head", sa.String),
        sa.Column("frozen", sa.Float),
        sa.Column("datasets", sa.JSON),
        sa.Column("keywords", sa.JSON),
        sa.Column("created", sa.String),
        sa.Column("updated", sa.String),
        sa.Column("text", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_item"),
        sa.UniqueConstraint("name", "kind", "ref_tag", "manifest", name="uq_item_name"),
    )
    for column in ("architecture", "params", "height", "num_classes", "updated"):
        op.create_index(f"ix_item_{column}", "item", [column])
    named = sa.text("kind != 'catalog'")
    first = "created DESC" if op.get_bind().dialect.name == "sqlite" else "created DESC NULLS LAST"
    newest: list[Any] = [sa.text(first), "name", "ref_tag"]
    some: dict[str, Any] = {"sqlite_where": named, "postgresql_where": named}
    op.create_index("ix_item_created", "item", newest, **some)
    op.create_index("ix_item_manifest", "item", ["manifest"], **some)
    op.create_table(
        "card",
        sa.Column("item_id", sa.Integer, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_card"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name="fk_card_item_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "term_version",
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_term_version"),
    )
    op.execute("INSERT INTO term_version (version) VALUES (0)")
    op.execute(
        f"INSERT INTO item (kind, ref_tag, manifest, {KEPT}) "  # noqa: S608 - constants
        f"SELECT 'catalog', '', '', {KEPT} FROM entry"
    )


def _listings() -> None:
    op.execute("CREATE TEMPORARY TABLE old_listing AS SELECT * FROM listing")
    op.drop_table("listing")
    op.create_table(
        "listing",
        sa.Column("item_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("location_source", sa.String),
        sa.Column("locator", sa.String),
        sa.Column("fingerprint", sa.Integer),
        sa.PrimaryKeyConstraint("item_id", "source", name="pk_listing"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name="fk_listing_item_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source"], ["source.name"], name="fk_listing_source", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_listing_source", "listing", ["source"])
    op.execute(
        "INSERT INTO listing (item_id, source, location_source, locator) "
        "SELECT entry_id, source, location_source, locator FROM old_listing"
    )
    op.drop_table("old_listing")
    op.drop_table("entry")


def _checkpoints() -> None:
    op.drop_index("ix_checkpoint_created", "checkpoint")
    op.add_column("checkpoint", sa.Column("dataset", sa.String))
    op.add_column("checkpoint", sa.Column("frozen", sa.Float))
    op.drop_index("ix_class_name_name", "class_name")
    op.create_index("ix_class_name_name", "class_name", ["name", "manifest"])
    op.create_index("ix_metric_name", "metric", ["name", "value"])
    connection = op.get_bind()
    classes = sa.table("class_name", sa.column("name"))
    for (name,) in connection.execute(sa.select(classes.c.name).distinct()).fetchall():
        if name != name.casefold():  # they were in lower case only
            this = sa.update(classes).where(classes.c.name == name)
            connection.execute(this.values(name=name.casefold()))
    table = sa.table(
        "checkpoint",
        sa.column("manifest"),
        sa.column("recipe", sa.JSON),
        sa.column("dataset", sa.String),
    )
    trained = sa.select(table.c.manifest, table.c.recipe).where(table.c.recipe.is_not(None))
    for manifest, recipe in connection.execute(trained).fetchall():
        data = recipe and recipe.get("data")
        if isinstance(data, str):
            name = data.replace("\\", "/").rstrip("/").rpartition("/")[2]
            this = sa.update(table).where(table.c.manifest == manifest)
            connection.execute(this.values(dataset=name or None))
