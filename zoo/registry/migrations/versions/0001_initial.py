"""The first schema. Frozen: a change to the tables is a new migration."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    _catalog()
    _checkpoints()
    _facts()
    _names()


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


def _foreign(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [target], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )


def _catalog() -> None:
    op.create_table(
        "source",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("indexed_at", sa.String, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_source"),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("backbone", sa.String, nullable=False),
        sa.Column("architecture", sa.String, nullable=False),
        sa.Column("tag", sa.String),
        sa.Column("license", sa.String),
        sa.Column("hub_id", sa.String),
        *_preprocessing(),
        sa.Column("num_classes", sa.Integer),
        sa.Column("text", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entry"),
        sa.UniqueConstraint("name", name="uq_entry_name"),
    )
    op.create_table(
        "listing",
        sa.Column("entry_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("location_source", sa.String),
        sa.Column("locator", sa.String),
        sa.PrimaryKeyConstraint("entry_id", "source", name="pk_listing"),
        _foreign("listing", "entry_id", "entry.id"),
        _foreign("listing", "source", "source.name"),
    )
    op.create_index("ix_listing_source", "listing", ["source"])


def _checkpoints() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("backbone", sa.String, nullable=False),
        sa.Column("architecture", sa.String, nullable=False),
        sa.Column("head", sa.String, nullable=False),
        sa.Column("num_classes", sa.Integer, nullable=False),
        sa.Column("params", sa.Integer, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("license", sa.String),
        *_preprocessing(),
        sa.Column("recipe", sa.JSON),
        sa.Column("created", sa.String),
        sa.Column("text", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("manifest", name="pk_checkpoint"),
    )


def _facts() -> None:
    op.create_table(
        "parent",
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("parent", sa.String, nullable=False),
        sa.Column("relation", sa.String, nullable=False),
        sa.Column("ref", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("manifest", "parent", "relation", name="pk_parent"),
        _foreign("parent", "manifest", "checkpoint.manifest"),
    )
    op.create_index("ix_parent_parent", "parent", ["parent"])
    op.create_table(
        "metric",
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("manifest", "name", name="pk_metric"),
        _foreign("metric", "manifest", "checkpoint.manifest"),
    )
    op.create_table(
        "class_name",
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("manifest", "position", name="pk_class_name"),
        _foreign("class_name", "manifest", "checkpoint.manifest"),
    )
    op.create_index("ix_class_name_name", "class_name", ["name"])


def _names() -> None:
    op.create_table(
        "ref",
        sa.Column("namespace", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("tag", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name", "tag", name="pk_ref"),
    )
    op.create_index("ix_ref_manifest", "ref", ["manifest"])
    op.create_table(
        "hierarchy",
        sa.Column("plugin", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("architecture", sa.String, nullable=False),
        sa.Column("params", sa.Integer, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("plugin", "version", "architecture", name="pk_hierarchy"),
    )
    op.create_index("ix_hierarchy_params", "hierarchy", ["plugin", "architecture", "params"])
