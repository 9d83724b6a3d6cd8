"""A model zoo and checkpoint registry for people who fine-tune vision models.

    import zoo

    with zoo.open() as z:                       # the zoo of this folder, as `zoo` finds it
        z.pull("timm/tf_efficientnet_lite0.in1k")
        run = z.finetune("timm/tf_efficientnet_lite0.in1k", "flowers/", "team/flowers",
                         freeze="blocks.4")
        z.push("team/flowers", to="/mnt/team/zoo")
        model = z.load("team/flowers")          # an nn.Module in eval mode
        model.zoo.classes, model.zoo.preprocess(image)

Importing this package imports nothing heavy: names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.domain.digest import Digest
    from zoo.domain.hierarchy import Hierarchy
    from zoo.domain.manifest import Manifest
    from zoo.domain.progress import Progress
    from zoo.domain.recipe import Recipe
    from zoo.domain.reference import Reference
    from zoo.errors import ZooError
    from zoo.facade import Zoo

    open = Zoo.open  # noqa: A001 - reads as zoo.open()
    init = Zoo.init
    clone = Zoo.clone

# Without ``open``: ``from zoo import *`` is not to take Python's own away.
__all__ = [
    "Digest",
    "Hierarchy",
    "Manifest",
    "Progress",
    "Recipe",
    "Reference",
    "Zoo",
    "ZooError",
    "clone",
    "init",
]

_HOMES = {
    "Digest": "zoo.domain.digest",
    "Hierarchy": "zoo.domain.hierarchy",
    "Manifest": "zoo.domain.manifest",
    "Progress": "zoo.domain.progress",
    "Recipe": "zoo.domain.recipe",
    "Reference": "zoo.domain.reference",
    "Zoo": "zoo.facade",
    "ZooError": "zoo.errors",
}


def __dir__() -> list[str]:
    return [*__all__, "open"]


def __getattr__(name: str) -> object:
    if name in ("clone", "init", "open"):
        return getattr(import_module("zoo.facade").Zoo, name)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute '{name}'")
