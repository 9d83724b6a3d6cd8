"""Several depths together: the units whose features a probe takes beside each other.

Early units know edges and textures, late ones the classes of the pretraining; what an image set
needs may lie between them (Evci et al., "Head2Toe", ICML 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor, nn

from zoo.backbones.features import features_at
from zoo.backbones.taps import HEAD, Tap, find_taps
from zoo.domain.hierarchy import Hierarchy
from zoo.finetune.features.loaders import image_loaders
from zoo.finetune.setup.prepare import PreparedRun, truncated, with_recipe

__all__ = ["alike", "at_units", "depths", "distinct", "only_zoo_loads", "stage_taps", "with_units"]

QUARTERS = 4


def at_units(prepared: PreparedRun) -> PreparedRun:
    """The network ended at the units that the recipe names; raises as `truncated`."""
    prepared = with_units(prepared)  # an earlier version recorded ``all``
    return truncated(prepared, prepared.recipe.units)


def only_zoo_loads(prepared: PreparedRun) -> str:
    """What to know before a network is made that its own library does not load; else empty."""
    recipe, library = prepared.recipe, prepared.known.backbone.plugin
    if recipe.strategy != "probe" or recipe.units == (HEAD,):
        return ""
    several = "has its head on several depths" if recipe.at != "auto" else "may end early"
    ends = "ends there" if len(recipe.units) == 1 and recipe.at not in ("auto", "all") else several
    return (
        f"--at {recipe.at}: the network {ends}; zoo loads that, {library} does not. --at head "
        "keeps the whole network"
    )


def with_units(prepared: PreparedRun) -> PreparedRun:
    """With the units that ``at`` stands for, if it is ``all``: features are found alike to within
    rounding, which hangs on the device and the batch, and a rerun must take the same.
    """
    if prepared.recipe.at != "all":
        return prepared
    units = prepared.ranks.on_main(lambda: _all(prepared))
    return with_recipe(prepared, replace(prepared.recipe, at=",".join(units)))


def depths(hierarchy: Hierarchy) -> list[str]:
    """The last unit of each stage. Where one stage has most of the units, as the blocks of a
    transformer, also those at its quarters.
    """
    cuts: list[str] = []
    for _, units in groupby(hierarchy.units, lambda unit: unit.stage):
        names = [unit.name for unit in units]
        parts = QUARTERS if 2 * len(names) > len(hierarchy.units) else 1
        ends = [len(names) * part // parts - 1 for part in range(1, parts + 1)]
        cuts += [names[end] for end in ends if end >= 0]
    return list(dict.fromkeys(cuts))


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether features are the same but for rounding, as often behind the last unit and before the
    head.
    """
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def stage_taps(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> tuple[Tap, ...]:
    """The taps of `depths`, as far as there are features, and before the head; ``images`` as for
    `zoo.backbones.taps.find_taps`.
    """
    asked = {*depths(hierarchy), HEAD}
    return tuple(tap for tap in find_taps(module, hierarchy, images) if tap.unit in asked)


def distinct(features: Sequence[Tensor]) -> list[int]:
    """Which features (N, F) no later ones repeat."""
    return [
        at
        for at, one in enumerate(features)
        if not any(alike(one, later) for later in features[at + 1 :])
    ]


def _all(prepared: PreparedRun) -> tuple[str, ...]:
    images = next(image_loaders(prepared).plain.whole()).inputs
    taps = stage_taps(prepared.model, prepared.hierarchy, images)
    return tuple(taps[at].unit for at in distinct(features_at(prepared.model, taps, images)))
