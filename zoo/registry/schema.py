"""The tables of the index.

Everything here is derived: from the store (checkpoints, refs) and from what sources list. Digests
are text with their algorithm. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    event,
    text,
)

from zoo.registry.sql import POSTGRESQL, Text, Whole

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
    "moving",
    "network",
    "owner",
    "parent",
    "ref",
    "remote_ref",
    "source",
    "term_version",
    "unread",
]

REVISION = "0013"
"""The newest migration, after which the tables are as here."""
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
        Column("channels", Whole),
        Column("height", Whole),
        Column("width", Whole),
        Column("mean", JSON(none_as_null=True)),
        Column("std", JSON(none_as_null=True)),
        Column("interpolation", Text),
        Column("crop_pct", Float),
        Column("crop_mode", Text),
    )


def _of_checkpoint() -> Column[str]:
    return Column(
        "manifest",
        Text,
        ForeignKey("checkpoint.manifest", ondelete="CASCADE"),
        primary_key=True,
    )


source = Table(
    "source",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("indexed_at", Text, nullable=False),
    Column("entries", Whole, nullable=False),
)

# Everything that a search can find: a name and what it points at, here (kind ``checkpoint``) or at
# some remote (``remote``), and what sources list (``catalog``). The first two repeat what other
# tables say, so that a search reads one table.
item = Table(
    "item",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("kind", Text, nullable=False),
    # Without the tag of a reference, which is empty for the default one.
    Column("name", Text, nullable=False),
    Column("ref_tag", Text, nullable=False),
    # Empty for what sources list.
    Column("manifest", Text, nullable=False),
    Column("backbone", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("tag", Text),
    Column("license", Text),
    Column("hub_id", Text),
    *_preprocessing(),
    Column("num_classes", Whole),
    Column("params", Whole),
    Column("head", Text),
    Column("frozen", Float),
    Column("datasets", JSON(none_as_null=True)),
    Column("keywords", JSON(none_as_null=True)),
    Column("created", Text),
    Column("updated", Text),
    # Folded, a line for each value: a word of a search is a part of it.
    Column("text", Text, nullable=False),
    # What sources publish of it.
    Column("metrics", JSON(none_as_null=True)),
    Column("facts", JSON(none_as_null=True)),
    UniqueConstraint("name", "kind", "ref_tag", "manifest"),
    Index(None, "architecture"),
    Index(None, "params"),
    Index(None, "height"),
    Index(None, "num_classes"),
    Index(None, "updated"),
)


@event.listens_for(item, "after_create")
def _index_named(_: Table, connection: Connection, **__: object) -> None:
    # Not as indexes of the table: for one with a condition SQLAlchemy imports the dialects of all
    # engines that it is told for, which takes a tenth of the time of a search.
    # On SQLite what has no date comes last by itself, and its indexes cannot be told so.
    last = " NULLS LAST" if connection.dialect.name == POSTGRESQL else ""
    for name, columns in (
        # A search shows the newest, and stops at its limit.
        ("created", f"created DESC{last}, name, ref_tag"),
        # Of each entry a search asks whether its name is here, too.
        ("named", "name, kind"),
        ("manifest", "manifest"),
    ):
        statement = f"CREATE INDEX ix_item_{name} ON item ({columns}) WHERE kind != 'catalog'"
        connection.execute(text(statement))


# Apart from the item: a search that reads many items need not read their cards.
card = Table(
    "card",
    metadata,
    Column("item_id", Whole, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
)

# What a metric of a search is compared with: results of the checkpoint, and what sources publish.
measure = Table(
    "measure",
    metadata,
    Column("item_id", Whole, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Float, nullable=False),
    Index(None, "name", "value"),
)

# The version of `zoo.registry.terms` that the index of terms was made with; 0 is none.
term_version = Table("term_version", metadata, Column("version", Whole, primary_key=True))

# Hierarchies of checkpoints' networks, which have heads and sizes of their own.
network = Table(
    "network",
    metadata,
    Column("plugin", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("network", Text, primary_key=True),
    Column("data", JSON, nullable=False),
)

# Whose index this is, on a server: a zoo's own id, and whether all that its store holds was put in.
owner = Table(
    "owner",
    metadata,
    Column("id", Text, primary_key=True),
    Column("filled", Boolean, nullable=False),
)

# Which source knows an item, and where it says the weights are. The fingerprint is that of all that
# the source says; NULL where another one has changed the item since.
listing = Table(
    "listing",
    metadata,
    Column("item_id", Whole, ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, ForeignKey("source.name", ondelete="CASCADE"), primary_key=True),
    Column("location_source", Text),
    Column("locator", Text),
    Column("fingerprint", Whole),
    Index(None, "source"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("manifest", Text, primary_key=True),
    Column("backbone", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("num_classes", Whole, nullable=False),
    Column("params", Whole, nullable=False),
    Column("bytes", Whole, nullable=False),
    Column("license", Text),
    *_preprocessing(),
    Column("recipe", JSON(none_as_null=True)),
    Column("created", Text),
    Column("text", Text, nullable=False),
    Column("dataset", Text),
    Column("frozen", Float),
    # Where it was pulled from: another program, or an earlier version of this one, left it out.
    Column("source", Text),
    Column("locator", Text),
)

# Those that an earlier version indexed, and that must be read again from the store.
unread = Table("unread", metadata, _of_checkpoint())

# No foreign key on the parent: it may be in another zoo.
parent = Table(
    "parent",
    metadata,
    _of_checkpoint(),
    Column("parent", Text, primary_key=True),
    Column("relation", Text, primary_key=True),
    Column("ref", Text, nullable=False),
    Index(None, "parent"),
)

metric = Table(
    "metric",
    metadata,
    _of_checkpoint(),
    Column("name", Text, primary_key=True),
    Column("value", Float, nullable=False),
    Index(None, "name", "value"),
)

# Folded, for look-up; the manifest keeps the spelling.
class_name = Table(
    "class_name",
    metadata,
    _of_checkpoint(),
    Column("position", Whole, primary_key=True),
    Column("name", Text, nullable=False),
    Index(None, "name", "manifest"),
)

# No foreign key on the manifest: the store decides what a ref points at, the index only follows.
ref = Table(
    "ref",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("number", Whole, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("at", Text, nullable=False),
    Index(None, "manifest"),
)

# Moves that are about to be made in the store. One that is still here tells that the index may lack
# it: whoever made it was stopped in between.
moving = Table(
    "moving",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# What the names of the remotes pointed at when they were fetched.
remote_ref = Table(
    "remote_ref",
    metadata,
    Column("remote", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("number", Whole, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("at", Text, nullable=False),
    # What else it pointed at there, oldest first; NULL where nobody has asked.
    Column("history", JSON(none_as_null=True)),
    Index(None, "manifest"),
)

hierarchy = Table(
    "hierarchy",
    metadata,
    Column("plugin", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("architecture", Text, primary_key=True),
    Column("params", Whole, nullable=False),
    Column("data", JSON, nullable=False),
    # Covers the look-up of params, so that a search never reads the bulky data.
    Index("ix_hierarchy_params", "plugin", "architecture", "params"),
)
