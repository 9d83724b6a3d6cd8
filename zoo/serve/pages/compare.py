"""Compare: two to four checkpoints side by side, each with the first one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from markupsafe import Markup

from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.manifest import Manifest
from zoo.domain.matrix import Matrix
from zoo.domain.task import SCORE, is_count
from zoo.errors import UnknownName
from zoo.lookup.diff import Diff, UnitDiff, diff, flat
from zoo.lookup.side_by_side import Column, Compared, Figure, compare_named
from zoo.serve.http.answer import Answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.distances import Distances
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.asked import (
    RequestedCheckpoint,
    Wrong,
    asked_names,
    find_asked,
    offered_names,
    wrong_names,
)
from zoo.serve.pages.chart import Point, draw_intervals, draw_matrix
from zoo.serve.pages.kept_runs import drawable, matrix_of, runs_that_made
from zoo.serve.pages.known import KnownCheckpoint
from zoo.serve.pages.page import show, site_of
from zoo.serve.pages.verdict import Verdict, verdicts_of
from zoo.store.side_files import EVALUATIONS

__all__ = ["ComparePage", "compare_page", "look_compare"]

MOST = 4
LISTED = 8
"""Class names that are listed of many."""
PATIENCE = 0.05
"""Seconds that a page waits for how far units went, of all its checkpoints together."""
DATA = 4
"""So many data of evaluations are shown."""
UNITS = 400
"""So many units have a row."""
TYPED = 12
"""So many names the form keeps."""

_diffs: LruCache[tuple[Digest, Digest], Diff] = LruCache(64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A checkpoint that is compared; ``of``: as in `zoo.serve.pages.asked.RequestedCheckpoint`."""

    name: str
    of: str
    where: KnownCheckpoint
    digest: str
    architecture: str
    params: int | None
    bytes: int
    classes: int
    license: str
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What became of a unit of the first one: ``status`` as `zoo diff` says it; how far it moved,
    where that was measured.
    """

    status: str = ""
    distance: float | None = None
    cosine: float | None = None
    note: str = ""

    @property
    def far(self) -> float:
        """How far it moved, on a logarithmic scale: 0 is a ten-thousandth of it, 1 is ten times."""
        return min(1.0, max(0.0, (math.log10(self.distance) + 4) / 5)) if self.distance else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRow:
    """A unit, and what became of it in each of the others."""

    unit: str
    stage: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRow:
    """Something that is recorded of each and differs: what of, its name, and the values."""

    part: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A figure of each; None of one that has none."""

    name: str
    values: tuple[Figure | None, ...]

    @property
    def is_count(self) -> bool:
        """Whether it is a whole number of each."""
        return is_count(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassNames:
    """How the class names of another one differ from those of the first: how many each has, how
    many are new, gone and elsewhere, and some of those.
    """

    name: str
    before: int
    after: int
    new: int
    gone: int
    moved: int
    some_new: tuple[str, ...]
    some_gone: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedRow:
    """What the test images of one were taken for."""

    name: str
    matrix: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class OnData:
    """What evaluations on the same images found that these were taken for."""

    data: str
    split: str
    images: int
    matrices: tuple[ConfusedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """The page; without ``sides``, one on which to name some.

    Attributes:
        names: What was asked for.
        offered: Some names that whoever asks may read.
        wrong: Why they are not compared.
        sides: The checkpoints.
        shares: Of each of the others, which share of its weights are the first one's.
        units_known: Whether units are those of the networks, rather than read off names of tensors.
        measured: Whether it was measured how far they moved, as far as it can be.
        problem: Why it cannot.
        units: Unit by unit.
        more_units: Units that have no row.
        recorded: What is recorded and differs.
        classes: Where the class names differ.
        figures: All figures, the score first.
        verdicts: Whether they differ at all, as far as that is known here.
        remarks: What to know about the figures.
        matrices: Of those whose run is kept here.
        evaluated: Of those that were evaluated here.
    """

    names: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    sides: tuple[Side, ...] = ()
    shares: tuple[float, ...] = ()
    units_known: bool = True
    measured: bool = True
    problem: str = ""
    units: tuple[UnitRow, ...] = ()
    more_units: int = 0
    recorded: tuple[RecordedRow, ...] = ()
    classes: tuple[ClassNames, ...] = ()
    figures: tuple[Figures, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    remarks: tuple[str, ...] = ()
    matrices: tuple[ConfusedRow, ...] = ()
    evaluated: tuple[OnData, ...] = ()

    def instead(self, name: str, near: str) -> list[str]:
        """What was asked for, with a near name in the place of one that is wrong."""
        return [near if each == name else each for each in self.names]

    @property
    def same(self) -> tuple[str, ...]:
        """The names that are the very checkpoint of the first."""
        first = self.sides[0].digest
        return tuple(side.name for side in self.sides[1:] if side.digest == first)

    def scores(self) -> Markup:
        """The score of each with its interval, drawn; of those that compare with the first."""
        elsewhere = {each.name for each in self.verdicts if each.elsewhere}
        for row in self.figures:
            pairs = [*zip(self.sides, row.values, strict=True)]
            pairs = [(side, each) for side, each in pairs if side.name not in elsewhere]
            points = [
                (side.name, Point(0, each.value, each.low, each.high))
                for side, each in pairs
                if each
            ]
            if row.name in SCORE.values() and len(points) > 1:
                return draw_intervals(points, f"{row.name.replace('_', ' ')} with 95% intervals")
        return Markup()

    def matrix(self, one: ConfusedRow) -> Markup:
        """A matrix, drawn."""
        title = f"What {one.name} has taken images for"
        return draw_matrix(one.matrix.classes, one.matrix.counts, title)


def look_compare(ask: Ask) -> ComparePage:
    """The checkpoints that the query has as ``names``. Raises `Refused` if one is not there, or may
    not be read.
    """
    names, twice = asked_names(ask)
    if len(names) > MOST:
        raise Refused("BadRequest", f"at most {MOST} checkpoints are compared at a time")
    ones = [find_asked(ask, name) for name in names]
    if len(ones) < 2:
        wrong = tuple(Wrong(name=name, why="it is named twice: name another") for name in twice)
        return ComparePage(names=names, offered=tuple(offered_names(ask)), wrong=wrong)
    try:
        named = [(one.name, one.digest) for one in ones]
        comparison = compare_named(ask.hub.workspace, named, fold=False)
        diffs = [_diff(ask, ones[0], other) for other in ones[1:]]
    except UnknownName:
        raise Refused("Conflict", "a name was moved or deleted meanwhile: load it again") from None
    runs = runs_that_made(ask, [one.digest for one in ones])
    matrices = [(one, matrix_of(runs[one.digest])) for one in ones if one.digest in runs]
    # Last: what is read for it beside this page would keep the rest waiting.
    far = ask.hub.distances.of_each(((ones[0].digest, each.digest) for each in ones[1:]), PATIENCE)
    rows = [*_units(diffs, far)]
    return ComparePage(
        names=names,
        offered=tuple(offered_names(ask)),
        sides=tuple(map(_side, ones, comparison.columns)),
        shares=tuple(each.identical_share for each in diffs),
        units_known=all(each.units_known for each in diffs),
        measured=all(each.done.is_set() for each in far),
        problem="; ".join(dict.fromkeys(each.problem for each in far if each.problem)),
        units=tuple(rows[:UNITS]),
        more_units=max(0, len(rows) - UNITS),
        recorded=tuple(_recorded(ones, comparison)),
        classes=tuple(_classes(ones[1:], diffs)),
        figures=tuple(_figures(comparison)),
        verdicts=tuple(verdicts_of(ones, runs)),
        remarks=comparison.remarks,
        matrices=tuple(ConfusedRow(name=one.name, matrix=each) for one, each in matrices if each),
        evaluated=tuple(_evaluated(ask, ones)),
    )


def compare_page(ask: Ask) -> Answer:
    """The page for browsers; where names are wrong, the form with what was typed."""
    site = site_of(ask, ".json")
    try:
        return show(site, "compare.html", look_compare(ask))
    except Refused as refused:
        refusal, names, offered = refused.answer(), asked_names(ask)[0][:TYPED], offered_names(ask)
        if refusal.status == 401:  # to sign in may help
            raise
        wrong = tuple(wrong_names(ask, names[:MOST], offered))
        if len(names) > MOST or not wrong:
            wrong = (*wrong, Wrong(why=refused.message))
        page = ComparePage(names=names, offered=tuple(offered), wrong=wrong)
        answer = show(site, "compare.html", page, refusal.status)
        return replace(answer, headers={**refusal.headers, **answer.headers}, code=refusal.code)


def _evaluated(ask: Ask, ones: Sequence[RequestedCheckpoint]) -> Iterator[OnData]:
    """What was evaluated here, by the images; those first on which most were."""
    by_images: dict[tuple[str, str], list[tuple[RequestedCheckpoint, Evaluated]]] = {}
    for one in ones:
        for each in EVALUATIONS.of(ask.hub.workspace.store.disk, one.digest):
            by_images.setdefault((each.data_digest, each.images_digest), []).append((one, each))
    most = sorted(by_images.values(), key=lambda each: (-len(each), each[0][1].data))
    for group in most[:DATA]:
        matrices = tuple(
            ConfusedRow(name=one.name, matrix=matrix)
            for one, each in group
            if (matrix := drawable(each.matrix))
        )
        if matrices:
            first = group[0][1]
            yield OnData(data=first.data, split=first.split, images=first.images, matrices=matrices)


def _side(one: RequestedCheckpoint, column: Column) -> Side:
    manifest = one.manifest
    return Side(
        name=one.name,
        of=one.of,
        where=one.where,
        digest=str(one.digest),
        architecture=manifest.backbone.shown,
        params=column.params,
        bytes=manifest.logical_bytes,
        classes=len(manifest.classes),
        license=manifest.license or "",
        created=manifest.created or "",
    )


def _diff(ask: Ask, one: RequestedCheckpoint, other: RequestedCheckpoint) -> Diff:
    """What changes, but for how far."""
    pair = one.digest, other.digest
    return _diffs.get(pair) or _diffs.put(
        pair, diff(ask.hub.workspace, *map(str, pair), measure=False)
    )


def _units(diffs: Sequence[Diff], far: Sequence[Distances]) -> Iterator[UnitRow]:
    """All units in order: those of the first, and where only others have them, those."""
    named = [{unit.unit: unit for unit in difference.units} for difference in diffs]
    for name in dict.fromkeys(name for units in named for name in units):
        units = [
            (each.get(name), distances.units.get(name))
            for each, distances in zip(named, far, strict=True)
        ]
        stage = next((unit.stage for unit, _ in units if unit and unit.stage), "")
        cells = tuple(_cell(measured or unit) for unit, measured in units)
        yield UnitRow(unit=name, stage=stage, cells=cells)


def _cell(unit: UnitDiff | None) -> Cell:
    if unit is None:
        return Cell()
    return Cell(status=unit.status, distance=unit.distance, cosine=unit.cosine, note=unit.note)


def _recorded(ones: Sequence[RequestedCheckpoint], comparison: Compared) -> Iterator[RecordedRow]:
    """What is recorded and differs: options of recipes as `zoo compare` chooses them."""
    parts = [_parts(one.manifest) for one in ones]
    for part in parts[0]:
        for name in dict.fromkeys(name for each in parts for name in each[part]):
            values = tuple(_shown(each[part].get(name)) for each in parts)
            if len(set(values)) > 1:
                yield RecordedRow(part=part, name=name.replace("_", " "), values=values)
    for name in comparison.differs:
        recipes = [column.recipe or {} for column in comparison.columns]
        values = tuple(_shown(recipe.get(name)) for recipe in recipes)
        yield RecordedRow(part="recipe", name=name.replace("_", " "), values=values)


def _parts(manifest: Manifest) -> Mapping[str, Mapping[str, object]]:
    return {
        "network": flat({**asdict(manifest.backbone), "head": asdict(manifest.head)}),
        "preprocessing": asdict(manifest.preprocessing),
        "freezing": flat(manifest.freeze or {}),
        "license": {"license": manifest.license},
    }


def _shown(value: object) -> str:
    if value in (None, "", (), []):
        return "\N{EN DASH}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _classes(others: Iterable[RequestedCheckpoint], diffs: Iterable[Diff]) -> Iterator[ClassNames]:
    for one, difference in zip(others, diffs, strict=True):
        if changes := difference.classes:
            yield ClassNames(
                name=one.name,
                before=changes.before,
                after=changes.after,
                new=len(changes.added),
                gone=len(changes.removed),
                moved=changes.moved,
                some_new=changes.added[:LISTED],
                some_gone=changes.removed[:LISTED],
            )


def _figures(comparison: Compared) -> Iterator[Figures]:
    """The scores first; of what was found on other data, only these."""
    metrics = dict.fromkeys(name for column in comparison.columns for name in column.metrics)
    scores = {*SCORE.values()}
    kept = [name for name in metrics if "@" not in name or name.partition("@")[0] in scores]
    for name in sorted(kept, key=lambda name: name.partition("@")[0] not in scores):
        values = tuple(column.metrics.get(name) for column in comparison.columns)
        yield Figures(name=name.replace("@", " on "), values=values)
