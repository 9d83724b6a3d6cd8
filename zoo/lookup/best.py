"""Best: the checkpoint with the best result on a dataset: that of its training, on its test images,
or what an evaluation found (`zoo.domain.evaluated`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.near import near_names
from zoo.domain.plain import Json
from zoo.domain.query import Filter, Query, Sort
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import UnknownName
from zoo.lookup.measured import MeasuredResult, differ, manifest_of, measured
from zoo.registry import SearchResult
from zoo.store.listing import read_one
from zoo.workspace import Workspace

__all__ = ["Best", "best"]

BESIDE = 20
"""So many of the next best are looked at, whether they were measured on the same images."""
MOST = 1000
"""Checkpoints whose data is looked at for near names."""
USUAL = ("accuracy", "top1")
"""What is ranked by where nothing is said: the first that anything has."""
LOWER = ("loss", "error", "mae", "mse", "rmse")
"""Last parts of names of metrics of which less is better."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Best(Result):
    """The best checkpoint by a metric.

    Attributes:
        found: The checkpoint; of several names here the one without a tag, then the oldest.
        metric: What it was ranked by.
        value: Its result.
        ties: Names of those of the next best that are as good, and another checkpoint; not of those
            that were measured on other images.
        of: How many have that metric.
        other_data: Names of those of the next best that were measured on other images, so that the
            numbers do not compare.
        pull: The command that brings it here; None if it is here.
        evaluation: What found the result, where that was not its own training.
        published: Who published or stated the result, where no zoo measured it; else empty.
        warning: What its training said against the result; else empty.
        only_stated: Names of those of the next best whose figure is better, and only stated: what
            was measured comes first.
        also: Its other names here.
        raw_losses: Names of those, it and the next best, whose loss an earlier version measured
            without their temperature (`zoo.domain.task.is_raw_loss`).
    """

    found: SearchResult
    metric: str
    value: float
    ties: tuple[str, ...]
    of: int
    other_data: tuple[str, ...]
    pull: str | None
    evaluation: Evaluated | None
    published: str
    warning: str
    only_stated: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    raw_losses: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """Plain data for JSON: that of the checkpoint, and the rest beside it."""
        data = Result.to_json(self)
        return {**data.pop("found"), **data}


def best(
    workspace: Workspace,
    text: str = "",
    *,
    metric: str | None = None,
    dataset: str | None = None,
    lowest: bool | None = None,
) -> Best:
    """The checkpoint that matches ``text``, and was trained or evaluated on ``dataset``, with the
    highest ``metric``; the lowest where ``lowest`` says so, or the metric's name does. What people
    only stated comes after all that was measured.

    Without a metric that is ``accuracy``; published ``top1`` where nothing that matches has one.

    Raises:
        UnknownName: Nothing that matches has that metric; known metrics are suggested.
        InvalidOption: ``text`` is no query.
    """
    for name in (metric,) if metric else USUAL:
        least = _is_lower(name) if lowest is None else lowest
        rows, ranked = _looked_at(workspace, text, name, dataset, least)
        if ranked:
            break
    else:
        known = sorted({name for row, _ in rows for name in row.metrics if "@" not in name})
        hint = _hint(known, any_found=bool(rows))
        if dataset and not rows and (near := _near_datasets(workspace, text, dataset)):
            hint = f"nothing matches; there is data called {', '.join(near)}"
        if dataset and not rows and not text:
            raise UnknownName("dataset", dataset, hint=hint)
        asked = _asked(metric or USUAL[0], dataset, text)
        raise UnknownName("result", asked, known[:8], hint)
    first, others = ranked[0], ranked[1:]
    refs = workspace.registry.refs_of(first.found.manifest) if first.found.manifest else ()
    return Best(
        found=first.found,
        metric=name,
        value=first.value,
        ties=tuple(each.found.name for each in others if _ties(first, each)),
        of=_count(workspace, text, name, dataset),
        other_data=tuple(each.found.name for each in others[: BESIDE - 1] if differ(first, each)),
        pull=_pull(first.found),
        evaluation=first.evaluation,
        published=_published(workspace, first, name),
        warning=first.warning,
        only_stated=tuple(
            each.found.name for each in others if each.stated and _worse(first, each, least)
        ),
        also=tuple(str(ref) for ref in refs if str(ref) != first.found.name),
        raw_losses=tuple(each.found.name for each in ranked[:BESIDE] if each.is_raw_loss(name)),
    )


def _worse(one: MeasuredResult, other: MeasuredResult, least: bool) -> bool:
    return one.value > other.value if least else one.value < other.value


def _ties(first: MeasuredResult, other: MeasuredResult) -> bool:
    """Whether another checkpoint is as good, as far as the numbers compare."""
    manifest = first.found.manifest
    same = (first.value, first.stated) == (other.value, other.stated)
    other_one = manifest is None or other.found.manifest != manifest
    return same and other_one and not differ(first, other)


def _looked_at(
    workspace: Workspace, text: str, metric: str, dataset: str | None, least: bool
) -> tuple[list[tuple[SearchResult, bool]], list[MeasuredResult]]:
    """The candidates and their results, the best first; so many that no tie is left out."""
    limit = BESIDE
    while True:
        rows = [*_candidates(workspace, text, metric, dataset, least, limit)]
        ranked = _ranked(workspace, rows, metric, dataset, least)
        if len(rows) < limit or not ranked:
            return rows, ranked
        if not ranked[0].stated and any(_worse(each, ranked[0], least) for each in ranked):
            return rows, ranked
        limit *= BESIDE


