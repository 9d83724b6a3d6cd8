"""What a recipe asks of its base: seen without torch, and before all images are read."""

from __future__ import annotations

import shutil

from zoo.backbones.describe import unit_named
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.errors import DiskFull, UnknownName
from zoo.exchange.architecture import of_checkpoint
from zoo.workspace import Workspace

__all__ = ["check_base", "teacher_of"]


def teacher_of(workspace: Workspace, name: str) -> Digest:
    """The checkpoint that a recipe names as its teacher.

    Raises:
        UnknownName: It is not here; of a pulled fine-tune it need not be.
    """
    try:
        return workspace.names.resolve(name)[1]
    except UnknownName as error:
        hint = "pull it, or train without one"
        raise UnknownName("teacher", name, error.near, hint) from None


def check_base(workspace: Workspace, base: Manifest, recipe: Recipe) -> None:
    """Look for space, and for the units that the recipe names.

    Raises:
        DiskFull: There is none.
        InvalidFreeze, UnknownName: No such unit.
    """
    # Before hours of training rather than after: the result, and the file it is stored from.
    if shutil.disk_usage(workspace.root).free < 2 * base.logical_bytes:
        raise DiskFull(workspace.root)
    # The base's own: a new head or image size changes no unit.
    hierarchy = of_checkpoint(workspace.registry, base)
    for phase in recipe.plan():
        hierarchy.boundary(phase.freeze)
    for name in recipe.units:
        if recipe.at != "head" and recipe.strategy in ADAPTERS:
            hierarchy.find(name)
        elif name not in ("all", "auto", "head"):
            unit_named(hierarchy, name, also=("head", "auto"))
