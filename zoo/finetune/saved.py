"""Saved: what the name of a result holds, which is told before hours of training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.dataset.dataset import Dataset
from zoo.transfer.changes import change_from, check_change
from zoo.workspace import Workspace

__all__ = ["NameMove", "check_saved"]


@dataclass(frozen=True, slots=True)
class NameMove:
    """That a name will move from a checkpoint: from which, and what differs."""

    ref: Reference
    before: Digest
    change: Change | None

    def __str__(self) -> str:
        lines = (f"{self.ref} is {self.before.short} now, and moves when this is done",)
        return "; ".join((*lines, *(self.change.lines if self.change else ())))


def check_saved(
    workspace: Workspace,
    save: Reference,
    base: Manifest,
    recipe: Recipe,
    dataset: Dataset,
    *,
    force: bool,
) -> NameMove | None:
    """See that the name ``save`` may become that of what is trained on ``dataset``, by ``force`` of
    anything; what it moves from, if it is here.

    Raises:
        OtherClasses: What it holds has no class in common with it, or another task.
    """
    after = replace(
        base,
        classes=dataset.classes,
        recipe={"task": dataset.task, "data": recipe.data},
        provenance={"data_digest": dataset.digest},
    )
    newest = workspace.store.read_ref(save)
    if newest is None or newest.deleted:
        return None
    if not force:
        check_change(workspace.store, newest, save, after, "finetune")
    return NameMove(save, newest.manifest, change_from(workspace.store, newest.manifest, after))
