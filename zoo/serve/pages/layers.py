"""Layers: the units of a checkpoint, what each has, and how far it is from its parent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from zoo.domain.digest import Digest
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.manifest import Manifest, Tensor
from zoo.domain.words import plural, shortened
from zoo.lookup.compare import STATISTICS, place
from zoo.lookup.diff import UnitDiff
from zoo.lookup.units import HEAD, Units, in_order, traced_network, units_of
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import Other, VisibleNames
from zoo.serve.pages.chosen import ShownVersion, pick
from zoo.serve.pages.sharing import Share, shares, tensors_by_unit
from zoo.serve.pages.svg import Cell, level_of, strip

__all__ = ["LayersPage", "TensorRow", "UnitRow", "look_layers"]

UNITS, TENSORS, OF_UNIT, LETTERS = 300, 400, 2000, 120
"""So many units are listed; the tensors of all of them, if they are not more, else those of one
that is asked for; names have so many letters.
"""
PATIENCE = 0.1
"""Seconds that the page waits until distances are worked out, as those of small networks are."""
WORDS = {"identical": "same", "changed": "changed", "added": "new", "removed": "gone", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """A tensor: what it is called within its unit, and what it is."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRow:
    """A unit.

    Attributes:
        name: Its name.
        stage: Its stage; empty of the head, and where that is unknown.
        params: Number of learned elements.
        bytes: Of its tensors.
        count: How many tensors it has.
        output: Shape of what leaves it, for one image; None where unknown.
        macs: Multiply-accumulates of one image; None where unknown.
        cut: Whether the network can be cut before it; None where unknown.
        trained: Whether the training that made the checkpoint changed it; None where unknown.
        change: What became of it since the parent: ``same``, ``changed``, ``new``; empty if there
            is no parent to compare with.
        distance: Of what changed: length of the change as a share of the parent's weights.
        note: What the numbers do not tell.
        of: The number in `LayersPage.shares` of the first whose it is, byte for byte.
        tensors: Them, unless they are too many.
    """

    name: str
    stage: str
    params: int
    bytes: int
    count: int
    output: tuple[int, ...] | None
    macs: int | None
    cut: bool | None
    trained: bool | None
    change: str
    distance: float | None
    note: str
    of: int | None
    tensors: tuple[TensorRow, ...]

    @property
    def far(self) -> str:
        """How far it is from the parent, in words."""
        if self.change != "changed":
            return {"same": "same, byte for byte", "new": "not in the parent"}.get(self.change, "")
        return "changed" if self.distance is None else f"{self.distance:.2g} apart"

    @property
    def kind(self) -> str:
        """The class of its color."""
        if self.change == "changed" and self.distance is not None:
            return f"far-{level_of(self.distance)}"
        return self.change or "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersPage:
    """The layers of a checkpoint; of a version that has none, nothing but which it is.

    Attributes:
        chosen: Which.
        architecture: What it is built by.
        known: Whether units are those of the network, rather than read off names of tensors.
        params: Number of learned elements.
        bytes: Of all tensors.
        macs: Of one image, as published; None where unknown.
        dtypes: Elements by their type.
        outputs_for: The input that output shapes are for; empty where unknown.
        parent: What it was made from; None if it was made from nothing.
        measuring: Whether distances are still being worked out.
        problem: Why some are not known.
        units: Them, from the input to the output; the head last.
        more: How many further ones there are.
        folded: Whether tensors of a single unit are listed only, as there are too many.
        shares: Who else has what.
    """

    chosen: ShownVersion
    architecture: str = ""
    known: bool = False
    params: int = 0
    bytes: int = 0
    macs: float | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    outputs_for: str = ""
    parent: Other | None = None
    measuring: bool = False
    problem: str = ""
    units: tuple[UnitRow, ...] = ()
    more: int = 0
    folded: bool = False
    shares: tuple[Share, ...] = ()

    def far(self, unit: UnitRow) -> str:
        """How far a unit is from the parent, in words; that it is measured while it is."""
        unmeasured = unit.change == "changed" and unit.distance is None
        return "being measured" if self.measuring and unmeasured else unit.far

    @property
    def drawn(self) -> Markup:
        """How far each unit is from the parent, in a row."""
        cells = [
            Cell(
                title=f"{unit.name}: {self.far(unit) or plural(unit.params, 'parameter')}"
                + (", frozen" if unit.trained is False else ""),
                kind=unit.kind,
                mark=unit.trained is False,
                link=f"#unit-{number}",
            )
            for number, unit in enumerate(self.units)
        ]
        return strip(cells, f"Units of {self.architecture}, from the input to the output")


