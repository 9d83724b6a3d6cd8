"""Parent: the checkpoint here that imported weights derive from, found rather than declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone, Manifest, Tensor
from zoo.errors import ZooError
from zoo.lookup.compare import content, is_object
from zoo.lookup.identify import Candidate, candidates, named
from zoo.lookup.match import FileTensor
from zoo.lookup.units import HEAD, units_of
from zoo.store.tensor_keys import checkpoint_keys
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.store.nearness import Sketch

__all__ = ["ALIKE", "LEAST", "FoundParent", "ParentFinder", "evidence", "relatives", "sketch_of"]

T = TypeVar("T")

LEAST = 0.005
"""Share of equal elements from which on weights are said to come from a checkpoint. Norms that were
never trained are equal in all networks of one kind: 0.2 % of a ResNet-50; its stem and first stage,
the least that people freeze, have 0.9 %."""
LOOKED_AT = 64
"""Checkpoints of the same architecture that are compared by nearness."""
ALIKE = 1.1
"""Of those that are at most so many times as far as the nearest, the earliest ancestor is taken."""
SKETCHES = 256
"""Sketches that are kept while a folder is imported; each has 128 kB at most."""


@dataclass(frozen=True, slots=True)
class FoundParent:
    """A checkpoint that weights derive from, as far as their bytes tell.

    Attributes:
        digest: Its identity.
        manifest: It.
        ref: Its name.
        share: Share of the weights that are its, byte for byte.
        apart: How far the weights are from its (`zoo.store.nearness.apart`).
        remark: What else is to be known of it.
    """

    digest: Digest
    manifest: Manifest
    ref: str
    share: float
    apart: float
    remark: str = ""

    def __str__(self) -> str:
        """By what it was found, in words."""
        return evidence(self.share, self.apart, self.remark)


def evidence(share: float, apart: float, remark: str = "") -> str:
    """By what a parent was found, in words."""
    if share >= LEAST:
        how = f"found by bytes: {share:.1%} of the weights are its"
    else:
        how = f"found by nearness: {apart:.2g} apart, unrelated weights are 1.41"
    return f"{how} ({remark})" if remark else how


def relatives(workspace: Workspace, manifest: Manifest) -> list[Candidate]:
    """Checkpoints here that share at least `LEAST` of the weights of ``manifest``, whose tensors
    are stored; the best first. None if it, or one of them, is damaged, which verify tells.
    """
    store = workspace.store
    try:
        tensors = {
            tensor.name: FileTensor(
                tensor.dtype,
                tensor.shape,
                content(store, tensor),
                tensor.object if is_object(store, tensor) else None,
            )
            for tensor in manifest.tensors
        }
        alike, _ = candidates(workspace, checkpoint_keys(store, manifest), tensors)
    except ZooError:
        return []
    return [one for one in alike if one.match.share >= LEAST]


class ParentFinder:
    """Finds parents, for one import or for many.

    Args:
        workspace: The zoo.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._sketched = lru_cache(SKETCHES)(self._sketch_of)
        self._contents: dict[Digest, int] = {}

    def content(self, digest: Digest) -> int:
        """Tells the weights of a checkpoint here from others, whatever is stated of it."""
        if digest not in self._contents:
            manifest = self._manifest(digest)
            self._contents[digest] = _content(manifest) if manifest else hash(digest)
        return self._contents[digest]

    def find(
        self,
        manifest: Manifest,
        alike: Sequence[Candidate],
        can_be: Callable[[Digest], bool] = lambda _: True,
    ) -> FoundParent | None:
        """The checkpoint here that ``manifest``, whose tensors are stored, derives from; ``can_be``
        as for `nearest`.
        """
        shares = {one.digest: one.match.share for one in alike if not one.is_same}
        same = {one.digest for one in alike} - shares.keys()
        known = {_content(manifest), *map(self.content, same)}
        return self._nearest(manifest.backbone, self._sketch(manifest), shares, known, can_be)

    def nearest(
        self,
        backbone: Backbone,
        own: Sketch | None,
        shares: Mapping[Digest, float],
        same: Collection[Digest],
        can_be: Callable[[Digest], bool] = lambda _: True,
    ) -> FoundParent | None:
        """The checkpoint here that weights derive from of which ``own`` is a sample.

        It is one that shares tensors, as ``shares`` says, or else one of the same architecture from
        which they are less than `NEAR` apart. Of several it is the nearest. Bytes do not tell
        which of two was first: what is here already is taken for that. What has the ``same``
        weights is nobody's parent, and what derives from that is none of theirs. ``can_be`` says
        of a checkpoint whether it is considered.
        """
        return self._nearest(backbone, own, shares, {*map(self.content, same)}, can_be)

    def _nearest(
        self,
        backbone: Backbone,
        own: Sketch | None,
        shares: Mapping[Digest, float],
        same: Collection[int],
        can_be: Callable[[Digest], bool],
    ) -> FoundParent | None:
        """The same, with the `content` of what has the same weights: there may be more of these
        than are known, as each edit of a checkpoint is another one.
        """
        from zoo.store.nearness import NEAR, apart  # numpy

        others = self._workspace.registry.of_architecture(
            backbone.plugin, backbone.architecture, LOOKED_AT
        )
        near: list[tuple[float, float, Digest]] = []
        for digest in dict.fromkeys([*shares, *others]):
            if self.content(digest) in same or not can_be(digest):
                continue
            share, theirs = shares.get(digest, 0.0), self._sketched(digest)
            far = apart(own, theirs) if own and theirs else None
            if share and far is None:  # of other shapes: only bytes tell
                near.append((NEAR, share, digest))
            elif far is not None and far < NEAR and (far or share):
                near.append((far, share, digest))
        near.sort(key=lambda each: each[0])
        return _best(self._valid(backbone, same, near))

    def _valid(
        self, own: Backbone, same: Collection[int], near: Iterable[tuple[float, float, Digest]]
    ) -> Iterator[FoundParent]:
        """Those that can be the parent, of the nearest first, as far as they are about as near."""
        nearest: float | None = None
        for far, share, digest in near:
            if nearest is not None and far > nearest * ALIKE:
                return
            base = self._manifest(digest)
            if base is None or any(self.content(each) in same for each in base.ancestry()):
                continue
            if own.is_like(base.backbone):
                nearest = far if nearest is None else nearest
                name, _ = named(self._workspace, digest)
                yield FoundParent(digest, base, name, share, far)

    def _manifest(self, digest: Digest) -> Manifest | None:
        return _readable(lambda: self._workspace.store.manifest(digest))

    def _sketch(self, manifest: Manifest) -> Sketch | None:
        return _readable(lambda: sketch_of(self._workspace, manifest))

    def _sketch_of(self, digest: Digest) -> Sketch | None:
        base = self._manifest(digest)
        return self._sketch(base) if base else None


def sketch_of(workspace: Workspace, manifest: Manifest) -> Sketch:
    """The sample of a checkpoint's backbone.

    Raises:
        MissingObject: Bytes of it are not here.
    """
    from zoo.store.nearness import sketch

    def read(tensor: Tensor) -> memoryview:
        data = workspace.store.view("objects", tensor.object)
        return data[tensor.offset : tensor.offset + tensor.nbytes]

    units = units_of(workspace, manifest)
    tensors = (each for each in manifest.tensors if units.unit_of(each.name) != HEAD)
    return sketch((replace(each, name=units.own_name(each.name)) for each in tensors), read)


def _content(manifest: Manifest) -> int:
    return hash(frozenset(tensor.object for tensor in manifest.tensors))


def _best(parents: Iterable[FoundParent]) -> FoundParent | None:
    """Of those that are about as near, the one that shares most, then the earliest."""

    def rank(one: FoundParent) -> tuple[float, int, str]:
        return (-one.share, sum(1 for _ in one.manifest.lineage()), str(one.digest))

    return min(parents, key=rank, default=None)


def _readable(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None where it is damaged or not here, which is no parent for anybody."""
    try:
        return read()
    except (ZooError, OSError):
        return None
