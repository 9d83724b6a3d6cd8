"""Items: all that a search can find, in one table, and the terms that it is found by.

The items of names repeat what a ref, its checkpoint and the catalog say together. They are made
again, by `refresh`, when one of these changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import sqlalchemy as sa

from zoo.domain.catalog import OPEN
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.registry import index, schema, terms
from zoo.registry.sql import Columns, among, among_given, insert_many

__all__ = [
    "CATALOG",
    "CHECKPOINT",
    "IS_NAMED",
    "ITEM",
    "MACS",
    "OTHER",
    "OTHER_IS_NAMED",
    "REMOTE",
    "Rows",
    "Scope",
    "TEXT",
    "add",
    "at_ref",
    "change",
    "complete",
    "drop",
    "is_ref",
    "lists",
    "measure_again",
    "of_manifest",
    "of_names",
    "of_remotes",
    "path_of",
    "read",
    "rebuild",
    "refresh",
    "search_text",
    "shown_name",
]

CHECKPOINT, REMOTE, CATALOG = "checkpoint", "remote", "catalog"
BOTH = (CHECKPOINT, REMOTE)
TEXT = ("name", "backbone", "architecture", "tag", "license", "hub_id")
WHOLE = ("backbone", "architecture", "tag", "license", "head")
"""What is found as a whole value, beside the lines of the text."""
NOT_SHOWN = ("bytes", "recipe", "license", "source", "locator")
"""What an item does not repeat of a checkpoint, or not as it is."""
MACS = "macs"
"""The metric that is no result: it says nothing of the weights."""
BATCH = 5_000

ITEM = schema.item
# Made once: to make an alias takes as long as to read some rows.
OTHER = ITEM.alias()
# Not as a parameter, or the engine could not tell that the indexes of these alone will do.
IS_NAMED, OTHER_IS_NAMED = (
    table.c.kind != sa.literal_column(f"'{CATALOG}'") for table in (ITEM, OTHER)
)

Rows = list[Columns]
"""Items as plain columns, with their ``card``."""
Condition = Callable[[sa.Table], sa.ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Some of the names.

    Attributes:
        kinds: Those here, those at remotes, or both.
        refs: The condition on a table of refs, in which ``values`` are parameters: one function for
            each kind of scope, so that its statement is made once.
        items: The same condition on items.
        values: Of the parameters in ``refs``.
    """

    kinds: tuple[str, ...]
    refs: Condition
    items: sa.ColumnElement[bool]
    values: Columns = field(default_factory=dict)


def path_of(ref: sa.FromClause) -> sa.ColumnElement[str]:
    """A reference without its tag."""
    return ref.c.namespace + "/" + ref.c.name


def is_ref(table: sa.Table, ref: Reference) -> sa.ColumnElement[bool]:
    """Whether a row of a table of refs is this one."""
    return sa.and_(
        table.c.namespace == ref.namespace, table.c.name == ref.name, table.c.tag == ref.tag
    )


def shown_name(name: str, ref_tag: str) -> str:
    """What a user types for an item."""
    return f"{name}:{ref_tag}" if ref_tag else name


def at_ref(ref: Reference) -> Scope:
    """One name here."""
    tag = "" if ref.tag == DEFAULT_TAG else ref.tag
    return Scope(
        (CHECKPOINT,),
        _is_ref,
        sa.and_(ITEM.c.name == ref.path, ITEM.c.ref_tag == tag),
        {"in_namespace": ref.namespace, "named": ref.name, "tagged": ref.tag},
    )


def of_names(names: Iterable[str]) -> Scope:
    """These names with any tag."""
    listed = list(names)
    return Scope(BOTH, _has_name, among(ITEM.c.name, listed), {"names": listed})


def of_manifest(manifest: str) -> Scope:
    """All names of a checkpoint."""
    return Scope(BOTH, _has_manifest, ITEM.c.manifest == manifest, {"of_manifest": manifest})


def of_remotes() -> Scope:
    """All names at remotes."""
    return Scope((REMOTE,), _any, ITEM.c.name != "")


def everything() -> Scope:
    """All names."""
    return Scope(BOTH, _any, ITEM.c.name != "")


def _is_ref(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.namespace == sa.bindparam("in_namespace"),
        table.c.name == sa.bindparam("named"),
        table.c.tag == sa.bindparam("tagged"),
    )


def _has_name(table: sa.Table) -> sa.ColumnElement[bool]:
    return among_given(path_of(table), "names")


