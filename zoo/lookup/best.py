"""Best: the checkpoint with the best result on a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.query import Filter, Query
from zoo.domain.result import Result
from zoo.errors import MissingObject, UnknownName
from zoo.registry import Found
from zoo.workspace import Workspace

__all__ = ["Best", "best"]

BESIDE = 20
"""So many of the next best are looked at, whether they were measured on the same images."""
LOWER = ("loss", "error", "mae", "mse", "rmse")
"""Last parts of names of metrics of which less is better."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Best(Result):
    """The best checkpoint by a metric.

    Attributes:
        found: The checkpoint.
        metric: What it was ranked by.
        value: Its result.
        ties: Names of those of the next best that are as good.
        of: How many have that metric.
        other_data: Names of those of the next best that were measured on other images, so that the
            numbers do not compare.
        pull: The command that brings it here; None if it is here.
    """

    found: Found
    metric: str
    value: float
    ties: tuple[str, ...]
    of: int
    other_data: tuple[str, ...]
    pull: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON: that of the checkpoint, and the rest beside it."""
        data = Result.to_json(self)
        return {**data.pop("found"), **data}


def best(
    workspace: Workspace,
    text: str = "",
    *,
    metric: str = "accuracy",
    dataset: str | None = None,
    lowest: bool | None = None,
) -> Best:
    """The checkpoint that matches ``text`` and was trained on ``dataset``, with the
    highest ``metric``; the lowest where ``lowest`` says so, or the metric's name does.

    Raises:
        UnknownName: Nothing that matches has that metric; known metrics are suggested.
        InvalidOption: ``text`` is no query.
    """
    least = _is_lower(metric) if lowest is None else lowest
    field = metric if metric in ("accuracy", "loss") else f"metric.{metric}"
    sort = field if least else f"-{field}"
    query = Query.parse(text, dataset=dataset, sort=sort, limit=BESIDE)
    found = workspace.registry.search(query)
    ranked = [row for row in found if metric in row.metrics]
    if not ranked:
        known = sorted({name for row in found for name in row.metrics})
        raise UnknownName("result", _asked(metric, dataset, text), known[:8], _hint(found, known))
    first = ranked[0]
    return Best(
        found=first,
        metric=metric,
        value=first.metrics[metric],
        ties=tuple(r.name for r in ranked[1:] if r.metrics[metric] == first.metrics[metric]),
        of=_count(workspace, text, dataset, field),
        other_data=tuple(_other_data(workspace, first, ranked[1:])),
        pull=_pull(first),
    )


def _pull(found: Found) -> str | None:
    """The command that brings it here, if it is not here."""
    if found.pulled:
        return None
    return f"zoo pull {found.name}" + (f" --from {found.remotes[0]}" if found.remotes else "")


def _is_lower(metric: str) -> bool:
    return metric.lower().replace("-", "_").rpartition("_")[2] in LOWER


def _count(workspace: Workspace, text: str, dataset: str | None, field: str) -> int:
    """How many have the metric at all: any number is one or the other."""
    asked = Query.parse(text, dataset=dataset)
    sides = (Filter(field, ">=", 0), Filter(field, "<", 0))
    return sum(
        workspace.registry.count(Query(asked.words, (*asked.filters, side))) for side in sides
    )


def _asked(metric: str, dataset: str | None, text: str) -> str:
    return " ".join(filter(None, [metric, dataset and f"dataset:{dataset}", text]))


def _hint(found: list[Found], known: list[str]) -> str:
    if known:
        return f"metrics of what matches: {', '.join(known)}"
    if found:
        return "what matches has no results: only what was trained here, or by your team, has"
    return "nothing matches; zoo search lists what there is"


def _other_data(workspace: Workspace, first: Found, others: list[Found]) -> list[str]:
    mine = _data_of(workspace, first.manifest)
    if mine is None:
        return []
    return [
        row.name
        for row in others
        if (theirs := _data_of(workspace, row.manifest)) is not None and theirs != mine
    ]


def _data_of(workspace: Workspace, digest: Digest | None) -> tuple[str, str] | None:
    """Which images, split how; None where that is not recorded here."""
    if digest is None:
        return None
    try:
        provenance = workspace.store.manifest(digest).provenance
    except MissingObject:
        return None
    data, split = provenance.get("data_digest"), provenance.get("split_digest")
    return (data, split) if data and split else None
