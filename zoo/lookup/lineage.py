"""Lineage: how a checkpoint derives from others, checked, and what its name pointed at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, MissingObject, UnknownName, ZooError
from zoo.lookup.check import check_parent
from zoo.lookup.licence import terms
from zoo.lookup.standing import at_remotes
from zoo.workspace import Workspace

__all__ = ["descendants", "lineage"]


def lineage(workspace: Workspace, name: str) -> dict[str, Any]:
    """Plain data: ``ancestors`` from the checkpoint itself to the root, the direct ``children`` and
    all ``descendants``, its licence ``terms``, ``warnings``, what remotes have ``at_remotes`` under
    the name (`zoo.lookup.standing`), and the ``history`` of the name, newest first.

    Each ancestor but the first has the ``child`` that declares it, and a ``check`` of that against
    bytes (`zoo.lookup.check.check_parent`). One that is not in this zoo is listed under the name
    that it had, ``here`` false; of one that cannot be read, ``problem`` says why. A name that was
    ``deleted`` is that of what it pointed at last.

    Raises:
        UnknownName: No such checkpoint here, or not any more; near names are suggested.
    """
    ref, digest, deleted = _named(workspace, name)
    shown = str(ref or digest)
    manifest = workspace.store.manifest(digest)
    ancestors = _ancestors(workspace, digest, manifest, shown)
    below = descendants(workspace, digest)
    of_license = terms(workspace, shown, manifest)
    return {
        "name": shown,
        "manifest": str(digest),
        "deleted": deleted,
        "ancestors": ancestors,
        "children": [step for step in below if step["parent"] == str(digest)],
        "descendants": below,
        "terms": of_license,
        "warnings": [*_warnings(ancestors), *filter(None, [of_license["warning"]])],
        "at_remotes": at_remotes(workspace, ref),
        "history": [
            {**entry.to_json(), "here": workspace.store.has_manifest(entry.manifest)}
            for entry in reversed(workspace.store.history(ref) if ref else ())
        ],
    }


def _named(workspace: Workspace, name: str) -> tuple[Reference | None, Digest, bool]:
    """As `Workspace.resolve`, but a deleted name is known as long as its checkpoint is here."""
    try:
        return *workspace.resolve(name), False
    except UnknownName:
        with suppress(InvalidReference):  # it is a digest
            ref = Reference.parse(name)
            entry = workspace.store.read_ref(ref)
            if entry and workspace.store.has_manifest(entry.manifest):
                return ref, entry.manifest, True
        raise


def descendants(workspace: Workspace, digest: Digest) -> list[dict[str, Any]]:
    """All that derives from a checkpoint, as far as it is indexed: each right below its ``parent``,
    ``depth`` 1 for a child; oldest first.
    """
    seen, found = {digest}, []
    waiting = [(digest, child, 1) for child in reversed(workspace.registry.children(digest))]
    while waiting:
        parent, child, depth = waiting.pop()
        if child not in seen:
            seen.add(child)
            refs = [str(ref) for ref in workspace.registry.refs_of(child)]
            step = _step(workspace, child, refs, relation="child")
            found.append({**step, "parent": str(parent), "depth": depth})
            further = reversed(workspace.registry.children(child))
            waiting += [(child, each, depth + 1) for each in further]
    return found


def _ancestors(
    workspace: Workspace, digest: Digest, manifest: Manifest, name: str
) -> list[dict[str, Any]]:
    """From the checkpoint to the root. A manifest tells its whole lineage: none else is needed."""
    called = defaultdict(list)
    for ref, target, _ in workspace.registry.refs():
        called[target].append(str(ref))
    found = [_step(workspace, digest, called[digest], relation="self", name=name)]
    for child, parent in manifest.lineage():
        refs, relation = called[parent.manifest], parent.relation
        step = _step(workspace, parent.manifest, refs, relation=relation, name=parent.ref)
        check = _check(workspace, child or digest, parent.manifest)
        found.append({**step, "child": str(child or digest), "check": check})
    return found


def _check(workspace: Workspace, child: Digest, parent: Digest) -> dict[str, Any] | None:
    try:
        manifest = workspace.store.manifest(child)
    except (ZooError, OSError):  # its own step tells
        return None
    return check_parent(workspace, child, manifest, parent)


def _warnings(ancestors: list[dict[str, Any]]) -> Iterator[str]:
    names = {step["manifest"]: step["name"] for step in ancestors}
    for step in ancestors:
        check = step.get("check")
        if check and not check["agrees"]:
            like = f"; it shares tensors with {check['resembles']}" if check["resembles"] else ""
            yield (
                f"{names[step['child']]} declares {step['name']} as its parent, but its bytes "
                f"disagree: {check['warning']}{like}"
            )


def _step(
    workspace: Workspace, digest: Digest, refs: list[str], *, relation: str, name: str = ""
) -> dict[str, Any]:
    step: dict[str, Any] = {
        "manifest": str(digest),
        "name": name or _name(workspace, digest, refs),
        "refs": refs,
        "relation": relation,
    }
    try:
        manifest = workspace.store.manifest(digest)
    except MissingObject:
        return {**step, "here": False}
    except (ZooError, OSError) as error:  # the rest of the lineage is worth reading all the same
        return {**step, "here": False, "problem": str(error)}
    return {
        **step,
        "here": True,
        "architecture": manifest.backbone.architecture,
        "created": manifest.created,
        "license": manifest.license,
        "freeze": dict(manifest.freeze) if manifest.freeze else None,
        "metrics": dict(manifest.metrics),
        "source": manifest.provenance.get("source"),
    }


def _name(workspace: Workspace, digest: Digest, refs: list[str]) -> str:
    names = refs or [str(ref) for ref in workspace.registry.remote_names(digest)]
    return names[0] if names else str(digest)
