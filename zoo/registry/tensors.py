"""Tensors: which checkpoints hold one, by the keys of `zoo.store.tensor_keys`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from zoo.domain.digest import Digest
from zoo.registry.schema import metadata
from zoo.registry.sql import Text, Whole, among, insert

__all__ = ["Holder", "fingerprint", "holders", "keep_keys", "tensor_key", "without_keys"]

# A checkpoint whose keys are known, how many there are, and whether those of samples are among
# them, which only who has its bytes can make. Its number keeps the other table small.
fingerprint = sa.Table(
    "fingerprint",
    metadata,
    sa.Column("id", Whole, primary_key=True),
    sa.Column(
        "manifest",
        Text,
        sa.ForeignKey("checkpoint.manifest", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    sa.Column("total", Whole, nullable=False),
    sa.Column("sampled", sa.Boolean, nullable=False),
)

tensor_key = sa.Table(
    "tensor_key",
    metadata,
    sa.Column("key", Whole, primary_key=True, autoincrement=False),
    sa.Column(
        "fingerprint_id",
        Whole,
        sa.ForeignKey("fingerprint.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Index(None, "fingerprint_id"),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A checkpoint that shares keys with what was asked for.

    Attributes:
        manifest: Its identity.
        shared: How many of its keys.
        total: How many it has.
    """

    manifest: Digest
    shared: int
    total: int


def keep_keys(
    connection: sa.Connection, digest: Digest, keys: Iterable[int], *, sampled: bool = True
) -> None:
    """Keep by which keys the tensors of an indexed checkpoint are found, beside those known.

    ``sampled`` says whether those are among them that need its bytes.
    """
    listed = sorted(set(keys))
    connection.execute(
        insert(connection, fingerprint).on_conflict_do_nothing(),
        {"manifest": str(digest), "total": 0, "sampled": False},
    )
    row = sa.select(fingerprint.c.id).where(fingerprint.c.manifest == str(digest))
    number = connection.scalar(row)
    if listed:
        connection.execute(
            insert(connection, tensor_key).on_conflict_do_nothing(),
            [{"key": key, "fingerprint_id": number} for key in listed],
        )
    total = (
        sa.select(sa.func.count()).where(tensor_key.c.fingerprint_id == number).scalar_subquery()
    )
    known = {"total": total, "sampled": fingerprint.c.sampled | sampled}
    connection.execute(fingerprint.update().where(fingerprint.c.id == number).values(known))


def holders(connection: sa.Connection, keys: Iterable[int], limit: int | None = 8) -> list[Holder]:
    """The checkpoints that share most of these keys, that most first; None: all that share any."""
    shared = sa.func.count().label("shared")
    statement = (
        sa.select(fingerprint.c.manifest, shared, fingerprint.c.total)
        .join(tensor_key, tensor_key.c.fingerprint_id == fingerprint.c.id)
        .where(among(tensor_key.c.key, set(keys)))
        .group_by(fingerprint.c.id)
        .order_by(shared.desc(), fingerprint.c.total, fingerprint.c.manifest)
        .limit(limit)
    )
    return [
        Holder(Digest.parse(row.manifest), row.shared, row.total)
        for row in connection.execute(statement)
    ]


def without_keys(connection: sa.Connection, digests: Iterable[Digest]) -> set[Digest]:
    """Those of ``digests`` whose keys of samples are not known."""
    asked = {str(digest): digest for digest in digests}
    column = fingerprint.c.manifest
    sampled = sa.select(column).where(among(column, asked), fingerprint.c.sampled)
    known = set(connection.scalars(sampled))
    return {digest for text, digest in asked.items() if text not in known}
