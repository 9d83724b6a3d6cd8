"""Sharing: what a checkpoint has in common with others, byte for byte, as the store keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Tensor
from zoo.errors import ZooError
from zoo.lookup.compare import place
from zoo.lookup.units import Units
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import Other, VisibleNames

__all__ = ["Share", "place", "shares", "tensors_by_unit"]

COMPARED, SHOWN = 16, 6
"""So many that may be read are compared: ancestors, and those that share most."""
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a checkpoint shares with another one.

    Attributes:
        other: The other one.
        ancestor: Whether the checkpoint derives from it.
        bytes: Of the objects that both have.
        units: Names of the units that are the other's in whole.
    """

    other: Other
    ancestor: bool
    bytes: int
    units: tuple[str, ...]


def tensors_by_unit(manifest: Manifest, units: Units) -> Mapping[str, list[Tensor]]:
    """The tensors of a checkpoint by the units that they are in."""
    by_unit: dict[str, list[Tensor]] = {}
    for tensor in manifest.tensors:
        by_unit.setdefault(units.unit_of(tensor.name), []).append(tensor)
    return by_unit


def shares(
    ask: Ask,
    seen: VisibleNames,
    digest: Digest,
    manifest: Manifest,
    tensors: Mapping[str, list[Tensor]],
) -> tuple[Share, ...]:
    """With whom a checkpoint shares bytes, of those that whoever asks may read: first what it
    derives from, the earliest first, then others, by how much it is.
    """
    above = [parent.manifest for _, parent in manifest.lineage()]
    others = _readable(
        seen, [*above[: COMPARED // 2], *ask.hub.sharers.of(digest, manifest)], digest
    )
    shares = []
    for other in islice(others, COMPARED):
        with suppress(ZooError):  # it is not here, or damaged
            theirs = ask.manifest(other)
            called = seen.other(other)
            share = _share(called, manifest, theirs, tensors, ancestor=other in above)
            if share.bytes:
                shares.append(share)
    depth = {each: -number for number, each in enumerate(map(str, above))}
    shares.sort(key=lambda each: (not each.ancestor, depth.get(each.other.digest, 0), -each.bytes))
    return tuple(shares[:SHOWN])


def _readable(seen: VisibleNames, digests: Sequence[Digest], own: Digest) -> Iterator[Digest]:
    """Those that have a name which whoever asks may read."""
    listed = [each for each in dict.fromkeys(digests) if each != own]
    for begin in range(0, len(listed), BATCH):
        some = listed[begin : begin + BATCH]
        named = seen.names(some)
        yield from (each for each in some if each in named)


def _share(
    other: Other,
    manifest: Manifest,
    theirs: Manifest,
    tensors: Mapping[str, list[Tensor]],
    *,
    ancestor: bool,
) -> Share:
    places = {place(tensor) for tensor in theirs.tensors}
    objects = dict(theirs.objects())
    return Share(
        other=other,
        ancestor=ancestor,
        bytes=sum(size for each, size in manifest.objects() if each in objects),
        units=tuple(
            unit for unit, own in tensors.items() if all(place(each) in places for each in own)
        ),
    )
