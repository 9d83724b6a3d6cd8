"""Identify: which checkpoint the tensors of an unknown weights file are, or derive from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from zoo.domain.adapter import adapter_of, is_factor
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import MissingObject, ZooError
from zoo.lookup.match import Match, MatchedTensor, Verdict, match
from zoo.lookup.units import Units, in_order, units_of
from zoo.registry.tensors import Holder
from zoo.store.tensor_keys import checkpoint_keys, object_key
from zoo.workspace import Workspace

__all__ = [
    "Candidate",
    "FileMatch",
    "Identified",
    "UnitMatch",
    "candidates",
    "differing",
    "hashes_of",
    "identify",
    "keys_in",
    "named",
    "since",
]

CANDIDATES = 8
"""So many of the checkpoints that share most keys are compared byte by byte."""
BATCH = 500
There = Callable[[Collection[Digest]], Collection[Digest]]
"""Those of some checkpoints that somebody may know of."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that is here, compared with a file."""

    digest: Digest
    manifest: Manifest
    match: Match

    @property
    def rank(self) -> tuple[int, float, int, int, str]:
        """Best first: the same before a cast, most shared, least left out, then an ancestor before
        what derives from it.
        """
        return (*self.closeness, sum(1 for _ in self.manifest.lineage()), str(self.digest))

    @property
    def closeness(self) -> tuple[int, float, int]:
        """How far the weights are the file's, the closest first."""
        verdict = get_args(Verdict).index(self.match.verdict)
        return (verdict, -self.match.share, len(self.match.missing))

    @property
    def is_same(self) -> bool:
        """Whether it has the file's weights, if need be with its adapter merged: the file's differ
        where that corrects them, and nowhere else.
        """
        comparison, adapter = self.match, adapter_of(self.manifest)
        if adapter is None:
            return comparison.verdict == "same"
        corrected = {name.rpartition(".")[0] for name in comparison.changed}
        only = bool(corrected) and corrected <= {*adapter.layers} and not comparison.added
        return only and all(map(is_factor, comparison.missing))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UnitMatch(Result):
    """A unit that is not wholly the checkpoint's: how many tensors are, of how many."""

    unit: str
    identical: int
    tensors: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FileMatch(Result):
    """A checkpoint that shares tensors with a file.

    Attributes:
        name: Its name here, or at a remote.
        manifest: Its identity.
        refs: All of its names here.
        here: Whether it is in this zoo; else ``share`` and all below are unknown, but ``pull``.
        architecture: Architecture.
        verdict: ``same`` (all of its tensors, and no others), ``cast`` (the same in another dtype),
            ``part`` (some of its tensors, and no others), ``derived`` (some are its), or
            ``unproven`` (one that only a remote has may be it).
        share: Share of the file's elements that are its; None of one that only a remote has.
        identical_file: Whether the file is byte for byte one of its files.
        prefix: What was taken off the file's names.
        renamed: How many tensors have another name in the file, the prefix aside.
        casts: Such as ``F32 to BF16``.
        missing: Tensors that the file lacks.
        added: Tensors that it lacks.
        units: Those that differ.
        units_known: Whether units are those of the network, rather than read off names of tensors.
        departs: The first of those that differ, where their order is known.
        pull: The command that brings it here.
    """

    name: str
    manifest: Digest
    refs: tuple[str, ...]
    here: bool
    architecture: str | None
    verdict: str
    share: float | None
    identical_file: bool = False
    prefix: str = ""
    renamed: int = 0
    casts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    units: tuple[UnitMatch, ...] = ()
    units_known: bool = False
    departs: str | None = None
    pull: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Identified(Result):
    """What a file of weights is.

    Attributes:
        file: The file.
        sha256: Of all of it, in hex.
        tensors: How many it has.
        verdict: That on the best match; ``unknown`` if there is none.
        matches: The checkpoints that share tensors with it, the best first.
        fits: Where there are none, the architectures of timm that its names and shapes are those
            of, as far as they are known without building any.
    """

    file: Path
    sha256: str
    tensors: int
    verdict: str
    matches: tuple[FileMatch, ...]
    fits: tuple[str, ...] = ()


