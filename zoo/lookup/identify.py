"""Identify: which checkpoint the tensors of a stray file are, or derive from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import MissingObject, ZooError
from zoo.lookup.match import FileTensor, Match, match
from zoo.lookup.units import Units, in_order, units_of
from zoo.registry.tensors import Holder
from zoo.store.files import LARGE
from zoo.store.tensor_keys import checkpoint_keys, object_key, sample_keys
from zoo.workspace import Workspace

__all__ = ["identify"]

CANDIDATES = 8
"""So many of the checkpoints that share most keys are compared byte by byte."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that is here, compared with the file."""

    digest: Digest
    manifest: Manifest
    match: Match

    @property
    def rank(self) -> tuple[float, int, int, str]:
        """Best first: most shared, least left out, then an ancestor before what derives from it."""
        left_out = len(self.match.missing)
        ancestors = sum(1 for _ in self.manifest.lineage())
        return (-self.match.share, left_out, ancestors, str(self.digest))


def identify(
    workspace: Workspace, tensors: Mapping[str, FileTensor], *, sha256: str | None = None
) -> dict[str, Any]:
    """Plain data: the checkpoints that share tensors with a file, best first, as ``matches``; and
    the ``verdict`` on the best: ``same`` (all of its tensors, and no others), ``cast`` (the same in
    another dtype), ``part`` (some of its tensors, and no others), ``derived`` (some are its),
    ``unproven`` (one that only a remote has may be it), or ``unknown``.

    Each match has the ``share`` of the file's elements that are the checkpoint's, the ``prefix``
    that was taken off the file's names, ``casts`` (such as ``F32 to BF16``), the ``units`` that
    differ and ``departs``, the first of them. Of a checkpoint that only a remote has, ``here``
    false, no more is known than about how many of its units are in the file.

    Args:
        workspace: The zoo.
        tensors: The file's, by name.
        sha256: Of the whole file, in hex: whether it is byte for byte one of a checkpoint's.

    Raises:
        Corrupt: Bytes of a checkpoint are damaged.
    """
    _complete(workspace)
    found = workspace.registry.holders_of(_keys(tensors.values()), CANDIDATES)
    here: list[Candidate] = []
    elsewhere: list[dict[str, Any]] = []
    for holder in found:
        try:
            manifest = workspace.store.manifest(holder.manifest)
            compared = match(workspace.store, manifest, tensors)
        except MissingObject:
            elsewhere.append(_elsewhere(workspace, holder))
            continue
        if compared.share:
            here.append(Candidate(holder.manifest, manifest, compared))
    here.sort(key=lambda one: one.rank)
    matches = [*(_shown(workspace, one, sha256) for one in here), *elsewhere]
    best = matches[0]["verdict"] if matches else "unknown"
    return {"tensors": len(tensors), "verdict": best, "matches": matches}


def _complete(workspace: Workspace) -> None:
    """Make the keys of checkpoints that an older program indexed, and that can be read."""
    registry, store = workspace.registry, workspace.store
    known = {digest for _, digest, _ in registry.refs()}
    for digest in sorted(registry.without_keys(known)):
        with suppress(ZooError):  # verify tells what is damaged; all others can be found
            registry.keep_keys(digest, checkpoint_keys(store, store.manifest(digest)))


def _keys(tensors: Iterable[FileTensor]) -> set[int]:
    keys: set[int] = set()
    for tensor in tensors:
        keys |= sample_keys(tensor.dtype, tensor.shape, tensor.data)
        if len(tensor.data) >= LARGE:
            keys.add(object_key(Digest("blake3", blake3(tensor.data).hexdigest())))
    return keys


def _shown(workspace: Workspace, one: Candidate, sha256: str | None) -> dict[str, Any]:
    units = units_of(workspace, one.manifest)
    differing = _differing(units, one.match)
    known = units.hierarchy is not None
    files = {file.sha256.hex for file in one.manifest.weights}
    files.add(one.manifest.provenance.get("sha256", ""))  # a pickle is kept rewritten
    return {
        **_named(workspace, one.digest),
        "here": True,
        "architecture": one.manifest.backbone.architecture,
        "verdict": one.match.verdict,
        "share": one.match.share,
        "identical_file": sha256 in files,
        "prefix": one.match.prefix,
        "casts": list(one.match.casts),
        "missing": list(one.match.missing),
        "added": list(one.match.added),
        "units": differing,
        "units_known": known,
        "departs": next((unit["unit"] for unit in differing), None) if known else None,
    }


def _differing(units: Units, found: Match) -> list[dict[str, Any]]:
    """Units that are not wholly the checkpoint's, in order, with how many of their tensors are."""
    same = Counter(units.unit_of(name) for name in found.same)
    added = [name.removeprefix(found.prefix) for name in found.added]
    other = Counter(units.unit_of(name) for name in (*found.changed, *added))
    gone = Counter(units.unit_of(name) for name in found.missing)
    names = in_order({*other, *gone}, units)
    return [
        {
            "unit": name,
            "identical": same[name],
            "tensors": same[name] + other[name] + gone[name],
            "missing": gone[name],
        }
        for name in names
    ]


def _elsewhere(workspace: Workspace, holder: Holder) -> dict[str, Any]:
    named = _named(workspace, holder.manifest)
    known = workspace.registry.summary(holder.manifest) or {}
    share = holder.shared / holder.total if holder.total else math.nan
    return {
        **named,
        "here": False,
        "architecture": known.get("architecture"),
        "verdict": "unproven",
        "share": share if math.isfinite(share) else None,
        "pull": f"zoo pull {named['name']}",
    }


def _named(workspace: Workspace, digest: Digest) -> dict[str, Any]:
    refs = [str(ref) for ref in workspace.registry.refs_of(digest)]
    remote = [str(ref) for ref in workspace.registry.remote_names(digest)]
    return {
        "name": next(iter(refs or remote), str(digest)),
        "manifest": str(digest),
        "refs": refs,
    }
