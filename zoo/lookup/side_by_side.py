"""Side by side: checkpoints, or runs, by what differs in their recipes, and by their figures.

Those that differ in nothing but their seed are one column, with the mean of their figures and the
standard deviation over the seeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.manifest import FOUND, Manifest
from zoo.domain.plain import Json
from zoo.domain.recipe import BEFORE, DEFAULTS, IDLE, data_name
from zoo.domain.result import Result
from zoo.domain.table import as_html
from zoo.domain.task import SCORE, is_count, task_of
from zoo.errors import InvalidOption, ZooError
from zoo.lookup.reported import find_any
from zoo.lookup.runs import CANDIDATES, Run
from zoo.store.side_files import EVALUATIONS
from zoo.workspace import Workspace

__all__ = ["Column", "Compared", "Figure", "compare_checkpoints", "compare_named", "compare_runs"]

ENDS = ("_low", "_high")
STATISTICS = "running_mean"
"""What the name of a tensor ends with that every batch norm has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure: of one checkpoint with its interval, or of several seeds with its spread.

    Attributes:
        value: The figure, or the mean of several.
        low: Lower end of its 95% interval; None where it is not known, or there are several.
        high: The upper one.
        std: The standard deviation over the seeds (with n - 1); None of one.
        seeds: Of how many it is.
        stated: Whether nobody measured it: people stated it.
        elsewhere: Whether it was not measured here, but came with a file or a publisher.
    """

    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    seeds: int = 1
    stated: bool = False
    elsewhere: bool = False

    @property
    def remark(self) -> str:
        """Whose figure it is, if no zoo measured it; else empty."""
        return " (stated)" if self.stated else " (not measured here)" * self.elsewhere

    def __str__(self) -> str:
        if self.std is not None:
            return f"{self.value:.4f} ± {self.std:.4f}"
        interval = self.low is not None and self.high is not None
        more = f" ({self.low:.4f} to {self.high:.4f})" if interval else ""
        return f"{self.value:.4f}{more}{self.remark}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Column(Result):
    """A checkpoint, or a run; or several that differ in their seed only.

    Attributes:
        name: Its name; of several, the first.
        names: Those of all.
        seeds: Of each, its seed; nothing where there is no recipe.
        manifests: The checkpoints; nothing of a run that has none.
        status: Of a run, how it ended; of a checkpoint, nothing.
        error: Why a run failed.
        reached: Of a run that is not done, the last that it measured: ``epoch 3``.
        architecture: The network; of a run without a checkpoint, nothing.
        params: Its parameters.
        bytes: Size of its files.
        save: What a run was to be saved under.
        lineage: What it derives from, the nearest first.
        found: Those of these that nobody has declared: what derives from them was found to.
        recipe: The options; None if it was not trained here.
        metrics: Figures by name; ``accuracy@garden`` is what `zoo evaluate` found on that data.
    """

    name: str
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    manifests: tuple[Digest, ...]
    status: str = ""
    error: str = ""
    reached: str = ""
    architecture: str = ""
    params: int | None = None
    bytes: int | None = None
    save: str = ""
    lineage: tuple[str, ...]
    found: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None
    metrics: Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Compared(Result):
    """Checkpoints or runs side by side.

    Attributes:
        columns: Each one, or several that differ in their seed only.
        differs: The options of recipes in which they differ, in the order of recipes.
        remarks: What to know about the figures.
    """

    columns: tuple[Column, ...]
    differs: tuple[str, ...]
    remarks: tuple[str, ...]

    def _repr_html_(self) -> str:
        recipes = [column.recipe or {} for column in self.columns]
        metrics = dict.fromkeys(name for column in self.columns for name in column.metrics)
        rows = [[name, *(str(each.get(name, "")) for each in recipes)] for name in self.differs]
        rows += [
            [name, *(str(column.metrics.get(name, "")) for column in self.columns)]
            for name in metrics
        ]
        return as_html(["", *(column.name for column in self.columns)], rows)


class _One(NamedTuple):
    """One of them, and what decides whether it compares with others."""

    column: Column
    task: str  # what its outputs mean; empty where there are none
    warning: str  # why its result is no better than no training
    parent: str
    data: str  # digests of the data and of its split; empty where they are unknown
    split: str
    test: str  # digest of the images it was tested on; empty of older records


def compare_checkpoints(workspace: Workspace, names: Sequence[str], *, fold: bool) -> Compared:
    """Checkpoints side by side.

    Raises:
        UnknownName: One of them is not here; near names are suggested.
        InvalidOption: None is named.
    """
    targets = [workspace.names.resolve(name) for name in names]
    named = [(str(ref or digest.short), digest) for ref, digest in targets]
    return compare_named(workspace, named, fold=fold)


def compare_named(
    workspace: Workspace, ones: Sequence[tuple[str, Digest]], *, fold: bool
) -> Compared:
    """Checkpoints side by side, each with what it is called.

    Raises:
        MissingObject: One of them is not here.
        InvalidOption: There is none.
    """
    return _compared([_checkpoint(workspace, *one) for one in ones], fold=fold)


def compare_runs(workspace: Workspace, names: Sequence[str], *, fold: bool) -> Compared:
    """Runs side by side, whether or not they finished.

    Raises:
        UnknownName: No run begins so, or several do.
        InvalidOption: None is named.
    """
    return _compared([_run(workspace, find_any(workspace, name)) for name in names], fold=fold)


def _checkpoint(workspace: Workspace, name: str, digest: Digest) -> _One:
    manifest = workspace.store.manifest(digest)
    # What was made of fine-tunes has their task alone.
    own = manifest.recipe if manifest.recipe and "data" in manifest.recipe else None
    recipe = None if own is None else _options(own, manifest)
    metrics = dict(manifest.metrics)
    for each in reversed(EVALUATIONS.of(workspace.store.disk, digest)):  # the newest last
        metrics |= {f"{key}@{each.data}": value for key, value in each.metrics.items()}
    line = [(each.ref or each.manifest.short, each.relation) for _, each in manifest.lineage()]
    column = Column(
        name=name,
        names=(name,),
        seeds=_seeds(recipe),
        manifests=(digest,),
        architecture=manifest.backbone.shown,
        params=(workspace.registry.summary(digest) or {}).get("params"),
        bytes=manifest.logical_bytes,
        lineage=tuple(dict.fromkeys(name for name, _ in line)),
        found=tuple(dict.fromkeys(name for name, relation in line if relation == FOUND)),
        recipe=recipe,
        metrics=_figures(metrics, manifest),
    )
    parents = ",".join(str(parent.manifest) for parent in manifest.parents)
    known = manifest.provenance
    task = task_of(manifest) if manifest.head.num_classes else ""
    return _One(column, task, known.get("warning", ""), parents, *_digests(known))


def _run(workspace: Workspace, run: Run) -> _One:
    base: Manifest | None = None
    with suppress(ZooError, OSError):  # it may not be here any more
        base = workspace.store.manifest(Digest.parse(run.parent))
    recipe, done = _options(run.recipe, base), run.result.get("manifest")
    metrics = dict(run.result.get("metrics", {}))
    if chosen := run.validated():
        metrics[f"validation_{SCORE[recipe['task']]}"] = chosen[0]
    last: Mapping[str, Any] = {}
    if run.status != "done":
        last = next((line for line in [*run.lines()][::-1] if line.get("kind") in CANDIDATES), {})
    column = Column(
        name=run.id,
        names=(run.id,),
        seeds=_seeds(recipe),
        manifests=(Digest.parse(done),) if done else (),
        status=run.status,
        error=run.error,
        reached=str(last.get("name", last.get("kind", ""))),
        save=run.save,
        lineage=(run.base,),
        recipe=recipe,
        metrics=_figures(metrics),
    )
    warning = str(run.result.get("warning", ""))
    return _One(column, str(recipe["task"]), warning, run.parent, *_digests(run.provenance))


def _digests(provenance: Mapping[str, str]) -> Iterator[str]:
    return (provenance.get(f"{part}_digest", "") for part in ("data", "split", "test"))


def _options(recorded: Mapping[str, object], network: Manifest | None) -> Json:
    """A recipe as this version understands it, without the folders that its data lies in, and
    None for what its strategy does not use, or the ``network`` does not have.
    """
    recipe = {**DEFAULTS, **BEFORE, **recorded}
    idle = dict.fromkeys(IDLE.get(str(recipe["strategy"]), "").split())
    if network and not any(each.name.endswith(STATISTICS) for each in network.tensors):
        idle["batch_norm"] = None
    return {**recipe, **idle, "data": data_name(str(recipe.get("data", "")))}


def _seeds(recipe: Mapping[str, object] | None) -> tuple[int, ...]:
    seed = None if recipe is None else recipe["seed"]
    return (seed,) if isinstance(seed, int) else ()  # anybody may have written it


def _figures(metrics: Mapping[str, float], of: Manifest | None = None) -> dict[str, Figure]:
    stated = of.stated_metrics if of else ()
    # A training has a time. What has none was imported or pulled, with what its file says of it.
    own = of.metrics if of and of.created is None else {}
    figures = {}
    for name, value in metrics.items():
        kind, at, data = name.partition("@")
        if not (kind.endswith(ENDS) and kind.rpartition("_")[0] + at + data in metrics):
            low, high = (metrics.get(kind + end + at + data) for end in ENDS)
            other = name in own and not is_count(name)
            is_stated = name in stated
            figures[name] = Figure(
                value=value, low=low, high=high, stated=is_stated, elsewhere=other
            )
    return figures


def _compared(ones: Sequence[_One], *, fold: bool) -> Compared:
    if not ones:
        raise InvalidOption("nothing is named that could be compared")
    groups = _groups(ones) if fold else [[one] for one in ones]
    columns = [_folded([one.column for one in group]) for group in groups]
    digests = [sorted({one.data for one in group}) for group in groups]
    _tell_data_apart(columns, digests)
    return Compared(
        columns=tuple(columns), differs=_differs(columns), remarks=tuple(_remarks(groups, columns))
    )


def _groups(ones: Iterable[_One]) -> list[list[_One]]:
    """Those that differ in their seed only, together."""
    groups: list[list[_One]] = []
    keys: list[object] = []
    for number, one in enumerate(ones):
        column = one.column
        alone = column.recipe is None or column.status not in ("", "done")
        options = {**(column.recipe or {}), "seed": 0}
        same = json.dumps(options, sort_keys=True, default=list), one.parent, one.data
        key: object = number if alone else same
        for group, other in zip(groups, keys, strict=True):
            if key == other and not any(column.seeds == each.column.seeds for each in group):
                group.append(one)
                break
        else:
            groups.append([one])
            keys.append(key)
    return groups


def _folded(columns: Sequence[Column]) -> Column:
    first = columns[0]
    if len(columns) == 1:
        return first
    metrics = {
        name: _over_seeds([column.metrics[name].value for column in columns])
        for name in first.metrics
        if all(name in column.metrics for column in columns)
    }
    return replace(
        first,
        names=tuple(column.name for column in columns),
        seeds=tuple(seed for column in columns for seed in column.seeds),
        manifests=tuple(digest for column in columns for digest in column.manifests),
        metrics=metrics,
    )


def _over_seeds(values: Sequence[float]) -> Figure:
    return Figure(value=fmean(values), std=stdev(values), seeds=len(values))


def _tell_data_apart(columns: list[Column], digests: Sequence[Sequence[str]]) -> None:
    """Where data of one name is not the same, the name gets the beginning of its digest."""
    known: dict[str, set[str]] = {}
    for column, each in zip(columns, digests, strict=True):
        if column.recipe:
            known.setdefault(column.recipe["data"], set()).update(each)
    for at, (column, each) in enumerate(zip(columns, digests, strict=True)):
        if column.recipe and len(known[column.recipe["data"]]) > 1 and each[0]:
            name = f"{column.recipe['data']} ({each[0].rpartition(':')[2][:12]})"
            columns[at] = replace(column, recipe={**column.recipe, "data": name})


def _differs(columns: Sequence[Column]) -> tuple[str, ...]:
    """The options in which recipes differ. A seed among several does not count, nor does a default
    that some do not use at all.
    """
    recipes = [column.recipe for column in columns if column.recipe is not None]
    usual = {**DEFAULTS, **BEFORE}
    several = any(len(column.seeds) > 1 for column in columns)
    names = []
    for name in dict.fromkeys(name for recipe in recipes for name in recipe):
        used = [recipe[name] for recipe in recipes if recipe.get(name) is not None]
        values = {json.dumps(value, default=list) for value in used}
        some = len(used) < len(recipes) and values != {json.dumps(usual.get(name), default=list)}
        if (len(values) > 1 or (used and some)) and not (several and name == "seed"):
            names.append(name)
    return tuple(names)


def _remarks(groups: Sequence[Sequence[_One]], columns: Sequence[Column]) -> Iterable[str]:
    tasks: defaultdict[str, list[str]] = defaultdict(list)
    for group, column in zip(groups, columns, strict=True):
        tasks[group[0].task].append(column.name)
    if len(tasks.keys() - {""}) > 1:
        told = (f"{task} ({', '.join(names)})" for task, names in tasks.items() if task)
        yield f"outputs do not mean the same: {', '.join(told)}"
    measured = [[one for one in group if one.data] for group in groups]
    # The split tells what was tested where its own digest is not known of all; it tells more.
    known = all(one.test for group in measured for one in group)
    images = [{(one.data, one.test if known else one.split) for one in group} for group in measured]
    others = [
        column.name
        for column, each in zip(columns, images, strict=True)
        if each and images[0] and each != images[0]
    ]
    if others:
        yield (
            f"{', '.join(others)}: tested on other images than {columns[0].name}, so the figures "
            "do not compare; zoo evaluate A DATA --against B measures both on the same"
        )
    if any(len(each) > 1 for each in images):
        yield "each seed has test images of its own: the spread is that of their draw, too"
    by_text: defaultdict[str, list[str]] = defaultdict(list)
    for one in (one for group in groups for one in group):
        for text in filter(None, (one.warning, one.column.error)):
            by_text[text].append(one.column.name)
    yield from (f"{', '.join(names)}: {text}" for text, names in by_text.items())