def _ranked(
    workspace: Workspace,
    rows: list[tuple[SearchResult, bool]],
    metric: str,
    dataset: str | None,
    least: bool,
) -> list[MeasuredResult]:
    """The results of candidates, the best first, and what is only stated last; of equal ones what
    is here, and no tag of it, and of names of one checkpoint the oldest.
    """
    figures: dict[tuple[str, Digest | None], MeasuredResult] = {}
    for row, trained in rows:
        if figure := measured(workspace, row, metric, dataset, trained=trained):
            figures.setdefault((row.name, row.manifest), figure)

    def rank(figure: MeasuredResult) -> tuple[bool, float, bool, bool]:
        value = figure.value if least else -figure.value
        return figure.stated, value, not figure.found.pulled, ":" in figure.found.name

    results = sorted(figures.values(), key=rank)
    if results and (digest := results[0].found.manifest) and results[0].found.pulled:
        same = [x for x in results if x.found.manifest == digest and rank(x) == rank(results[0])]
        oldest = min(same, key=lambda each: _given(workspace, each.found.name))
        results.insert(0, results.pop(results.index(oldest)))
    return results


def _given(workspace: Workspace, name: str) -> tuple[str, str]:
    """When a name was first given here, to sort by; what cannot be read comes last."""
    entries = read_one(workspace.store.history, Reference.parse(name))
    return (entries[0].at if isinstance(entries, tuple) and entries else "~"), name


def _published(workspace: Workspace, figure: MeasuredResult, metric: str) -> str:
    """Who published or stated a result, as its entry or the import of it says; empty if a zoo
    measured it.
    """
    manifest = None if figure.evaluation else manifest_of(workspace, figure.found.manifest)
    if manifest and metric in manifest.metrics and (origin := manifest.provenance.get("metrics")):
        _, colon, stated = origin.partition(": ")  # of what was stated later alone
        if not colon or metric in stated.split(", "):
            return f"{metric} {origin.partition(': ')[0]}"
    if figure.stated:
        return f"{metric} stated, not measured"
    known = workspace.registry.entry(figure.found.name.partition(":")[0])
    metrics = (known.entry.metrics if known else None) or {}
    if known is None or figure.evaluation or metrics.get(metric) != figure.value:
        return ""
    by = str((known.entry.facts or {}).get("results") or f"published by {known.sources[0]}")
    size = metrics.get(f"{metric}_size")
    return by if size is None else f"{by}; at {size:.0f} pixels"


def _candidates(
    workspace: Workspace, text: str, metric: str, dataset: str | None, least: bool, limit: int
) -> Iterator[tuple[SearchResult, bool]]:
    """The first of those that were trained on the data, and of those that were evaluated on it;
    with each, whether it is one of the former.
    """
    queries = [(_field(metric), dataset, True)]
    if dataset and "*" not in dataset:
        queries.append((_field(f"{metric}@{dataset}"), None, False))
    for field, trained_on, trained in queries:
        query = Query.parse(text, dataset=trained_on)
        query = Query(query.words, query.filters, sort=Sort(field, not least), limit=limit)
        for row in workspace.registry.search(query):
            if trained or f"{metric}@{dataset}" in row.metrics:
                yield row, trained


def _pull(row: SearchResult) -> str | None:
    """The command that brings it here, if it is not here."""
    if row.pulled:
        return None
    return f"zoo pull {row.name}" + (f" --from {row.remotes[0]}" if row.remotes else "")


def _is_lower(metric: str) -> bool:
    return metric.lower().replace("-", "_").rpartition("_")[2] in LOWER


def _field(metric: str) -> str:
    return metric if metric in ("accuracy", "loss") else f"metric.{metric}"


def _count(workspace: Workspace, text: str, metric: str, dataset: str | None) -> int:
    """How many checkpoints have the metric at all."""
    trained, every = Query.parse(text, dataset=dataset), Query.parse(text)
    own, evaluated = _field(metric), _field(f"{metric}@{dataset}")
    number = _having(workspace, trained, own)
    if dataset:  # those that were trained and evaluated on it count once
        number += _having(workspace, every, evaluated)
        number -= _having(workspace, trained, own, evaluated)
    return number


def _having(workspace: Workspace, asked: Query, *fields: str) -> int:
    """How many fit, and have all of these metrics: any number is one or the other."""
    sides = ((Filter(field, ">=", 0), Filter(field, "<", 0)) for field in fields)
    return sum(
        workspace.registry.count_checkpoints(Query(asked.words, (*asked.filters, *each)))
        for each in product(*sides)
    )


def _asked(metric: str, dataset: str | None, text: str) -> str:
    return " ".join(filter(None, [metric, dataset and f"on {dataset}", text]))


def _near_datasets(workspace: Workspace, text: str, dataset: str) -> list[str]:
    """Names of data, near ``dataset``, that something which matches was trained on."""
    rows = workspace.registry.search(Query.parse(text, limit=MOST))
    return near_names(dataset, {name for row in rows for name in row.datasets})


def _hint(known: list[str], *, any_found: bool) -> str:
    if known:
        return f"metrics of what matches: {', '.join(known)}"
    if any_found:
        return "what matches has no results: only what was trained here, or by your team, has"
    return "nothing matches; zoo search lists what there is"
