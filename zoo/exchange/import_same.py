"""Names that have the weights of an imported file already, from another file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.exchange.here_already import differing
from zoo.exchange.import_names import pointed_at
from zoo.exchange.planned import Draft, PlannedFile
from zoo.lookup.parent import relatives
from zoo.workspace import Workspace

__all__ = ["without_same"]


def without_same(
    workspace: Workspace, files: Iterable[PlannedFile], drafts: Sequence[Draft]
) -> list[PlannedFile]:
    """The files, without the names that have their weights already, from another file, and do not
    move; a file is here if it has no other name.
    """
    by_path = {draft.file.path: draft for draft in drafts}
    return [
        _without_same(workspace, file, by_path[file.path]) if file.status == "new" else file
        for file in files
    ]


def _without_same(workspace: Workspace, file: PlannedFile, draft: Draft) -> PlannedFile:
    taken: dict[Reference, Digest] = {}
    for ref in file.refs:
        entry = workspace.store.read_ref(ref)
        free = entry is None or entry.deleted or str(ref) in file.moves
        if entry and not free and not pointed_at(workspace, ref, file.sha256):
            taken[ref] = entry.manifest
    own = draft.file.manifest
    same = draft.same
    if own and {*taken.values()} - same:  # its bytes are here: nothing was compared
        alike = relatives(workspace, workspace.store.manifest(own))
        same |= {one.digest for one in alike if one.is_same}
    having = {ref: digest for ref, digest in taken.items() if digest in same}
    if not having:
        return file
    ref, digest = next(iter(having.items()))
    file = replace(file, notes=_remarks(workspace, ref, digest, own))
    if others := tuple(each for each in file.refs if each not in having):
        return replace(file, refs=others)
    return replace(file, status="here", of=str(ref), manifest=digest)


def _remarks(
    workspace: Workspace, ref: Reference, digest: Digest, own: Digest | None
) -> tuple[str, ...]:
    """What there is to say of a name whose checkpoint has the weights of a file, where ``own`` was
    made of the file itself.
    """
    here = workspace.store.manifest(digest)
    source = here.provenance.get("file")
    remark = f"{ref} has the same weights{f' from {source}' if source else ''}"
    if own is None or not (fields := differing(here, workspace.store.manifest(own))):
        return (remark,)
    return remark, f"{own.short}, of this file, differs in {', '.join(fields)}"
