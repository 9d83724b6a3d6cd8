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
    text,
)

__all__ = [
    "card",
    "checkpoint",
    "class_name",
    "hierarchy",
    "item",
    "listing",
    "measure",
    "metadata",
    "metric",
    "parent",
    "ref",
    "remote_ref",
    "source",
    "term_version",
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

# Everything that a search can find: a name and what it points at, here (kind ``checkpoint``) or at
# some remote (``remote``), and what sources list (``catalog``). The first two repeat what other
# tables say, so that a search reads one table.
item = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    # Without the tag of a reference, which is empty for the default one.
    Column("name", String, nullable=False),
    Column("ref_tag", String, nullable=False),
    # Empty for what sources list.
    Column("manifest", String, nullable=False),
    Column("backbone", String, nullable=False),
    Column("architecture", String, nullable=False),
    Column("tag", String),
    Column("license", String),
    Column("hub_id", String),
    *_preprocessing(),
    Column("num_classes", Integer),
    Column("params", Integer),
    Column("head", String),
    Column("frozen", Float),
    Column("datasets", JSON(none_as_null=True)),
    Column("keywords", JSON(none_as_null=True)),
    Column("created", String),
    Column("updated", String),
    # Folded, a line for each value: a word of a search is a part of it.
    Column("text", String, nullable=False),
    # What sources publish of it.
    Column("metrics", JSON(none_as_null=True)),
    Column("facts", JSON(none_as_null=True)),
    UniqueConstraint("name", "kind", "ref_tag", "manifest"),
    Index(None, "architecture"),
    Index(None, "params"),
    Index(None, "height"),
    Index(None, "num_classes"),
    Index(None, "updated"),
    # A search shows the newest, and stops at its limit.
    Index(
        "ix_item_created",
        text("created DESC"),
        "name",
        "ref_tag",
        sqlite_where=text("kind != 'catalog'"),
    ),
    Index("ix_item_manifest", "manifest", sqlite_where=text("kind != 'catalog'")),
)

# Apart from the item: a search that reads many items need not read their cards.
card = Table(
    "card",
    metadata,
    Column("item_id", Integer, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("text", String, nullable=False),
)

# What a metric of a search is compared with: results of the checkpoint, and what sources publish.
measure = Table(
    "measure",
    metadata,
    Column("item_id", Integer, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Float, nullable=False),
    Index(None, "name", "value"),
)

# The version of `zoo.registry.terms` that the index of terms was made with; 0 is none.
term_version = Table("term_version", metadata, Column("version", Integer, primary_key=True))

# Which source knows an item, and where it says the weights are. The fingerprint is that of all that
# the source says; NULL where another one has changed the item since.
listing = Table(
    "listing",
    metadata,
    Column("item_id", Integer, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("source", String, ForeignKey("source.name", ondelete="CASCADE"), primary_key=True),
    Column("location_source", String),
    Column("locator", String),
    Column("fingerprint", Integer),
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
    Column("dataset", String),
    Column("frozen", Float),
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
    Index(None, "name", "value"),
)

# Folded, for look-up; the manifest keeps the spelling.
class_name = Table(
    "class_name",
    metadata,
    _of_checkpoint(),
    Column("position", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Index(None, "name", "manifest"),
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
