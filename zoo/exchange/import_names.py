"""Names of what an import of a folder makes: one for a run, with a tag for each moment of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Backbone
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidReference, ZooError
from zoo.exchange import run_names as names
from zoo.exchange.planned import Draft, PlannedFile
from zoo.exchange.run_head import head_of
from zoo.lookup.identify import hashes_of
from zoo.workspace import Check, Workspace

__all__ = ["IMPORT", "name_check", "pointed_at", "with_moves", "with_names", "without_clashes"]

IMPORT = "import"
"""What a ref log says of a name that an import gave."""


def with_names(drafts: Sequence[Draft], pattern: str, root: Path) -> Iterator[PlannedFile]:
    """The files of ``drafts``, with the names that they get; ``bad`` where these cannot be."""
    runs: dict[tuple[PurePath, str], list[Draft]] = defaultdict(list)
    inside: dict[PurePath, set[str]] = defaultdict(set)
    for draft in drafts:
        folder, base = draft.walked.run
        inside[folder].add(base)
        if draft.file.status == "bad":
            yield draft.file
        else:
            runs[draft.walked.run].append(draft)
    for members in runs.values():
        try:
            shared = len(inside[members[0].walked.run[0]]) > 1
            yield from _of_run(members, pattern, root, shared=shared)
        except InvalidReference as error:
            for draft in members:
                yield replace(draft.file, status="bad", problem=str(error))


def with_moves(
    workspace: Workspace, files: Sequence[PlannedFile], pattern: str, *, force: bool
) -> Iterator[PlannedFile]:
    """The files, with the names that they take from other checkpoints here: with ``force`` any,
    else those of runs that have grown since they were imported, where an import gave them last.
    What somebody tagged since, or pulled, stays.
    """
    grown = set() if names.is_exact(pattern) else _grown(workspace, files)
    for file in files:
        replaced = {}
        for ref in file.refs:
            entry = workspace.store.read_ref(ref)
            taken = entry and not entry.deleted and not pointed_at(workspace, ref, file.sha256)
            if entry and taken and (force or (ref.path in grown and entry.why == IMPORT)):
                replaced[str(ref)] = entry.manifest
        yield replace(file, moves=replaced)


def _grown(workspace: Workspace, files: Iterable[PlannedFile]) -> set[str]:
    """The names of runs that are here, told by their bytes: a name, or a tag of it, is that of a
    checkpoint that was made of one of the files that would get this name, or a tag of it.
    """
    hashes: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for ref in file.refs:
            hashes[ref.path].add(file.sha256)
    here = [(ref.path, digest) for ref, digest, _ in workspace.registry.refs()]
    return {
        path
        for path, digest in here
        if path in hashes and hashes[path] & _hashes_here(workspace, digest)
    }


def _hashes_here(workspace: Workspace, digest: Digest) -> set[str]:
    try:
        return hashes_of(workspace.store.manifest(digest))
    except (ZooError, OSError):  # verify tells
        return set()


def without_clashes(workspace: Workspace, files: Sequence[PlannedFile]) -> Iterator[PlannedFile]:
    """The files; ``bad`` where a name would be several checkpoints', or is another's here and does
    not move.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for ref in file.refs if file.status == "new" else ():
            wanted[str(ref).lower()].add(file.sha256)

    def problem(file: PlannedFile) -> str:
        for ref in file.refs:
            if len(wanted[str(ref).lower()]) > 1:
                apart = f"{ref.namespace}/{{folder}}-{{stem}}"
                return f"one of several that would be {ref}: rename it, or take --as '{apart}'"
            if taken := _why_taken(workspace, ref, file.sha256, file.moves.get(str(ref))):
                return f"{taken} (--force moves it)" if "is here already" in taken else taken
        return ""

    for file in files:
        reason = problem(file) if file.status == "new" else ""
        yield replace(file, status="bad", refs=(), moves={}, problem=reason) if reason else file


