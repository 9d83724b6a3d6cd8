"""Infer what imported weights need from a checkpoint here that shares tensors with them."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.domain.manifest import SETTINGS, Manifest
from zoo.domain.task import task_of
from zoo.exchange.here_already import stated
from zoo.exchange.metadata import Metadata
from zoo.lookup.identify import Candidate, hashes_of, named
from zoo.store import Store
from zoo.workspace import Workspace

__all__ = ["infer_metadata"]

EXACT = ("same", "cast")
"""What the match is of a file that has exactly the weights of a checkpoint."""


def infer_metadata(
    workspace: Workspace, manifest: Manifest, alike: Sequence[Candidate]
) -> list[Metadata]:
    """What the checkpoints say that share most with ``manifest``, which are ``alike``.

    Its preprocessing is that of the weights, which were trained on from it; its class names and
    its task only where the tensors with a row for each class are the same. The one need not know
    the other. Where a checkpoint has exactly these weights, none but such a one is asked. What
    people stated of another import of the same file is not asked: this one was not stated to be so.
    """
    exact = [one for one in alike if one.match.verdict in EXACT]
    sha256 = manifest.provenance.get("sha256", "")
    asked = [
        (one, _unknown(workspace.store, one, alike))
        for one in exact or alike
        if sha256 not in hashes_of(one.manifest) or not stated(one.manifest)
    ]
    facts, same_head = [], [(one, unknown) for one, unknown in asked if _has_head(one, manifest)]
    for one, unknown in same_head:
        if "classes" not in unknown and (classes := _classes(one, manifest)):
            facts.append(Metadata(source=_source(workspace, one, "classes"), classes=classes))
            break
    for one, _ in same_head:
        if (one.manifest.recipe or {}).get("task") or "task" in one.manifest.provenance:
            if (task := task_of(one.manifest)) != "classification":  # as of all that say nothing
                facts.append(Metadata(source=_source(workspace, one, "task"), task=task))
            break
    for one, unknown in asked:
        if not unknown.issuperset(SETTINGS):
            theirs = one.manifest.preprocessing
            settings = {name: getattr(theirs, name) for name in SETTINGS if hasattr(theirs, name)}
            settings["image_size"] = theirs.input_size[1:]
            known = {name: value for name, value in settings.items() if name not in unknown}
            guessed = tuple(name for name in one.manifest.guessed if name in known)
            source = _source(workspace, one, "preprocessing")
            return [*facts, Metadata(source=source, guessed=guessed, **known)]
    return facts


def _unknown(store: Store, one: Candidate, alike: Sequence[Candidate]) -> set[str]:
    """What it cannot tell of a file: what is unknown of it, and of those it derives from that share
    as much with the file. A fine-tune takes a guess where nothing is known of its base: that says
    nothing of the weights of the base. Where the base is not known, or not here, nobody can tell
    how much of it that shares.
    """
    above = one.manifest.ancestry()
    origins = [
        each for each in alike if each.digest in above and each.match.share >= one.match.share
    ]
    names = {name for each in (one, *origins) for name in each.manifest.unknown}
    whole = above and all(map(store.has_manifest, above))
    if one.match.verdict not in EXACT and not whole:
        names |= {*one.manifest.guessed}
    return names | {*SETTINGS} if "preprocessing" in names else names


def _source(workspace: Workspace, one: Candidate, field: str) -> str:
    name, _ = named(workspace, one.digest)
    mark = " (stated there)" if field in stated(one.manifest) else ""
    return f"{name}, which has {one.match.share:.1%} of the weights{mark}"


def _has_head(one: Candidate, manifest: Manifest) -> bool:
    """Whether its head is that of ``manifest``."""
    count = manifest.head.num_classes
    rows = {tensor.name for tensor in one.manifest.tensors if tensor.shape[:1] == (count,)}
    return bool(rows) and rows <= {*one.match.same}


def _classes(one: Candidate, manifest: Manifest) -> tuple[str, ...]:
    """Its class names, if they are those of so many outputs."""
    known = one.manifest.classes
    return known if len(known) == manifest.head.num_classes else ()