def _has_manifest(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.manifest == sa.bindparam("of_manifest")


def _any(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.name != ""


def refresh(connection: sa.Connection, scope: Scope) -> None:
    """Make the items of the names in ``scope`` as refs, checkpoints and catalog say now."""
    wanted = {_key(row): row for kind in scope.kinds for row in _wanted(connection, kind, scope)}
    known = {
        _key(row): row
        for row in read(connection, sa.and_(IS_NAMED, ITEM.c.kind.in_(scope.kinds), scope.items))
    }
    stale = [row for key, row in known.items() if {**row, **wanted.get(key, {"kind": None})} != row]
    drop(connection, stale)
    gone = {_key(row) for row in stale}
    add(connection, [row for key, row in wanted.items() if key not in known or key in gone])


def read(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Rows:
    """Items with their cards."""
    card = schema.card
    statement = sa.select(ITEM, card.c.text.label("card")).outerjoin(
        card, card.c.item_id == ITEM.c.id
    )
    return [dict(row._mapping) for row in connection.execute(statement.where(condition))]


def add(connection: sa.Connection, rows: Rows) -> None:
    """Put new items in; their ids are set."""
    if not rows:
        return
    top = connection.scalar(sa.select(sa.func.max(ITEM.c.id))) or 0
    for number, row in enumerate(rows, top + 1):
        row["id"] = number
    insert_many(connection, ITEM, rows)
    _add_cards(connection, rows)
    _add_measures(connection, rows)
    index.add(connection, _terms(connection, rows))


def change(connection: sa.Connection, old: Rows, new: Rows) -> None:
    """Put ``new`` in the place of ``old``, items that were read and have the same ids."""
    if not new:
        return
    before, after = set(_terms(connection, old)), set(_terms(connection, new))
    index.remove(connection, sorted(before - after))
    values: Columns = {each.name: sa.bindparam(f"new_{each.name}") for each in ITEM.c}
    connection.execute(
        sa.update(ITEM).where(ITEM.c.id == sa.bindparam("new_id")).values(values),
        [{f"new_{column.name}": row[column.name] for column in ITEM.c} for row in new],
    )
    card = schema.card
    for table in (card, schema.measure):
        connection.execute(
            sa.delete(table).where(among(table.c.item_id, [row["id"] for row in new]))
        )
    _add_cards(connection, new)
    _add_measures(connection, new)
    index.add(connection, sorted(after - before))


def drop(connection: sa.Connection, rows: Rows) -> None:
    """Take items out that were read."""
    if rows:
        index.remove(connection, _terms(connection, rows))
        connection.execute(sa.delete(ITEM).where(among(ITEM.c.id, [row["id"] for row in rows])))


def measure_again(connection: sa.Connection, manifest: str) -> None:
    """Compare searches with what is known now of the results of a checkpoint."""
    rows, measure = read(connection, sa.and_(IS_NAMED, ITEM.c.manifest == manifest)), schema.measure
    ids = [row["id"] for row in rows]
    connection.execute(sa.delete(measure).where(among(measure.c.item_id, ids)))
    _add_measures(connection, rows)


def complete(connection: sa.Connection) -> bool:
    """Whether all items are there, with the terms that this program knows."""
    return connection.scalar(sa.select(schema.term_version.c.version)) == terms.VERSION


def rebuild(connection: sa.Connection) -> None:
    """Make the items of all names, and all terms, from nothing."""
    index.clear(connection)
    connection.execute(sa.delete(ITEM).where(IS_NAMED))
    last = 0
    while rows := read(connection, ITEM.c.id.in_(_ids_after(last))):
        for row in rows:
            row["text"] = search_text(row)
        last = max(row["id"] for row in rows)
        renamed = [{"which": row["id"], "words": row["text"]} for row in rows]
        statement = sa.update(ITEM).where(ITEM.c.id == sa.bindparam("which"))
        connection.execute(statement.values(text=sa.bindparam("words")), renamed)
        index.add(connection, _terms(connection, rows))
    refresh(connection, everything())
    connection.execute(sa.update(schema.term_version).values(version=terms.VERSION))


def search_text(row: Columns) -> str:
    """The text of a catalog item."""
    values = [row[column] for column in TEXT]
    return terms.join([*values, *(row["keywords"] or ()), *(row["datasets"] or ())])


def _ids_after(last: int) -> sa.Select[tuple[int]]:
    return sa.select(ITEM.c.id).where(ITEM.c.id > last).order_by(ITEM.c.id).limit(BATCH)


def _key(row: Columns) -> tuple[str, ...]:
    return row["kind"], row["name"], row["ref_tag"], row["manifest"]


def _wanted(connection: sa.Connection, kind: str, scope: Scope) -> Iterator[Columns]:
    """Items as they should be, but for their ids."""
    for row in connection.execute(_statement(kind, scope.refs), scope.values):
        yield _named(kind, dict(row._mapping))


@cache
def _statement(kind: str, refs: Condition) -> sa.Select[object]:
    """What reads them. To make it takes several times as long as to carry it out."""
    ref = schema.ref if kind == CHECKPOINT else schema.remote_ref
    checkpoint, entry = schema.checkpoint, OTHER
    # Several remotes may have the same.
    key = (ref.c.namespace, ref.c.name, ref.c.tag, ref.c.manifest)
    moved = sa.select(*key, sa.func.max(ref.c.at).label("at")).where(refs(ref)).group_by(*key)
    named = moved.subquery()
    path = path_of(named)
    return sa.select(
        path.label("name"),
        named.c.tag.label("ref_tag"),
        named.c.at.label("updated"),
        entry.c.tag,
        sa.func.coalesce(checkpoint.c.license, entry.c.license).label("license"),
        entry.c.hub_id,
        entry.c.keywords,
        entry.c.datasets,
        entry.c.metrics,
        entry.c.facts,
        entry.c.text.label("entry_text"),
        *(column for column in checkpoint.c if column.name not in NOT_SHOWN),
    ).select_from(
        named.join(checkpoint, checkpoint.c.manifest == named.c.manifest).outerjoin(
            entry,
            sa.and_(entry.c.name == path, entry.c.kind == CATALOG, lists(entry, checkpoint)),
        )
    )


def lists(entry: sa.FromClause, checkpoint: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether an entry lists a checkpoint of the same name, rather than somebody else's work: the
    rule is that of `zoo.names.Names.is_own`.
    """
    listing, locator = schema.listing.alias(), checkpoint.c.locator
    listings = sa.select(listing.c.item_id).where(listing.c.item_id == entry.c.id)
    theirs = listing.c.location_source == checkpoint.c.source
    revised = sa.func.substr(listing.c.locator, 1, sa.func.length(locator) + 1) == locator + "@"
    closed = listings.where(listing.c.source.not_in(OPEN)).exists()
    return sa.or_(
        sa.and_(closed, sa.or_(checkpoint.c.source.is_(None), listings.where(theirs).exists())),
        listings.where(theirs, sa.or_(listing.c.locator == locator, revised)).exists(),
    )


def _named(kind: str, row: Columns) -> Columns:
    tag = row["ref_tag"] if row["ref_tag"] != DEFAULT_TAG else ""
    dataset = row.pop("dataset")
    known = [row["text"], row.pop("entry_text") or ""]
    lines = [line for text in known for line in text.split("\n")]
    return {
        **row,
        "kind": kind,
        "ref_tag": tag,
        "datasets": [dataset] if dataset else row["datasets"],
        "text": terms.join([shown_name(row["name"], tag), *lines]),
        "card": None,
    }


def _add_cards(connection: sa.Connection, rows: Rows) -> None:
    cards = [{"item_id": row["id"], "text": row["card"]} for row in rows if row["card"]]
    insert_many(connection, schema.card, cards)


def _add_measures(connection: sa.Connection, rows: Rows) -> None:
    metrics = _of_manifests(connection, schema.metric, rows)
    evaluations = _of_manifests(connection, schema.evaluation, rows)
    benches = _of_manifests(connection, schema.bench, rows)
    measures = []
    for row in rows:
        own = {each.name: each.value for each in metrics[row["manifest"]]}
        stated = {name: own.pop(name) for name in row["stated"] or () if name in own}
        any_own = bool(own.keys() - {MACS})
        evaluated = _evaluated(evaluations[row["manifest"]], stated, any_own=any_own)
        benched = {each.name: each.value for each in benches[row["manifest"]]}
        values = {**(row["metrics"] or {}), **stated, **evaluated, **own, **benched}
        measures += [
            {"item_id": row["id"], "name": name, "value": value} for name, value in values.items()
        ]
    insert_many(connection, schema.measure, measures)


def _evaluated(evaluations: list[sa.Row[object]], stated: Columns, *, any_own: bool) -> Columns:
    """Figures of the newest evaluation on each data; in the place of those that are only ``stated``
    the newest that was measured; of a checkpoint without any own ones, all of the newest.
    """
    by_age = sorted(evaluations, key=lambda each: each.at)
    newest = {each.data: each.metrics for each in by_age}
    by_data = {
        f"{name}@{data}": value
        for data, metrics in newest.items()
        for name, value in metrics.items()
    }
    measured = {name: value for each in by_age for name, value in each.metrics.items()}
    instead = {name: measured[name] for name in stated if name in measured}
    newest_of_all = by_age[-1].metrics if by_age and not any_own else {}
    return {**instead, **newest_of_all, **by_data}


def _terms(connection: sa.Connection, rows: Rows) -> list[tuple[int, str]]:
    classes = _of_manifests(connection, schema.class_name, rows)
    terms_of_items = []
    for row in rows:
        named = row["kind"] != CATALOG
        values = [row[column] for column in WHOLE]
        values += [
            row["name"].partition("/")[0],
            *(row["datasets"] or ()),
            *(row["keywords"] or ()),
        ]
        if named:
            values += [
                row["ref_tag"] or DEFAULT_TAG,
                *(each.name for each in classes[row["manifest"]]),
            ]
        found_by = terms.terms_of(row["text"], values=values, card=row["card"], named=named)
        terms_of_items.append((row["id"], found_by))
    return terms_of_items


def _of_manifests(
    connection: sa.Connection, table: sa.Table, rows: Rows
) -> dict[str, list[sa.Row[object]]]:
    """What a table has of the checkpoints of some items."""
    of_manifest: defaultdict[str, list[sa.Row[object]]] = defaultdict(list)
    if manifests := {row["manifest"] for row in rows if row["manifest"]}:
        for each in connection.execute(sa.select(table).where(among(table.c.manifest, manifests))):
            of_manifest[each.manifest].append(each)
    return of_manifest
