"""Diff: what is different between two checkpoints, unit by unit and in all that is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.lookup.compare import UnitPairs, compare
from zoo.lookup.units import HEAD
from zoo.store import Store
from zoo.workspace import Workspace

__all__ = ["diff"]


def diff(workspace: Workspace, one: str, other: str) -> dict[str, Any]:
    """Plain data: what changes from the checkpoint ``one`` to the checkpoint ``other``.

    ``units`` has each unit's ``status`` (``identical``, ``changed``, ``added``, ``removed``), the
    numbers of its tensors by status, and for what changed its relative ``distance`` and
    ``cosine`` over the weights, statistics of normalisation left out. Of the rest, ``head``,
    ``classes``, ``preprocessing``, ``recipe``, ``metrics`` and ``license`` hold what differs, as
    ``[before, after]``; they are empty where nothing does.

    Raises:
        UnknownName: One of them is not here; near names are suggested.
        MissingObject: Bytes that are needed are not here.
        Corrupt: They are damaged.
    """
    (first, before), (second, after) = _resolved(workspace, one), _resolved(workspace, other)
    found = compare(workspace, before, after)
    return {
        "a": {"name": one, "manifest": str(first), "architecture": before.backbone.architecture},
        "b": {"name": other, "manifest": str(second), "architecture": after.backbone.architecture},
        "same": first == second,
        "identical_share": found.share,
        "units_known": found.known,
        "units": [_unit(workspace.store, unit) for unit in found.units],
        "head": _changes(asdict(before.head), asdict(after.head)),
        "classes": _classes(before.classes, after.classes),
        "preprocessing": _changes(asdict(before.preprocessing), asdict(after.preprocessing)),
        "backbone": _changes(_flat(asdict(before.backbone)), _flat(asdict(after.backbone))),
        "recipe": _changes(_flat(before.recipe or {}), _flat(after.recipe or {})),
        "freeze": _changes(_flat(before.freeze or {}), _flat(after.freeze or {})),
        "metrics": _changes(before.metrics, after.metrics),
        "license": _changes({"license": before.license}, {"license": after.license}),
    }


def _resolved(workspace: Workspace, name: str) -> tuple[Digest, Manifest]:
    _, digest = workspace.resolve(name)
    return digest, workspace.store.manifest(digest)


def _unit(store: Store, unit: UnitPairs) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "unit": unit.name,
        "stage": "" if unit.name == HEAD else unit.stage,
        "status": unit.status,
        "tensors": len(unit.pairs),
        **{status: unit.count(status) for status in ("identical", "changed", "added", "removed")},
        "distance": None,
        "cosine": None,
        "note": "",
    }
    if unit.count("changed"):
        from zoo.lookup.distance import distance

        learned = [pair for pair in unit.pairs if pair.learned]
        measured = distance(store, learned)
        shown |= {"distance": measured.relative, "cosine": measured.cosine, "note": _note(unit)}
    return shown


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
    return "" if any(pair.learned for pair in changed) else "only statistics of normalisation"


def _ends(tensor: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = tensor.shape
    return shape


def _shape(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _classes(before: tuple[str, ...], after: tuple[str, ...]) -> dict[str, Any]:
    """What became of the class names; empty where they are the same in the same order."""
    if before == after:
        return {}
    old, new = set(before), set(after)
    place = {name: index for index, name in enumerate(before)}
    return {
        "before": len(before),
        "after": len(after),
        "added": [name for name in after if name not in old],
        "removed": [name for name in before if name not in new],
        "moved": sum(place.get(name, index) != index for index, name in enumerate(after)),
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values that differ, as ``[before, after]``; None where one has none."""
    return {
        key: [before.get(key), after.get(key)]
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under ``outer.inner``."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