def name_check(
    workspace: Workspace,
    ref: Reference,
    network: Backbone | None,
    *,
    sha256: str,
    replaces: Digest | None,
) -> Check:
    """What raises `Conflict` where a name must not move: between a plan and its import a user is
    asked, and others work on.

    Args:
        workspace: The zoo.
        ref: The name.
        network: That of the checkpoint which gets it; None: the user forces any.
        sha256: Of the file that a plan gave it to, in hex; empty if there is no plan.
        replaces: The checkpoint that the plan takes it from.
    """

    def check(_: RefEntry | None) -> None:
        workspace.names.check_free(ref)
        if sha256 and (problem := _why_taken(workspace, ref, sha256, replaces)):
            raise Conflict(f"{problem}, since the import was planned")
        if network:
            workspace.names.check_network(ref, network)

    return check


def pointed_at(workspace: Workspace, ref: Reference, sha256: str) -> Digest | None:
    """The checkpoint that a name points at, if it was made of a file with that hash."""
    entry = workspace.store.read_ref(ref)
    if entry is None or entry.deleted:
        return None
    try:
        manifest = workspace.store.manifest(entry.manifest)
    except (ZooError, OSError):
        return None
    return entry.manifest if sha256 in hashes_of(manifest) else None


def _why_taken(workspace: Workspace, ref: Reference, sha256: str, replaces: Digest | None) -> str:
    """Why a name cannot be given to what was made of the file of that hash; empty if it can."""
    if pointed_at(workspace, ref, sha256):
        return ""
    entry = workspace.store.read_ref(ref)
    if entry and not entry.deleted and entry.manifest != replaces:
        return f"{ref} is here already, with other weights"
    try:
        workspace.names.check_free(ref)
    except (Conflict, InvalidReference) as error:
        return str(error)
    return ""


def _of_run(
    members: Sequence[Draft], pattern: str, root: Path, *, shared: bool
) -> Iterator[PlannedFile]:
    """With ``shared``, files of others are in the folder, too: one alone is not called after it,
    unless a script has written it.
    """
    run, base = members[0].walked.run
    first = members[0]
    lone = len(members) == 1 and (base or (shared and not first.file.script))
    stem = names.stem_of(first.walked.below) if lone else base or names.run_name(run, root)
    outer = [part for part in run.parts if part not in names.INNER]
    folder = "-".join(outer) or names.root_name(root)
    if names.is_exact(pattern):
        for draft in members:
            values = {"stem": stem, "folder": folder, "epoch": _epoch(draft)}
            yield replace(draft.file, refs=(names.filled(pattern, values),))
        return
    ref = names.filled(pattern, {"stem": stem, "folder": folder})
    head, chosen = head_of(members) if len(members) > 1 else (first, "")
    tags = {id(draft): _tag(draft) for draft in members}
    for draft in members:
        tag = tags[id(draft)]
        alike = [each for each in members if tags[id(each)] == tag]
        if len({each.file.sha256 for each in alike}) > 1:
            tag = names.safe_part(names.stem_of(draft.walked.below))
        numbered = draft.walked.moment is not None and bool(draft.walked.moment.tag)
        refs = [ref] if draft is head else []
        if draft is not head or numbered:
            refs.append(names.tagged(ref, tag))
        yield replace(draft.file, refs=tuple(refs), chosen=chosen if draft is head else "")


def _tag(draft: Draft) -> str:
    moment = draft.walked.moment
    if moment is None and draft.walked.path.is_dir():
        return "final"  # what a script writes into the run's own folder when it is done
    return (moment and (moment.tag or moment.role)) or names.stem_of(draft.walked.below)


def _epoch(draft: Draft) -> str:
    """What ``{epoch}`` stands for: its number, else that of its steps, else what it is called."""
    file = draft.file
    number = file.epoch if file.epoch is not None else file.step
    return str(number) if number is not None else _tag(draft)
