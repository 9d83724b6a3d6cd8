"""Compare the tensors of two checkpoints, unit by unit, by their bytes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.errors import Corrupt
from zoo.lookup.units import Units, in_order, units_of
from zoo.store import Store
from zoo.tensor_names import tensors_as
from zoo.workspace import Workspace

__all__ = [
    "STATISTICS",
    "Comparison",
    "Pair",
    "Status",
    "UnitPairs",
    "compare",
    "place",
    "content",
    "is_object",
]

Status = Literal["identical", "changed", "added", "removed"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of names of what normalization counts, rather than training learns."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor ``before``, in the first checkpoint, and ``after``, in the second; or one only."""

    status: Status
    before: Tensor | None
    after: Tensor | None

    @property
    def name(self) -> str:
        """Its name in the second one, or the first where there is no second."""
        return self.one.name

    @property
    def one(self) -> Tensor:
        """The second one, or the first where there is no second."""
        tensor = self.after or self.before
        if tensor is None:
            raise ValueError("a pair of nothing")
        return tensor

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.one.shape)

    @property
    def learned(self) -> bool:
        """Whether it is more than a statistic of normalization."""
        return self.name.rpartition(".")[2] not in STATISTICS


@dataclass(frozen=True, slots=True)
class UnitPairs:
    """All tensors of one unit in both checkpoints."""

    name: str
    stage: str
    pairs: tuple[Pair, ...]

    @property
    def status(self) -> Status:
        """That of all its tensors, or ``changed`` where they differ in it."""
        statuses = {pair.status for pair in self.pairs}
        return statuses.pop() if len(statuses) == 1 else "changed"

    def count(self, status: Status) -> int:
        """How many of its tensors have a status."""
        return sum(pair.status == status for pair in self.pairs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints beside one another.

    Attributes:
        units: In order of execution, where that is known; the head last.
        known: Whether it is. Else units are read off the names of tensors.
        first: Units of the first checkpoint's architecture.
        second: Units of the second one's.
    """

    units: tuple[UnitPairs, ...]
    known: bool
    first: Units
    second: Units

    @property
    def pairs(self) -> Iterator[Pair]:
        """All of all units."""
        return (pair for unit in self.units for pair in unit.pairs)

    @property
    def share(self) -> float:
        """Share of the second one's elements whose tensors are identical in the first one."""
        total = sum(pair.elements for pair in self.pairs if pair.after)
        same = sum(pair.elements for pair in self.pairs if pair.status == "identical")
        return same / total if total else 0.0


def compare(workspace: Workspace, before: Manifest, after: Manifest) -> Comparison:
    """Pair the tensors of two checkpoints, by name or else by bytes, and see which are identical.
    Of two architectures, units are paired by name whose tensors all agree in names and shapes.

    Bytes are read only where digests cannot tell.

    Raises:
        MissingObject: Bytes that are needed are not here.
        Corrupt: They are damaged.
    """
    first, second = units_of(workspace, before), units_of(workspace, after)
    by_unit: defaultdict[str, list[Pair]] = defaultdict(list)
    new = {tensor.name: tensor for tensor in after.tensors}
    old = tensors_as(new, before)
    alike = before.backbone.is_like(after.backbone)
    strangers = set[str]() if alike else _strangers(old, new, first, second)
    for pair in _pairs(workspace.store, old, new, strangers):
        units = second if pair.after else first
        by_unit[units.unit_of(pair.name)].append(pair)
    stages = first.stages | second.stages
    names = in_order(set(by_unit), second, first)
    return Comparison(
        units=tuple(UnitPairs(name, stages.get(name, ""), tuple(by_unit[name])) for name in names),
        known=first.hierarchy is not None and second.hierarchy is not None,
        first=first,
        second=second,
    )


def content(store: Store, tensor: Tensor) -> memoryview:
    """The bytes of a stored tensor, mapped and hashed.

    Raises:
        MissingObject: They are not here.
        Corrupt: They are damaged.
    """
    return _sound(store, tensor.object)[tensor.offset : tensor.offset + tensor.nbytes]


@lru_cache(maxsize=32)  # the tensors of one object follow one another
def _sound(store: Store, digest: Digest) -> memoryview:
    data = store.view("objects", digest)
    actual = blake3(data).hexdigest()
    if actual != digest.hex:
        raise Corrupt(f"object {digest}", str(digest), f"blake3:{actual}")
    return data


def _strangers(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], first: Units, second: Units
) -> set[str]:
    """Names that both have by chance: in units that do not agree in names and shapes."""
    if (first.hierarchy is None) != (second.hierarchy is None):  # cut otherwise, it cannot be told
        return set()
    shapes: defaultdict[tuple[int, str], set[tuple[str, tuple[int, ...]]]] = defaultdict(set)
    places = defaultdict[str, list[tuple[int, str]]](list)
    for side, (tensors, units) in enumerate(((before, first), (after, second))):
        for name, tensor in tensors.items():
            place = side, units.unit_of(tensor.name)
            places[name].append(place)
            shapes[place].add((name, tensor.shape))
    both = {name: pair for name, pair in places.items() if len(pair) == 2}
    return {name for name, (one, other) in both.items() if shapes[one] != shapes[other]}


def _pairs(
    store: Store,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    strangers: Collection[str],
) -> Iterator[Pair]:
    for name, new in after.items():
        if old := before.get(name):
            pair = Pair("identical" if _identical(store, old, new) else "changed", old, new)
            # The same bytes prove that they are one, but a counter may have counted as far.
            if name in strangers and (pair.status == "changed" or not pair.learned):
                yield from (Pair("removed", old, None), Pair("added", None, new))
            else:
                yield pair
    # The same bytes under another name, as where a file was kept as its library names things.
    left = {place(tensor): tensor for name, tensor in before.items() if name not in after}
    for name, tensor in after.items():
        if name not in before:
            renamed = left.pop(place(tensor), None)
            yield Pair("identical" if renamed else "added", renamed, tensor)
    for tensor in left.values():
        yield Pair("removed", tensor, None)


def place(tensor: Tensor) -> tuple[object, ...]:
    """Where the store has a tensor's bytes, and what they are read as: two tensors of which that is
    equal are equal. Where it differs, they may be.
    """
    return tensor.object, tensor.offset, tensor.dtype, tensor.shape


def _identical(store: Store, one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.object, one.offset) == (other.object, other.offset):
        return True
    if is_object(store, one) and is_object(store, other):
        return one.object == other.object
    return bytes(content(store, one)) == bytes(content(store, other))


def is_object(store: Store, tensor: Tensor) -> bool:
    """Whether a tensor is all of its object, so that the digest is its own."""
    return not tensor.offset and store.size("objects", tensor.object) == tensor.nbytes