def identify(
    workspace: Workspace, file: Path, sha256: str, tensors: Mapping[str, MatchedTensor]
) -> Identified:
    """Which checkpoints share tensors with a file.

    Args:
        workspace: The zoo.
        file: The file.
        sha256: Of all of it, in hex: whether it is byte for byte one of a checkpoint's.
        tensors: Its tensors, by name.

    Raises:
        Corrupt: Bytes of a checkpoint are damaged.
    """
    _complete(workspace)
    here, missing = candidates(workspace, keys_in(tensors.values()), tensors)
    here.sort(key=lambda one: _original_first(workspace, one, sha256))
    elsewhere = [_elsewhere(workspace, holder) for holder in missing]
    matches = (*(_shown(workspace, one, sha256) for one in here), *elsewhere)
    return Identified(
        file=file,
        sha256=sha256,
        tensors=len(tensors),
        verdict=matches[0].verdict if matches else "unknown",
        matches=matches,
    )


def _original_first(workspace: Workspace, one: Candidate, sha256: str) -> tuple[object, ...]:
    """To sort by: of those that are equally close the one that was made of this very file, then an
    ancestor, then the one that has had a name for longest.
    """
    *closeness, ancestors, digest = one.rank
    named = named_at(workspace, one.digest, workspace.registry.refs_of(one.digest))
    other = sha256 not in hashes_of(one.manifest)
    return (*closeness, other, ancestors, named, digest)


def named_at(workspace: Workspace, digest: Digest, refs: Iterable[Reference]) -> str:
    """When the first of some names was given to a checkpoint, as it is or with other files, as ISO
    8601; what has none comes after all others.
    """
    entries = [entry for ref in refs for entry in workspace.store.history(ref)]
    snapshots = workspace.registry.unknown({entry.manifest for entry in entries})
    same = {digest, *(each for each in snapshots if workspace.shown_digest(each) == digest)}
    return min((entry.at for entry in entries if entry.manifest in same), default="~")


def candidates(
    workspace: Workspace,
    keys: set[int],
    tensors: Mapping[str, MatchedTensor],
    there: There | None = None,
) -> tuple[list[Candidate], list[Holder]]:
    """Checkpoints here that share tensors with ``tensors``, the best first, found by ``keys``; and
    those that may, and are not here. With ``there``, others than those are as if there were none.

    Raises:
        Corrupt: Bytes of a checkpoint are damaged.
    """
    here: list[Candidate] = []
    elsewhere: list[Holder] = []
    holders = _holders(workspace, keys, there)
    for holder in holders:
        try:
            here += _compared(workspace, holder.manifest, tensors)
        except MissingObject:
            elsewhere.append(holder)
    # Of many fine-tunes that kept equally much, any may be among the holders: what they derive
    # from has it, too.
    seen = {holder.manifest for holder in holders}
    bases = Counter(base for one in here for base in one.manifest.ancestry() - seen)
    known = bases if there is None else there(bases.keys())
    for base in [each for each, _ in bases.most_common() if each in known][:CANDIDATES]:
        with suppress(MissingObject):
            here += _compared(workspace, base, tensors)
    return sorted(here, key=lambda one: one.rank), elsewhere


def _compared(
    workspace: Workspace, digest: Digest, tensors: Mapping[str, MatchedTensor]
) -> Iterator[Candidate]:
    """The checkpoint beside ``tensors``, if they share any."""
    manifest = workspace.store.manifest(digest)
    if (compared := match(workspace.store, manifest, tensors)).share:
        yield Candidate(digest, manifest, compared)


