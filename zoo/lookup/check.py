"""Check a declared parent against bytes."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.adapter import is_factor
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.result import Result
from zoo.domain.words import up_to
from zoo.errors import MissingObject, Unsupported, ZooError
from zoo.lookup.compare import Comparison, Pair, compare
from zoo.lookup.units import HEAD
from zoo.store.tensor_keys import checkpoint_keys
from zoo.workspace import Workspace

__all__ = ["Check", "UnitCheck", "check_parent"]

STRANGERS = 0.2
"""Weights of a cosine below this are no more alike than those of two trainings from scratch."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UnitCheck(Result):
    """How many of a unit's tensors are identical to the parent's."""

    unit: str
    identical: int
    tensors: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Check(Result):
    """What the bytes say of a declared parent.

    Attributes:
        share: Share of the child's elements whose tensors are the parent's; None if unreadable.
        cosine: Likeness of the weights, where none is identical.
        units: Of each unit, how much is the parent's; an adapter aside.
        adapted: How many units have one.
        agrees: Whether the bytes are as declared.
        warning: Why not.
        resembles: In that case, the name of a checkpoint that shares tensors with the child.
    """

    share: float | None
    cosine: float | None
    units: tuple[UnitCheck, ...] = ()
    adapted: int = 0
    agrees: bool
    warning: str
    resembles: str | None = None


def check_parent(
    workspace: Workspace, digest: Digest, child: Manifest, parent: Digest
) -> Check | None:
    """What the bytes say of ``parent``; None if they are not here, or newer."""
    try:
        comparison = compare(workspace, workspace.store.manifest(parent), child)
        cosine = _cosine(workspace, comparison)
        warning = _thawed(workspace, comparison, child) or _strange(comparison, cosine)
    except (MissingObject, Unsupported):
        return None
    except (ZooError, OSError) as error:  # the rest of the lineage is worth reading all the same
        return Check(share=None, cosine=None, agrees=False, warning=str(error))
    return Check(
        share=comparison.share,
        cosine=cosine,
        units=tuple(
            UnitCheck(
                unit=unit.name,
                identical=unit.count("identical"),
                tensors=sum(pair.after is not None and not _added(pair) for pair in unit.pairs),
            )
            for unit in comparison.units
            if any(pair.after for pair in unit.pairs)
        ),
        adapted=sum(any(map(_added, unit.pairs)) for unit in comparison.units),
        agrees=not warning,
        warning=warning,
        resembles=_resembles(workspace, digest, child, parent) if warning else None,
    )


def _added(pair: Pair) -> bool:
    """Whether it is of an adapter that the parent has not."""
    return pair.status == "added" and is_factor(pair.name)


def _thawed(workspace: Workspace, comparison: Comparison, child: Manifest) -> str:
    """What is wrong with units that training is said to have left alone; empty if nothing is."""
    frozen = set(comparison.second.frozen(str((child.freeze or {}).get("boundary", ""))))
    changed = [
        unit.name
        for unit in comparison.units
        if unit.name in frozen and any(_moved(workspace, pair) for pair in unit.pairs)
    ]
    return f"declared frozen, but not the parent's: {up_to(changed, 3)}" if changed else ""


def _moved(workspace: Workspace, pair: Pair) -> bool:
    """Whether a tensor has other values, rather than other bytes for them or another shape."""
    if pair.status != "changed" or not pair.before or pair.before.shape != pair.one.shape:
        return False
    if pair.before.dtype == pair.one.dtype:
        return True
    from zoo.lookup.distance import distance

    return distance(workspace.store, [pair]).relative != 0  # half precision, as it is computed with


def _strange(comparison: Comparison, cosine: float | None) -> str:
    common = [
        p for p in comparison.pairs if p.before and p.after and p.before.shape == p.after.shape
    ]
    if not common:
        return "no tensor has the name and shape of one of the parent"
    if cosine is not None and cosine < STRANGERS:
        return f"no more similar to the parent than unrelated weights (cosine {cosine:.2f})"
    return ""


def _cosine(workspace: Workspace, comparison: Comparison) -> float | None:
    """How alike the backbones' matrices are; None where identical ones prove it already.

    Vectors are left out: those of norms are positive, so that strangers' are alike, too.
    """
    pairs = [
        pair
        for unit in comparison.units
        if unit.name != HEAD
        for pair in unit.pairs
        if pair.before and pair.after and len(pair.one.shape) > 1
    ]
    if not pairs or any(pair.status == "identical" for pair in pairs):
        return None
    from zoo.lookup.distance import distance

    return distance(workspace.store, pairs).cosine


def _resembles(workspace: Workspace, digest: Digest, child: Manifest, parent: Digest) -> str | None:
    """A checkpoint here that shares tensors with the child, and is neither it nor its parent; None
    if the child's own bytes cannot be read, which `zoo verify` tells.
    """
    registry = workspace.registry
    try:
        keys = checkpoint_keys(workspace.store, child)
    except (ZooError, OSError):
        return None
    for holder in registry.holders_of(keys):
        if holder.manifest not in (digest, parent) and holder.shared > 1:
            names = registry.refs_of(holder.manifest) or registry.remote_names(holder.manifest)
            return str(names[0] if names else holder.manifest)
    return None
