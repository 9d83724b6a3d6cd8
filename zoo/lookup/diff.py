"""Diff: what is different between two checkpoints, unit by unit and in all that is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from zoo.domain.adapter import is_factor
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.plain import Json
from zoo.domain.recipe import IDLE
from zoo.domain.result import Result
from zoo.domain.words import plural
from zoo.lookup.compare import Status, UnitPairs, compare
from zoo.lookup.units import HEAD
from zoo.store import Store
from zoo.workspace import Workspace

__all__ = ["ClassChanges", "Diff", "Side", "UnitDiff", "diff", "flat", "measured", "unit_diff"]

Changes = Mapping[str, tuple[object, object]]
"""Values that differ, by name: before and after; None where one has none."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Side(Result):
    """One of two checkpoints: the name that was given, and what it is."""

    name: str
    manifest: Digest
    architecture: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UnitDiff(Result):
    """What became of a unit.

    Attributes:
        unit: Its name.
        stage: Its stage; empty for the head.
        status: Of all its tensors; ``changed`` where they differ in it.
        tensors: Number of them, and so on by status.
        distance: Of what changed: length of the change as a share of the first one's weights,
            statistics of normalization left out.
        cosine: Of the angle between both.
        note: What the numbers do not tell.
    """

    unit: str
    stage: str
    status: Status
    tensors: int
    identical: int
    changed: int
    added: int
    removed: int
    distance: float | None = None
    cosine: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ClassChanges(Result):
    """What became of the class names: how many there are, which, and how many moved."""

    before: int
    after: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diff(Result):
    """What changes from one checkpoint to another. Of what is recorded, only what differs is held.

    Attributes:
        a: The first one.
        b: The second one.
        same: Whether both are one.
        identical_share: Share of the second one's weights that are the first one's.
        units_known: Whether units are those of the networks, rather than read off names of tensors.
        units: Unit by unit.
        head: Of what is recorded of the head; and so on.
        classes: What became of the class names; None where they are the same in the same order.
    """

    a: Side
    b: Side
    same: bool
    identical_share: float
    units_known: bool
    units: tuple[UnitDiff, ...]
    head: Changes
    classes: ClassChanges | None
    preprocessing: Changes
    backbone: Changes
    recipe: Changes
    freeze: Changes
    metrics: Changes
    license: Changes

    def __repr__(self) -> str:
        units = Counter(unit.status for unit in self.units)
        counted = ", ".join(f"{count} {status}" for status, count in units.items())
        share = f"identical_share={self.identical_share:.4g}"
        return f"Diff(a={self.a.name}, b={self.b.name}, {share}, units={counted or 'none'})"

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        return {**data, "classes": data["classes"] or {}}


def diff(workspace: Workspace, one: str, other: str, *, measure: bool = True) -> Diff:
    """What changes from the checkpoint ``one`` to the checkpoint ``other``; unless ``measure``, not
    how far: for that, all bytes of what changed are read.

    Raises:
        UnknownName: One of them is not here; near names are suggested.
        MissingObject: Bytes that are needed are not here.
        Corrupt: They are damaged.
    """
    (first, before), (second, after) = _resolved(workspace, one), _resolved(workspace, other)
    comparison = compare(workspace, before, after)
    return Diff(
        a=Side(name=one, manifest=first, architecture=before.backbone.architecture),
        b=Side(name=other, manifest=second, architecture=after.backbone.architecture),
        same=first == second,
        identical_share=comparison.share,
        units_known=comparison.known,
        units=tuple(
            measured(workspace.store, unit) if measure else unit_diff(unit)
            for unit in comparison.units
        ),
        head=_changes(asdict(before.head), asdict(after.head)),
        classes=_classes(before.classes, after.classes),
        preprocessing=_changes(asdict(before.preprocessing), asdict(after.preprocessing)),
        backbone=_changes(flat(asdict(before.backbone)), flat(asdict(after.backbone))),
        recipe=_changes(_used(before), _used(after)),
        freeze=_changes(flat(before.freeze or {}), flat(after.freeze or {})),
        metrics=_changes(before.metrics, after.metrics),
        license=_changes({"license": before.license}, {"license": after.license}),
    )


def _resolved(workspace: Workspace, name: str) -> tuple[Digest, Manifest]:
    _, digest = workspace.names.resolve(name)
    return digest, workspace.store.manifest(digest)


def _used(manifest: Manifest) -> Json:
    """The options of a recipe, but for those that its strategy does not use."""
    recipe = flat(manifest.recipe or {})
    idle = IDLE.get(str(recipe.get("strategy", "")), "").split()
    return {name: value for name, value in recipe.items() if name not in idle}


def unit_diff(unit: UnitPairs) -> UnitDiff:
    """What became of a unit, as far as it is told without reading its bytes."""
    return UnitDiff(
        unit=unit.name,
        stage="" if unit.name == HEAD else unit.stage,
        status=unit.status,
        tensors=len(unit.pairs),
        identical=unit.count("identical"),
        changed=unit.count("changed"),
        added=unit.count("added"),
        removed=unit.count("removed"),
        note=_adapter(unit),
    )


def _adapter(unit: UnitPairs) -> str:
    """Where an adapter is all that came."""
    there = {pair.name.rpartition(".")[0] for pair in unit.pairs if is_factor(pair.name)}
    rest = {pair.status for pair in unit.pairs if not is_factor(pair.name)}
    return f"an adapter on {plural(len(there), 'layer')}" if there and rest == {"identical"} else ""


def measured(store: Store, unit: UnitPairs) -> UnitDiff:
    """The same with how far it is from what it was.

    Raises:
        MissingObject: Bytes that are needed are not here.
        Corrupt: They are damaged.
    """
    shown = unit_diff(unit)
    if not shown.changed:
        return shown
    from zoo.lookup.distance import distance

    far = distance(store, [pair for pair in unit.pairs if pair.learned])
    return replace(shown, distance=far.relative, cosine=far.cosine, note=_note(unit))


def _note(unit: UnitPairs) -> str:
    """What the numbers do not tell."""
    changed = [pair for pair in unit.pairs if pair.status == "changed"]
    reshaped = [pair for pair in changed if _ends(pair.before) != _ends(pair.after)]
    if reshaped:
        pair = max(reshaped, key=lambda pair: pair.elements)
        more = f" and {len(reshaped) - 1} more" if len(reshaped) > 1 else ""
        return f"{_shape(pair.before)} to {_shape(pair.after)}{more}"
    casts = {
        f"{pair.before.dtype} to {pair.after.dtype}"
        for pair in changed
        if pair.before and pair.after and pair.before.dtype != pair.after.dtype
    }
    if casts:
        return ", ".join(sorted(casts))
    return "" if any(pair.learned for pair in changed) else "only statistics of normalization"


def _ends(tensor: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = tensor.shape
    return shape


def _shape(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _classes(before: tuple[str, ...], after: tuple[str, ...]) -> ClassChanges | None:
    if before == after:
        return None
    old, new = set(before), set(after)
    place = {name: index for index, name in enumerate(before)}
    return ClassChanges(
        before=len(before),
        after=len(after),
        added=tuple(name for name in after if name not in old),
        removed=tuple(name for name in before if name not in new),
        moved=sum(place.get(name, index) != index for index, name in enumerate(after)),
    )


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> Changes:
    return {
        key: (before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }


def flat(data: Mapping[str, object], prefix: str = "") -> Json:
    """Nested options under ``outer.inner``."""
    options: Json = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            options |= flat(value, f"{prefix}{key}.")
        else:
            options[f"{prefix}{key}"] = value
    return options
