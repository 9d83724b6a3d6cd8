"""Maintenance: verify, repair and prune the zoo, or a remote, and keep the index in step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from zoo.domain.progress import Progress, silent
from zoo.domain.words import not_finite
from zoo.errors import DiskFull, InvalidOption
from zoo.store import Store
from zoo.store import prune as pruning
from zoo.store.forgotten import forgotten
from zoo.store.not_finite import NOT_FINITE, keep_not_finite
from zoo.store.side_files import KINDS
from zoo.store.turn import in_turn
from zoo.store.verify import Damage, VerifyReport
from zoo.store.verify import verify as verify_store
from zoo.transfer.repair import repair as repair_store
from zoo.workspace import Workspace

__all__ = ["plan_prune", "prune", "repair", "verify"]


def plan_prune(
    workspace: Workspace, remote: str | None, *, keep_days: float, grace_days: float
) -> pruning.PrunePlan:
    """What a prune would delete (`zoo.store.prune.plan`), checkpoints by the names that they had.
    Nothing is changed.
    """
    keep, grace = _span(keep_days), _span(grace_days)
    known = workspace.index.known_entries(remote)
    store = _store(workspace, remote)
    plan = pruning.plan(store, keep=keep, grace=grace, known=known)
    return replace(plan, checkpoints=forgotten(store, plan.manifests))


def prune(
    workspace: Workspace,
    plan: pruning.PrunePlan,
    remote: str | None,
    *,
    keep_days: float,
    grace_days: float,
    progress: Progress = silent,
) -> pruning.PrunePlan:
    """Delete what ``plan`` lists and nothing needs, once nobody writes; what was deleted.

    Raises:
        Conflict: Somebody is writing for long; nothing was deleted.
    """
    # A full disk is what a prune mends: the index gets its room by that.
    full = not remote and isinstance(workspace.registry.obstacle, DiskFull)
    if not (remote or full):
        workspace.registry.check_writable()  # before anything is deleted
    keep, grace = _span(keep_days), _span(grace_days)
    store = _store(workspace, remote)

    def execute() -> pruning.PrunePlan:
        known = workspace.index.known_entries(remote)
        return pruning.execute(store, plan, keep=keep, grace=grace, known=known, progress=progress)

    done = in_turn(store, execute, progress)
    if not remote:
        if full:
            workspace.close()  # opened again, it can be written
        workspace.registry.forget(done.manifests)
        for kind in KINDS:
            kind.drop(workspace.store.disk, workspace.store.has_manifest)
    gone = tuple(each for each in plan.checkpoints if each.manifest in done.manifests)
    return replace(done, checkpoints=gone)


def verify(
    workspace: Workspace, remote: str | None, *, progress: Progress = silent
) -> VerifyReport:
    """Hash everything in the zoo, or in a remote, again (`zoo.store.verify.verify`).

    What the zoo's index lacks of it, it has afterwards; and `zoo show` knows which checkpoints have
    NaN or infinite values.
    """
    known = workspace.index.known_entries(remote)
    report = verify_store(_store(workspace, remote), known=known, progress=progress)
    if remote:
        return report
    workspace.index.catch_up()
    texts = {each.manifest: not_finite(each.tensors) for each in report.not_finite}
    keep_not_finite(workspace.own(NOT_FINITE), texts)
    unread = tuple(
        Damage(kind=kind.word, name=name, problem=problem)
        for kind in KINDS
        for name, problem in kind.unread(workspace.store.disk)
    )
    return replace(report, damages=(*report.damages, *unread))


def repair(
    workspace: Workspace, source: str | None, remote: str | None, *, progress: Progress = silent
) -> VerifyReport:
    """Mend the zoo, or ``remote``, from the remote ``source``; None: from the zoo itself.

    What the zoo's index lacks of what is whole again, it has afterwards.
    """
    store = _store(workspace, source)
    known = workspace.index.known_entries(remote)
    report = repair_store(_store(workspace, remote), store, known=known, progress=progress)
    if not remote:
        workspace.index.catch_up()
    return report


def _store(workspace: Workspace, remote: str | None) -> Store:
    return workspace.remotes.connect(remote) if remote else workspace.store


def _span(days: float) -> timedelta:
    """That many days, or as many as there can be.

    Raises:
        InvalidOption: It is not a number of days.
    """
    if not days >= 0:  # nan, too
        raise InvalidOption(f"{days} is not a number of days")
    return timedelta(days=min(days, timedelta.max.days))
