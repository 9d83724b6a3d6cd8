"""Measured: results of a search, and of which images each is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.manifest import Manifest
from zoo.domain.query import Query
from zoo.domain.reference import is_pattern
from zoo.domain.task import is_raw_loss
from zoo.errors import MissingObject, ZooError
from zoo.registry import SearchResult
from zoo.store.side_files import EVALUATIONS
from zoo.workspace import Workspace

__all__ = ["MeasuredResult", "differ", "manifest_of", "measured", "with_images"]

LOOKED_AT = 200
"""So many of a list are looked at: each is read."""


class MeasuredResult(NamedTuple):
    """A result, and of which images: digests of the data, its split and the images, if known;
    ``stated`` if nobody measured it.
    """

    found: SearchResult
    value: float
    evaluation: Evaluated | None = None
    data: str | None = None
    split: str | None = None
    images: str | None = None
    warning: str = ""
    stated: bool = False

    def is_raw_loss(self, metric: str) -> bool:
        """See `zoo.domain.task.is_raw_loss`."""
        return is_raw_loss(
            metric, self.evaluation.metrics if self.evaluation else self.found.metrics
        )


def measured(
    workspace: Workspace, row: SearchResult, metric: str, dataset: str | None, *, trained: bool
) -> MeasuredResult | None:
    """The result of a candidate on the data."""
    manifest = manifest_of(workspace, row.manifest)
    evaluations = EVALUATIONS.of(workspace.store.disk, row.manifest) if row.manifest else []
    stated = metric in (manifest.stated_metrics if manifest else row.stated)
    evaluated = evaluations and metric in evaluations[0].metrics
    own = trained and (manifest is None or manifest.metrics or not evaluated)
    if own and not stated:
        return _own(row, manifest, metric)
    # A search takes the newest evaluation for the result of what has none of its own.
    for each in evaluations[:1] if trained and not stated else evaluations:
        if metric in each.metrics and dataset in (None, each.data):
            parts = each.data_digest, each.split_digest or None
            return MeasuredResult(row, each.metrics[metric], each, *parts, each.images_digest)
    return _own(row, manifest, metric) if own else None


def _own(row: SearchResult, manifest: Manifest | None, metric: str) -> MeasuredResult | None:
    """The result of a checkpoint's training, or what was stated of it."""
    if metric not in row.metrics:
        return None
    if manifest is None or metric not in manifest.metrics:
        return MeasuredResult(row, row.metrics[metric], stated=metric in row.stated)
    known = manifest.provenance
    data, split, test = (known.get(f"{part}_digest") for part in ("data", "split", "test"))
    stated, warning = metric in manifest.stated_metrics, known.get("warning", "")
    return MeasuredResult(row, manifest.metrics[metric], None, data, split, test, warning, stated)


def manifest_of(workspace: Workspace, digest: Digest | None) -> Manifest | None:
    """What a checkpoint says of itself; None if it is not here."""
    if digest is None:
        return None
    try:
        return workspace.store.manifest(digest)
    except MissingObject:
        return None


def differ(one: MeasuredResult, other: MeasuredResult) -> bool:
    """Whether two results are known to be of other images."""
    if one.data is None or other.data is None:
        return False
    if one.data != other.data:
        return True
    if one.images and other.images:
        return one.images != other.images
    return bool(one.split and other.split and one.split != other.split)


def with_images(
    workspace: Workspace, query: Query, rows: Sequence[SearchResult]
) -> list[SearchResult]:
    """A list, with those told that have their accuracy on other images than most have, as far as
    that is known of the first `LOOKED_AT`: where it is of one name of data, which several data may
    have.
    """
    asked = [str(each.value) for each in query.filters if each.field == "dataset"]
    if len(asked) != 1 or is_pattern(asked[0]):
        return [*rows]
    known: list[MeasuredResult] = []
    for row in rows[:LOOKED_AT]:
        with suppress(ZooError):  # it is damaged, which `zoo verify` tells
            one = measured(workspace, row, "accuracy", None, trained=True) if row.pulled else None
            known += [one] if one else []
    if not known:
        return [*rows]
    usual = min(known, key=lambda one: sum(differ(one, each) for each in known))
    others = {each.found.manifest for each in known if differ(usual, each)}
    return [replace(row, other_images=row.manifest in others) for row in rows]
