"""One table of all that a search finds, and an index of terms. Frozen: a change is a new migration.

The items of names, and all terms, are made when the registry is opened next: see
`zoo.registry.items`.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEPT = ("id, name, backbone, architecture, tag, license, hub_id, channels, height, width, mean, "
        "std, interpolation, crop_pct, crop_mode, num_classes, text")  # fmt: skip


def upgrade() -> None:
    """Make the tables, move what sources list, and drop what is replaced."""
    _items()
    _listings()
    _checkpoints()
    op.execute("""CREATE VIRTUAL TABLE item_term USING fts5(
        terms, content='', columnsize=0, detail=none, tokenize='ascii')""")


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
    newest: list[Any] = [sa.text("created DESC"), "name", "ref_tag"]
    op.create_index("ix_item_created", "item", newest, sqlite_where=named)
    op.create_index("ix_item_manifest", "item", ["manifest"], sqlite_where=named)
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
    op.rename_table("listing", "old_listing")
    op.drop_index("ix_listing_source", "old_listing")
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
    folded = connection.exec_driver_sql("SELECT DISTINCT name FROM class_name").fetchall()
    for (name,) in folded:
        if name != name.casefold():  # they were in lower case only
            connection.exec_driver_sql(
                "UPDATE class_name SET name = ? WHERE name = ?", (name.casefold(), name)
            )
    trained = connection.exec_driver_sql(
        "SELECT manifest, recipe FROM checkpoint WHERE recipe IS NOT NULL"
    )
    for manifest, recipe in trained.fetchall():
        data = json.loads(recipe).get("data")
        if isinstance(data, str):
            name = data.replace("\\", "/").rstrip("/").rpartition("/")[2]
            connection.exec_driver_sql(
                "UPDATE checkpoint SET dataset = ? WHERE manifest = ?", (name or None, manifest)
            )
