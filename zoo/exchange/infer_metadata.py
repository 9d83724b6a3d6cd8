"""Infer what imported weights need from a checkpoint here that shares tensors with them."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.domain.manifest import SETTINGS, Manifest
from zoo.exchange.metadata import Metadata
from zoo.lookup.identify import Candidate, named
from zoo.workspace import Workspace

__all__ = ["infer_metadata"]


def infer_metadata(
    workspace: Workspace, manifest: Manifest, alike: Sequence[Candidate]
) -> list[Metadata]:
    """What the checkpoints say that share most with ``manifest``, which are ``alike``.

    Its preprocessing is that of the weights, which were trained on from it; its class names only
    where the tensors with a row for each class are the same. The one need not know the other.
    """
    facts = []
    if named_alike := next((one for one in alike if _classes(one, manifest)), None):
        source = _source(workspace, named_alike)
        facts.append(Metadata(source=source, classes=_classes(named_alike, manifest)))
    best = next((one for one in alike if "preprocessing" not in one.manifest.unknown), None)
    if best is None:
        return facts
    theirs = best.manifest.preprocessing
    said = {name: getattr(theirs, name) for name in SETTINGS if hasattr(theirs, name)}
    said["image_size"] = theirs.input_size[1:]
    known = {name: value for name, value in said.items() if name not in best.manifest.unknown}
    return [*facts, Metadata(source=_source(workspace, best), **known)]


def _source(workspace: Workspace, one: Candidate) -> str:
    name, _ = named(workspace, one.digest)
    return f"{name}, which has {one.match.share:.1%} of the weights"


def _classes(one: Candidate, manifest: Manifest) -> tuple[str, ...]:
    """Its class names, if its head is that of ``manifest``."""
    count = manifest.head.num_classes
    rows = {tensor.name for tensor in one.manifest.tensors if tensor.shape[:1] == (count,)}
    same = bool(rows) and rows <= {*one.match.same}
    return one.manifest.classes if same and len(one.manifest.classes) == count else ()
