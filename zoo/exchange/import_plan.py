"""Plan the import of a folder: what its files are, how they will be called, what is here already.

Nothing is changed. Every file is read once, and none stays open.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.import_options import AUTO
from zoo.domain.limits import IMPORT_FILES
from zoo.domain.manifest import Backbone, Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, MissingPackage, ZooError
from zoo.exchange import run_names as names
from zoo.exchange.file_record import measured, when_saved
from zoo.exchange.file_sketch import nearest_architecture
from zoo.exchange.here_already import recorded, stated
from zoo.exchange.identifying import read_tensors
from zoo.exchange.import_fit import Fits
from zoo.exchange.import_names import pointed_at, with_moves, with_names, without_clashes
from zoo.exchange.import_parents import Parents
from zoo.exchange.import_same import without_same
from zoo.exchange.import_walk import weights_below
from zoo.exchange.infer_architecture import (
    DEFAULT,
    architecture_by_shapes,
    fitting,
    lacks_head,
    stated_architecture,
    stated_elsewhere,
    with_backbone,
)
from zoo.exchange.layouts import PublishedLayout, read_layouts
from zoo.exchange.origin import stamp
from zoo.exchange.planned import Draft, ImportPlan, PlannedFile, PlannedParent, Status, WalkedFile
from zoo.exchange.run_records import RunRecord, read_record
from zoo.exchange.survey import Surveyed, problem_of, resembling, survey
from zoo.lookup.identify import Candidate, hashes_of, named
from zoo.lookup.parent import LEAST
from zoo.store.tensor_keys import object_key
from zoo.workspace import Workspace

__all__ = ["plan_import"]

AT_ONCE = 4
"""Files that are hashed at once, at most."""


def plan_import(
    workspace: Workspace,
    folder: Path,
    pattern: str,
    *,
    architecture: str | None = None,
    backbone: str | None = None,
    parent: str | None = None,
    image_size: tuple[int, int] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> ImportPlan:
    """Plan to import all weights below ``folder`` under names after ``pattern``.

    Args:
        workspace: The zoo.
        folder: The folder.
        pattern: A reference with ``{stem}``, ``{folder}`` or ``{epoch}``.
        architecture: What network those files are that do not say it.
        backbone: Plugin of the architectures; None: timm, or the one other that has what a file
            says it is.
        parent: The checkpoint here that all derive from; ``auto``: it is looked for.
        image_size: Height and width that the networks are built for.
        force: Take names from other checkpoints here, of whatever architecture.
        progress: Told of each file that was read.

    Raises:
        InvalidOption: The pattern or the folder cannot be, or it has no weights.
        UnknownName: The parent is not here.
    """
    names.check_pattern(pattern)
    architecture, backbone = with_backbone(architecture, backbone)
    stated = _stated(workspace, parent)
    if not folder.is_dir():
        raise InvalidOption(f"{folder}: {'no such folder' if not folder.exists() else 'a file'}")
    left_out: dict[str, str] = {}
    walked = list(weights_below(folder, left_out))
    if not walked and not left_out:
        raise InvalidOption(f"{folder} has no files of weights ({', '.join(names.SUFFIXES)})")
    known, sharing = _known(workspace, pattern), _Sharing(workspace)
    fits = Fits(workspace, {"image_size": image_size})
    context = _Context(workspace, folder, known, backbone, architecture, fits)
    drafts = _drafts(context, walked, sharing, progress)
    unfit = {draft.file.path: draft.unfit for draft in drafts}
    named_files = sorted(with_names(drafts, pattern, folder), key=_order)
    files = _without_twins(workspace, named_files, unfit)
    files = list(with_moves(workspace, _with_alike(files, drafts), pattern, force=force))
    files = without_same(workspace, files, drafts)
    files = list(without_clashes(workspace, files))
    if parent == AUTO:
        files = _with_parents(workspace, files, drafts)
    elif stated:
        files = [replace(file, parent=stated) for file in files]
    files = [_compared(workspace, file) for file in files]
    return ImportPlan(
        folder=folder,
        files=tuple(files),
        left_out=left_out,
        weights_bytes=sharing.weights,
        shared_bytes=sharing.shared,
        parent=parent or "",
    )


def _stated(workspace: Workspace, parent: str | None) -> PlannedParent | None:
    if parent in (None, AUTO):
        return None
    ref, digest = workspace.names.resolve(str(parent))
    return PlannedParent(ref=str(ref or parent), how="stated", manifest=digest)


def _drafts(
    context: _Context, walked: Sequence[WalkedFile], sharing: _Sharing, progress: Progress
) -> list[Draft]:
    """What each file is; those that are new are counted in ``sharing``."""
    drafts = []
    size = float(sum(each.weights.stat().st_size for each in walked))
    with progress("reading", size, "B") as task:
        for each, surveyed in zip(walked, _surveyed(walked), strict=True):
            drafts.append(_draft(context, each, surveyed))
            if drafts[-1].file.status == "new":
                sharing.count(surveyed)
            task.advance(surveyed.size, note=each.path.name)
    return drafts


def _surveyed(walked: Sequence[WalkedFile]) -> Iterator[Surveyed]:
    """Each file, read once; what goes by several names is not read again."""
    inodes = [stamp(each.weights)[:2] for each in walked]
    left, first = Counter(inodes), dict[tuple[int, ...], Path]()
    for each, inode in zip(walked, inodes, strict=True):
        first.setdefault(inode, each.weights)
    known: dict[tuple[int, ...], Surveyed] = {}
    with closing(_ahead(list(first.values()))) as reading:
        for each, inode in zip(walked, inodes, strict=True):
            if inode not in known:
                known[inode] = next(reading)
            left[inode] -= 1
            surveyed = known[inode] if left[inode] else known.pop(inode)
            yield replace(surveyed, path=each.weights)


def _ahead(paths: Sequence[Path]) -> Generator[Surveyed, None, None]:
    """Each file in order; a few are read before they are asked for, and no more are kept."""
    at_once = min(AT_ONCE, os.cpu_count() or 1)
    waiting: deque[Future[Surveyed]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        for path in paths:
            waiting.append(pool.submit(survey, path))
            if len(waiting) > 2 * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Here(NamedTuple):
    """A checkpoint here, by a name of it."""

    ref: Reference
    digest: Digest
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Context:
    """What a plan is made for: the names that are here already are ``known``, by the hash of the
    file that each was made of.
    """

    workspace: Workspace
    root: Path
    known: Mapping[str, _Here]
    backbone: str | None
    architecture: str | None
    fits: Fits


def _known(workspace: Workspace, pattern: str) -> dict[str, _Here]:
    """The checkpoints in the namespace of a pattern, by the hashes of the files that they were made
    of: who imports a folder again need not compare what is in.
    """
    namespace = pattern.partition("/")[0]
    known: dict[str, _Here] = {}
    refs = [each for each in workspace.registry.refs() if each[0].namespace == namespace]
    for ref, digest, _ in refs[:IMPORT_FILES]:
        try:
            here = _Here(ref, digest, workspace.store.manifest(digest))
        except (ZooError, OSError):  # verify tells
            continue
        for sha256 in hashes_of(here.manifest):
            if sha256 not in known or _worth(here.manifest) > _worth(known[sha256].manifest):
                known[sha256] = here
    return known


def _worth(manifest: Manifest) -> tuple[bool, tuple[bool, bool]]:
    """Which of several checkpoints of the same bytes a file is: the greatest."""
    return not stated(manifest), recorded(manifest)


def _draft(context: _Context, walked: WalkedFile, surveyed: Surveyed) -> Draft:
    """What a file is, as far as it and what lies beside it tell; without names."""
    run, base = walked.run
    record = _record(context.root, walked)
    epoch, step = when_saved(walked.moment, surveyed)
    planned = PlannedFile(
        path=walked.path,
        run="/".join([*run.parts, *filter(None, [base])]) or names.root_name(context.root),
        size=surveyed.size,
        sha256=surveyed.sha256,
        unchanged=surveyed.unchanged,
        nan_tensors=surveyed.nan_tensors,
        script=surveyed.script or record.script,
        key=surveyed.key,
        backbone=context.backbone or DEFAULT,
        epoch=epoch,
        step=step,
        problem=surveyed.problem,
        status="bad" if surveyed.problem else "new",
    )
    alike: list[Candidate] = []
    unfit = ""
    if not surveyed.problem:
        planned, alike = _resembling(context, planned, surveyed)
        planned, unfit = _with_network(context, walked, planned, surveyed, record)
    own = walked.weights if walked.path.is_dir() else walked.path  # a link has a name of its own
    metrics, by = measured(own, planned.architecture, surveyed, record)
    planned = replace(planned, metrics=metrics, metrics_by=by)
    return Draft(
        walked,
        planned,
        surveyed.best or record.best,
        shares={one.digest: one.match.share for one in alike if not one.is_same},
        same=frozenset(one.digest for one in alike if one.is_same)
        | frozenset([planned.manifest] if planned.manifest else []),
        weights=surveyed.content,
        unfit=unfit,
    )


def _with_network(
    context: _Context,
    walked: WalkedFile,
    planned: PlannedFile,
    surveyed: Surveyed,
    record: RunRecord,
) -> tuple[PlannedFile, str]:
    """A file with its network, and why that does not fit it, if so."""
    if walked.layout:
        planned = _of_folder(planned, walked.layout)
    else:
        planned = _of_network(context, planned, surveyed, record)
        lacks = lacks_head(planned.backbone, planned.architecture, surveyed.shapes)
        planned = replace(planned, headless=lacks)
    return _fitting(context, walked.path, planned, surveyed)


def _fitting(
    context: _Context, path: Path, planned: PlannedFile, surveyed: Surveyed
) -> tuple[PlannedFile, str]:
    """With whether it can be imported; or, where its bytes are here, why it could not be imported
    as another checkpoint.
    """
    here = planned.manifest and context.workspace.store.manifest(planned.manifest)
    if planned.status != "new" or (here and not stated(here)):
        return planned, ""
    unfit, prefix = context.fits.look(path, planned, surveyed)
    if here:
        return planned, unfit
    status: Status = "bad" if unfit else "new"
    return replace(planned, status=status, problem=unfit, stripped=prefix), ""


def _record(root: Path, walked: WalkedFile) -> RunRecord:
    """What is written down in the folder of a file, and in that of its run."""
    folder = root / walked.below
    near = [folder] if walked.path.is_dir() else []
    near += [folder.parent, root / walked.run[0]] if walked.below.parts else []
    return read_record(*dict.fromkeys(near))


def _resembling(
    context: _Context, planned: PlannedFile, surveyed: Surveyed
) -> tuple[PlannedFile, list[Candidate]]:
    """With what `zoo identify` says of it; and the checkpoints here that share tensors with it."""
    if here := context.known.get(surveyed.sha256):
        return replace(
            planned,
            verdict="same",
            of=str(here.ref),
            share=1.0,
            manifest=here.digest,
            backbone=here.manifest.backbone.plugin,
            architecture=here.manifest.backbone.architecture,
            custom=here.manifest.backbone.custom,
            architecture_by=f"{here.ref}, which it is",
        ), []
    try:
        alike = resembling(context.workspace, surveyed)
    except (ZooError, OSError):  # what is damaged here is for verify to tell
        return planned, []
    if not alike:
        return planned, []
    best, share = alike[0], alike[0].match.share
    name, _ = named(context.workspace, best.digest)
    planned = replace(planned, verdict=best.match.verdict, of=name, share=share)
    same = [one for one in alike if surveyed.sha256 in hashes_of(one.manifest)]
    if same:
        most = max(same, key=lambda one: _worth(one.manifest))
        name, _ = named(context.workspace, most.digest)
        planned = replace(planned, verdict="same", of=name, share=1.0, manifest=most.digest)
    backbone = best.manifest.backbone
    if share < LEAST or backbone.plugin != planned.backbone:
        return planned, alike
    by = f"{name}, which it resembles"
    return replace(planned, architecture=backbone.architecture, architecture_by=by), alike


def _of_folder(planned: PlannedFile, layout: PublishedLayout) -> PlannedFile:
    """With the network that the files of a folder say that it is."""
    network, options = layout.network, layout.network.surgery.to_options()
    plain = Backbone(plugin=layout.plugin, architecture=network.architecture, options=options)
    backbone = layout.whole.backbone if layout.whole else plain
    return replace(
        planned,
        backbone=backbone.plugin,
        architecture=backbone.architecture,
        architecture_by="its folder",
        custom=backbone.custom,
    )


def _of_network(
    context: _Context, planned: PlannedFile, surveyed: Surveyed, record: RunRecord
) -> PlannedFile:
    """With the architecture, by the best source; what resembles one here counts least."""
    name, source = stated_architecture(planned.backbone, surveyed, record)
    if name:
        return replace(planned, architecture=name, architecture_by=source)
    if stated := context.architecture:
        return replace(planned, architecture=stated, architecture_by="the options")
    if planned.manifest:
        return planned
    if context.backbone is None:
        plugin, name, source = stated_elsewhere(planned.backbone, surveyed)
        if plugin:
            return replace(planned, backbone=plugin, architecture=name, architecture_by=source)
    fits = dict[str, list[str]]()
    try:
        fits = fitting(planned.backbone, surveyed.shapes)
        name, source = architecture_by_shapes(
            planned.backbone, surveyed.path, fits, surveyed, record
        )
    except ZooError as error:
        if planned.architecture:
            return planned
        name, source = _nearest(context.workspace, planned.backbone, surveyed.path, fits)
        if name:
            return replace(planned, architecture=name, architecture_by=source)
        missing = _missing_package(surveyed.path)
        problem = f"{missing}: {missing.advice}" if missing else problem_of(error)
        return replace(planned, status="bad", problem=problem)
    return replace(planned, architecture=name, architecture_by=source)


def _nearest(
    workspace: Workspace, plugin: str, path: Path, fits: Mapping[str, Sequence[str]]
) -> tuple[str, str]:
    """The architecture of the checkpoint here that a file is nearest to, and who says so."""
    if not fits:
        return "", ""
    try:
        tensors, _ = read_tensors(path)
    except ZooError:  # it has changed meanwhile
        return "", ""
    return nearest_architecture(workspace, plugin, fits, tensors)


def _missing_package(path: Path) -> MissingPackage | None:
    """What must be installed before the files beside weights can say what network they are."""
    try:
        read_layouts(path.parent, [path.parent.name], ())
    except MissingPackage as error:
        return error
    except ZooError:  # they say nothing
        return None
    return None


def _without_twins(
    workspace: Workspace, files: Iterable[PlannedFile], unfit: Mapping[Path, str]
) -> list[PlannedFile]:
    """With who has the same bytes, and which are here under their names already. A checkpoint of
    these bytes of which people stated something is that of a file under its own names alone: else
    it is imported for itself, if nothing of ``unfit`` says why it cannot be.
    """
    first: dict[str, Path] = {}
    done, files = [], list(files)
    own: dict[str, tuple[Reference, Digest]] = {}
    for file in files:
        for ref in file.refs:
            if digest := pointed_at(workspace, ref, file.sha256):
                own.setdefault(file.sha256, (ref, digest))
    for file in files:
        if file.status == "new":
            twin = first.setdefault(file.sha256, file.path)
            manifests = {pointed_at(workspace, ref, file.sha256) for ref in file.refs}
            here = len(manifests) == 1 and None not in manifests
            if file.sha256 in own:
                ref, digest = own[file.sha256]
                file = replace(file, of=str(ref), manifest=digest)
            elif file.manifest and stated(workspace.store.manifest(file.manifest)):
                file = replace(file, manifest=None, problem=unfit[file.path])
            file = replace(
                file,
                duplicate_of=twin if twin != file.path else None,
                status="bad" if file.problem else "here" if here else "new",
                manifest=manifests.pop() if here else file.manifest,
            )
        done.append(file)
    return done


def _with_alike(files: Iterable[PlannedFile], drafts: Sequence[Draft]) -> list[PlannedFile]:
    """With the first file of each that has the same weights, in other bytes."""
    weights = {draft.file.path: draft.weights for draft in drafts if draft.file.status != "bad"}
    first: dict[str, PlannedFile] = {}
    done = []
    for file in files:
        if file.path in weights:
            before = first.setdefault(weights[file.path], file)
            file = replace(file, alike=before.path if before.sha256 != file.sha256 else None)
        done.append(file)
    return done


def _with_parents(
    workspace: Workspace, files: Sequence[PlannedFile], drafts: Sequence[Draft]
) -> list[PlannedFile]:
    """With the parents that are found; what has the same bytes has the same one."""
    search = Parents(workspace, files, {draft.file.path: draft for draft in drafts})
    parents = {file.sha256: search.find(file) for file in files if not file.duplicate_of}
    return [replace(file, parent=parents.get(file.sha256)) for file in files]


def _compared(workspace: Workspace, file: PlannedFile) -> PlannedFile:
    """With what it tells that the checkpoint here with its bytes does not have."""
    if file.manifest is None or file.status == "bad":
        return file
    try:
        manifest = workspace.store.manifest(file.manifest)
    except (ZooError, OSError):  # the import tells
        return file
    if file.sha256 not in hashes_of(manifest):
        return file
    adds = ["metrics"] if file.metrics and not manifest.metrics else []
    adds += ["parent"] if file.parent and not manifest.parents else []
    other = bool(file.metrics and manifest.metrics) and dict(file.metrics) != manifest.metrics
    return replace(
        file,
        status="new" if adds else file.status,
        adds=tuple(adds),
        keeps=("metrics",) if other else (),
    )


def _order(file: PlannedFile) -> tuple[str, float, float, str]:
    """Run by run, and the earliest first, so that what comes later finds it."""
    late = float("inf")
    epoch = late if file.epoch is None else file.epoch
    return file.run, epoch, late if file.step is None else file.step, str(file.path)


class _Sharing:
    """Counts bytes of weights, and which of them are in the zoo or in a file before."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store
        self._seen: set[int] = set()
        self.weights = self.shared = 0

    def count(self, surveyed: Surveyed) -> None:
        """Count a file in."""
        self.weights += surveyed.weights
        new = {digest for digest in surveyed.large if object_key(digest) not in self._seen}
        new &= self._store.missing("objects", new)
        self.shared += sum(size for digest, size in surveyed.large.items() if digest not in new)
        self._seen |= set(map(object_key, new))