def look_layers(ask: Ask) -> LayersPage:
    """The layers of a checkpoint; with ``?unit=`` the tensors of that one are listed, however many
    there are. Raises as `pick`.
    """
    picked = pick(ask)
    manifest, digest = picked.manifest, picked.checkpoint
    if manifest is None or digest is None:
        return LayersPage(chosen=picked.chosen)
    workspace, seen = ask.hub.workspace, VisibleNames(ask)
    units = units_of(workspace, manifest)
    by_unit = tensors_by_unit(manifest, units)
    names = in_order({*by_unit}, units)
    tensors = {name: by_unit[name] for name in names}
    network = traced_network(workspace, manifest)
    shared = shares(ask, seen, digest, manifest, tensors)
    # Last: what is read for it beside this page would keep the rest waiting.
    change = _changes(ask, seen, digest, manifest, tensors)
    asked, folded = ask.call.query.get("unit", ""), len(manifest.tensors) > TENSORS
    known = network or units.hierarchy
    rows = _Rows(manifest, units, tensors, known, network is not None, change.units, shared)
    return LayersPage(
        chosen=picked.chosen,
        architecture=manifest.backbone.shown,
        known=units.hierarchy is not None,
        params=sum(map(_learned, manifest.tensors)),
        bytes=sum(tensor.nbytes for tensor in manifest.tensors),
        macs=workspace.registry.published_macs(manifest),
        dtypes=_dtypes(manifest.tensors),
        outputs_for=_outputs_for(manifest, network, units),
        parent=change.parent,
        measuring=change.measuring,
        problem=change.problem,
        units=tuple(rows.row(name, listed=not folded or name == asked) for name in names[:UNITS]),
        more=max(0, len(names) - UNITS),
        folded=folded,
        shares=shared,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What became of the units since the parent."""

    parent: Other | None = None
    measuring: bool = False
    problem: str = ""
    units: Mapping[str, UnitDiff | str]


def _changes(
    ask: Ask,
    seen: VisibleNames,
    digest: Digest,
    manifest: Manifest,
    tensors: Mapping[str, Sequence[Tensor]],
) -> _Change:
    """How far the units are from those of the parent, if whoever asks may read that."""
    if not manifest.parents:
        return _Change(units={})
    first = manifest.parents[0]
    parent = seen.parent(first)
    if parent.hidden or not seen.there([first.manifest]):
        return _Change(parent=parent, units={})
    if not ask.hub.workspace.store.has_manifest(first.manifest):
        return _Change(parent=parent, problem="the parent is not here", units={})
    distances = ask.hub.distances.of(first.manifest, digest, PATIENCE)
    measuring = not distances.done.is_set()
    units: Mapping[str, UnitDiff | str] = {**distances.units}
    if not units:
        units = _by_place(ask.manifest(first.manifest), tensors)
    return _Change(parent=parent, measuring=measuring, problem=distances.problem, units=units)


def _by_place(base: Manifest, tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, str]:
    """What became of the units as far as digests tell, before any byte was read."""
    before = {tensor.name: place(tensor) for tensor in base.tensors}
    statuses = {}
    for name, own in tensors.items():
        if all(before.get(tensor.name) == place(tensor) for tensor in own):
            statuses[name] = "identical"
        else:
            known = any(tensor.name in before for tensor in own)
            statuses[name] = "changed" if known else "added"
    return statuses


@dataclass(frozen=True, slots=True)
class _Rows:
    """Makes the rows of units."""

    manifest: Manifest
    units: Units
    tensors: Mapping[str, Sequence[Tensor]]
    hierarchy: Hierarchy | None
    own: bool  # it is the network's, with its head, and not just its architecture's
    changes: Mapping[str, UnitDiff | str]
    shares: Sequence[Share]

    def row(self, name: str, *, listed: bool) -> UnitRow:
        """A unit; with its tensors, if they are to be ``listed``."""
        own, part, change = self.tensors[name], self._part(name), self.changes.get(name, "")
        diff = change if isinstance(change, UnitDiff) else None
        rows = tuple(_tensor(tensor, name) for tensor in own[:OF_UNIT]) if listed else ()
        return UnitRow(
            name=shortened(name, LETTERS),
            stage=self.units.stages.get(name, ""),
            params=sum(map(_learned, own)),
            bytes=sum(tensor.nbytes for tensor in own),
            count=len(own),
            output=self._output(part),
            macs=self._macs(part),
            cut=part.cut if part else None,
            trained=self._trained(name),
            change=WORDS[diff.status if diff else str(change)],
            distance=diff.distance if diff else None,
            note=diff.note if diff else "",
            of=next((n for n, share in enumerate(self.shares) if name in share.units), None),
            tensors=rows,
        )

    def _part(self, name: str) -> Unit | HeadPart | None:
        if self.hierarchy is None:
            return None
        if name == HEAD:
            return self.hierarchy.head
        return next((unit for unit in self.hierarchy.units if unit.name == name), None)

    def _macs(self, part: Unit | HeadPart | None) -> int | None:
        head = self.manifest.head
        if isinstance(part, HeadPart) and not self.own:  # the architecture's own may be another
            same = part.shape is not None and part.shape[-1] == head.num_classes
            return part.macs if same and head.kind == "native" else None
        return part.macs if part else None

    def _output(self, part: Unit | HeadPart | None) -> tuple[int, ...] | None:
        if isinstance(part, HeadPart):  # the architecture's own has other outputs
            return (self.manifest.head.num_classes,) if self.manifest.head.num_classes else None
        return part.shape[1:] if part and part.shape else None

    def _trained(self, name: str) -> bool | None:
        freeze = self.manifest.freeze
        if not freeze or not self.units.names:
            return None
        return name not in self.units.frozen(str(freeze.get("boundary", "")))


def _tensor(tensor: Tensor, unit: str) -> TensorRow:
    name = tensor.name.removeprefix(f"{unit}.")
    return TensorRow(
        name=shortened(name, LETTERS), shape=tensor.shape, dtype=tensor.dtype, bytes=tensor.nbytes
    )


def _learned(tensor: Tensor) -> int:
    """Elements of a tensor that training learns."""
    if tensor.name.rpartition(".")[2] in STATISTICS:
        return 0
    return math.prod(tensor.shape)


def _dtypes(tensors: Sequence[Tensor]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + math.prod(tensor.shape)
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def _outputs_for(manifest: Manifest, network: Hierarchy | None, units: Units) -> str:
    if network:
        return "an image of " + " x ".join(map(str, manifest.preprocessing.input_size))
    return "an image of the size that the architecture was made for" if units.hierarchy else ""
