"""The tables of the index.

Everything here is derived: from the store (checkpoints, refs) and from what sources list. Digests
are text with their algorithm. A change here needs a migration; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

from zoo.registry.sql import POSTGRESQL, Text, Whole

__all__ = [
    "card",
    "checkpoint",
    "class_name",
    "bench",
    "evaluation",
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

REVISION = "0018"
"""The newest migration, after which the tables are as here."""
metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _preprocessing() -> tuple[sa.Column[object], ...]:
    # none_as_null: an unknown value must be SQL NULL, or coalesce() would take it for a known one.
    return (
        sa.Column("channels", Whole),
        sa.Column("height", Whole),
        sa.Column("width", Whole),
        sa.Column("mean", sa.JSON(none_as_null=True)),
        sa.Column("std", sa.JSON(none_as_null=True)),
        sa.Column("interpolation", Text),
        sa.Column("crop_pct", sa.Float),
        sa.Column("crop_mode", Text),
    )


def _of_checkpoint() -> sa.Column[str]:
    return sa.Column(
        "manifest",
        Text,
        sa.ForeignKey("checkpoint.manifest", ondelete="CASCADE"),
        primary_key=True,
    )


source = sa.Table(
    "source",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("version", Text, nullable=False),
    sa.Column("indexed_at", Text, nullable=False),
    sa.Column("entries", Whole, nullable=False),
)

# Everything that a search can find: a name and what it points at, here (kind ``checkpoint``) or at
# some remote (``remote``), and what sources list (``catalog``). The first two repeat what other
# tables say, so that a search reads one table.
item = sa.Table(
    "item",
    metadata,
    sa.Column("id", Whole, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    # Without the tag of a reference, which is empty for the default one.
    sa.Column("name", Text, nullable=False),
    sa.Column("ref_tag", Text, nullable=False),
    # Empty for what sources list.
    sa.Column("manifest", Text, nullable=False),
    sa.Column("backbone", Text, nullable=False),
    sa.Column("architecture", Text, nullable=False),
    sa.Column("tag", Text),
    sa.Column("license", Text),
    sa.Column("hub_id", Text),
    *_preprocessing(),
    sa.Column("num_classes", Whole),
    sa.Column("params", Whole),
    sa.Column("head", Text),
    sa.Column("frozen", sa.Float),
    sa.Column("datasets", sa.JSON(none_as_null=True)),
    sa.Column("keywords", sa.JSON(none_as_null=True)),
    sa.Column("created", Text),
    sa.Column("updated", Text),
    # Folded, a line for each value: a word of a search is a part of it.
    sa.Column("text", Text, nullable=False),
    # What sources publish of it.
    sa.Column("metrics", sa.JSON(none_as_null=True)),
    sa.Column("facts", sa.JSON(none_as_null=True)),
    sa.Column("note", Text),
    sa.Column("stated", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("name", "kind", "ref_tag", "manifest"),
    sa.Index(None, "architecture"),
    sa.Index(None, "params"),
    sa.Index(None, "height"),
    sa.Index(None, "num_classes"),
    sa.Index(None, "updated"),
)


@sa.event.listens_for(item, "after_create")
def _index_named(_: sa.Table, connection: sa.Connection, **__: object) -> None:
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
        connection.execute(sa.text(statement))


# Apart from the item: a search that reads many items need not read their cards.
card = sa.Table(
    "card",
    metadata,
    sa.Column("item_id", Whole, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("text", Text, nullable=False),
)

# What a metric of a search is compared with: results of the checkpoint, and what sources publish.
# What it showed on other data is called ``accuracy@flowers``.
measure = sa.Table(
    "measure",
    metadata,
    sa.Column("item_id", Whole, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Index(None, "name", "value"),
)

# The version of `zoo.registry.terms` that the index of terms was made with; 0 is none.
term_version = sa.Table("term_version", metadata, sa.Column("version", Whole, primary_key=True))

# Hierarchies of checkpoints' networks, which have heads and sizes of their own.
network = sa.Table(
    "network",
    metadata,
    sa.Column("plugin", Text, primary_key=True),
    sa.Column("version", Text, primary_key=True),
    sa.Column("network", Text, primary_key=True),
    sa.Column("data", sa.JSON, nullable=False),
)

# Whose index this is, on a server: a zoo's own id, and whether all that its store holds was put in.
owner = sa.Table(
    "owner",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("filled", sa.Boolean, nullable=False),
)

# Which source knows an item, and where it says the weights are. The fingerprint is that of all that
# the source says; NULL where another one has changed the item since.
listing = sa.Table(
    "listing",
    metadata,
    sa.Column("item_id", Whole, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("source", Text, sa.ForeignKey("source.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("location_source", Text),
    sa.Column("locator", Text),
    sa.Column("fingerprint", Whole),
    sa.Index(None, "source"),
)

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("manifest", Text, primary_key=True),
    sa.Column("backbone", Text, nullable=False),
    sa.Column("architecture", Text, nullable=False),
    sa.Column("head", Text, nullable=False),
    sa.Column("num_classes", Whole, nullable=False),
    sa.Column("params", Whole, nullable=False),
    sa.Column("bytes", Whole, nullable=False),
    sa.Column("license", Text),
    *_preprocessing(),
    sa.Column("recipe", sa.JSON(none_as_null=True)),
    sa.Column("created", Text),
    sa.Column("text", Text, nullable=False),
    sa.Column("dataset", Text),
    sa.Column("frozen", sa.Float),
    # Where it was pulled from: another program, or an earlier version of this one, left it out.
    sa.Column("source", Text),
    sa.Column("locator", Text),
    sa.Column("note", Text),
    # The names of figures that nobody measured.
    sa.Column("stated", sa.JSON(none_as_null=True)),
)

# Those that an earlier version indexed, and that must be read again from the store.
unread = sa.Table("unread", metadata, _of_checkpoint())

# No foreign key on the parent: it may be in another zoo.
parent = sa.Table(
    "parent",
    metadata,
    _of_checkpoint(),
    sa.Column("parent", Text, primary_key=True),
    sa.Column("relation", Text, primary_key=True),
    sa.Column("ref", Text, nullable=False),
    sa.Index(None, "parent"),
)

metric = sa.Table(
    "metric",
    metadata,
    _of_checkpoint(),
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Index(None, "name", "value"),
)

# What `zoo evaluate` found, of each checkpoint the newest on the same data.
evaluation = sa.Table(
    "evaluation",
    metadata,
    _of_checkpoint(),
    sa.Column("data_digest", Text, primary_key=True),
    sa.Column("data", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
)

# What `zoo bench` measured here, on the newest device of each kind: ms.cpu, …
bench = sa.Table(
    "bench",
    metadata,
    _of_checkpoint(),
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)

# Folded, for look-up; the manifest keeps the spelling.
class_name = sa.Table(
    "class_name",
    metadata,
    _of_checkpoint(),
    sa.Column("position", Whole, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Index(None, "name", "manifest"),
)

# No foreign key on the manifest: the store decides what a ref points at, the index only follows.
ref = sa.Table(
    "ref",
    metadata,
    sa.Column("namespace", Text, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    sa.Column("number", Whole, nullable=False),
    sa.Column("manifest", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
    sa.Index(None, "name"),
    sa.Index(None, "manifest"),
)

# Moves that are about to be made in the store. One that is still here tells that the index may lack
# it: whoever made it was stopped in between.
moving = sa.Table(
    "moving",
    metadata,
    sa.Column("id", Whole, primary_key=True),
    sa.Column("namespace", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("tag", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
)

# What the names of the remotes pointed at when they were fetched.
remote_ref = sa.Table(
    "remote_ref",
    metadata,
    sa.Column("remote", Text, primary_key=True),
    sa.Column("namespace", Text, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    sa.Column("number", Whole, nullable=False),
    sa.Column("manifest", Text, nullable=False),
    sa.Column("at", Text, nullable=False),
    # What else it pointed at there, oldest first; NULL where nobody has asked.
    sa.Column("history", sa.JSON(none_as_null=True)),
    # Who moved it there, and what for; of what an earlier version has fetched, NULL.
    sa.Column("author", Text),
    sa.Column("note", Text),
    sa.Index(None, "name"),
    sa.Index(None, "manifest"),
)

hierarchy = sa.Table(
    "hierarchy",
    metadata,
    sa.Column("plugin", Text, primary_key=True),
    sa.Column("version", Text, primary_key=True),
    sa.Column("architecture", Text, primary_key=True),
    sa.Column("params", Whole, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    # Covers the look-up of params, so that a search never reads the bulky data.
    sa.Index("ix_hierarchy_params", "plugin", "architecture", "params"),
)
