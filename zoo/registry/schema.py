"""The tables of the index.

Everything here is derived: from the store (checkpoints, refs) and from what sources list. Digests
are text with their algorithm. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

__all__ = [
    "checkpoint",
    "class_name",
    "entry",
    "hierarchy",
    "listing",
    "metadata",
    "metric",
    "parent",
    "ref",
    "remote_ref",
    "source",
]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _preprocessing() -> tuple[Column[Any], ...]:
    # none_as_null: an unknown value must be SQL NULL, or coalesce() would take it for a known one.
    return (
        Column("channels", Integer),
        Column("height", Integer),
        Column("width", Integer),
        Column("mean", JSON(none_as_null=True)),
        Column("std", JSON(none_as_null=True)),
        Column("interpolation", String),
        Column("crop_pct", Float),
        Column("crop_mode", String),
    )


def _of_checkpoint() -> Column[str]:
    return Column(
        "manifest",
        String,
        ForeignKey("checkpoint.manifest", ondelete="CASCADE"),
        primary_key=True,
    )


source = Table(
    "source",
    metadata,
    Column("name", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("indexed_at", String, nullable=False),
    Column("entries", Integer, nullable=False),
)

entry = Table(
    "entry",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("backbone", String, nullable=False),
    Column("architecture", String, nullable=False),
    Column("tag", String),
    Column("license", String),
    Column("hub_id", String),
    *_preprocessing(),
    Column("num_classes", Integer),
    # Lower-case search text.
    Column("text", String, nullable=False),
    UniqueConstraint("name"),
)

# Which source knows an entry, and where it says the weights are.
listing = Table(
    "listing",
    metadata,
    Column("entry_id", Integer, ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True),
    Column("source", String, ForeignKey("source.name", ondelete="CASCADE"), primary_key=True),
    Column("location_source", String),
    Column("locator", String),
    Index(None, "source"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("manifest", String, primary_key=True),
    Column("backbone", String, nullable=False),
    Column("architecture", String, nullable=False),
    Column("head", String, nullable=False),
    Column("num_classes", Integer, nullable=False),
    Column("params", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("license", String),
    *_preprocessing(),
    Column("recipe", JSON(none_as_null=True)),
    Column("created", String),
    Column("text", String, nullable=False),
    # A search shows the newest, and stops at its limit.
    Index(None, "created"),
)

# No foreign key on the parent: it may be in another zoo.
parent = Table(
    "parent",
    metadata,
    _of_checkpoint(),
    Column("parent", String, primary_key=True),
    Column("relation", String, primary_key=True),
    Column("ref", String, nullable=False),
    Index(None, "parent"),
)

metric = Table(
    "metric",
    metadata,
    _of_checkpoint(),
    Column("name", String, primary_key=True),
    Column("value", Float, nullable=False),
)

# Lower-case, for look-up; the manifest keeps the spelling.
class_name = Table(
    "class_name",
    metadata,
    _of_checkpoint(),
    Column("position", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Index(None, "name"),
)

# No foreign key on the manifest: the store decides what a ref points at, the index only follows.
ref = Table(
    "ref",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("tag", String, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("manifest", String, nullable=False),
    Column("at", String, nullable=False),
    Index(None, "manifest"),
)

# What the names of the remotes pointed at when they were fetched.
remote_ref = Table(
    "remote_ref",
    metadata,
    Column("remote", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("tag", String, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("manifest", String, nullable=False),
    Column("at", String, nullable=False),
    Index(None, "manifest"),
)

hierarchy = Table(
    "hierarchy",
    metadata,
    Column("plugin", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("architecture", String, primary_key=True),
    Column("params", Integer, nullable=False),
    Column("data", JSON, nullable=False),
    # Covers the look-up of params, so that a search never reads the bulky data.
    Index("ix_hierarchy_params", "plugin", "architecture", "params"),
)