def _complete(workspace: Workspace) -> None:
    """Make the keys of checkpoints that an older program indexed, and that can be read."""
    registry, store = workspace.registry, workspace.store
    known = {digest for _, digest, _ in registry.refs()}
    for digest in sorted(registry.without_keys(known)):
        with suppress(ZooError):  # verify tells what is damaged; all others can be found
            registry.keep_keys(digest, checkpoint_keys(store, store.manifest(digest)))


def hashes_of(manifest: Manifest) -> set[str]:
    """Hashes of the files that a checkpoint was made of, and has: a pickle is kept rewritten."""
    stored = {file.sha256.hex for file in manifest.weights}
    return stored | {manifest.provenance.get("sha256", "")} - {""}


def keys_in(tensors: Iterable[MatchedTensor]) -> set[int]:
    """The keys by which a file's tensors are found."""
    keys: set[int] = set()
    for tensor in tensors:
        keys.update(tensor.samples, [object_key(Digest("blake3", tensor.hash))])
    return keys


def _holders(workspace: Workspace, keys: set[int], there: There | None) -> list[Holder]:
    """The checkpoints that share most keys, of those that are ``there``."""
    if there is None:
        return workspace.registry.holders_of(keys, CANDIDATES)
    return [*islice(_those(workspace.registry.holders_of(keys, None), there), CANDIDATES)]


def _those(holders: list[Holder], there: There) -> Iterator[Holder]:
    for begin in range(0, len(holders), BATCH):
        some = holders[begin : begin + BATCH]
        known = there([each.manifest for each in some])
        yield from (each for each in some if each.manifest in known)


def _shown(workspace: Workspace, one: Candidate, sha256: str) -> FileMatch:
    units = units_of(workspace, one.manifest)
    moved = differing(units, one.match)
    known = units.hierarchy is not None
    name, refs = named(workspace, one.digest)
    return FileMatch(
        name=name,
        manifest=one.digest,
        refs=refs,
        here=True,
        architecture=one.manifest.backbone.architecture,
        verdict=one.match.verdict,
        share=one.match.share,
        identical_file=sha256 in hashes_of(one.manifest),
        prefix=one.match.prefix,
        renamed=one.match.renamed,
        casts=one.match.casts,
        missing=one.match.missing,
        added=one.match.added,
        units=moved,
        units_known=known,
        departs=next((unit.unit for unit in moved), None) if known else None,
    )


def differing(units: Units, comparison: Match) -> tuple[UnitMatch, ...]:
    """Units that are not wholly the checkpoint's, in order, with how many of their tensors are."""
    same = Counter(units.unit_of(name) for name in comparison.same)
    added = [name.removeprefix(comparison.prefix) for name in comparison.added]
    other = Counter(units.unit_of(name) for name in (*comparison.changed, *added))
    gone = Counter(units.unit_of(name) for name in comparison.missing)
    names = in_order({*other, *gone}, units)
    return tuple(
        UnitMatch(
            unit=name,
            identical=same[name],
            tensors=same[name] + other[name] + gone[name],
            missing=gone[name],
        )
        for name in names
    )


def _elsewhere(workspace: Workspace, holder: Holder) -> FileMatch:
    name, refs = named(workspace, holder.manifest)
    known = workspace.registry.summary(holder.manifest) or {}
    return FileMatch(
        name=name,
        manifest=holder.manifest,
        refs=refs,
        here=False,
        architecture=known.get("architecture"),
        verdict="unproven",
        share=None,
        pull=f"zoo pull {name}",
    )


def named(workspace: Workspace, digest: Digest) -> tuple[str, tuple[str, ...]]:
    """What to call it, and all of its names here."""
    refs = tuple(str(ref) for ref in workspace.registry.refs_of(digest))
    remote = (str(ref) for ref in workspace.registry.remote_names(digest))
    return next(iter(refs or remote), str(digest)), refs


def since(workspace: Workspace, digest: Digest) -> str:
    """When its oldest name here was given, as ISO 8601; what has none comes after all others."""
    entries = map(workspace.store.read_ref, workspace.registry.refs_of(digest))
    return min((entry.at for entry in entries if entry), default="~")
