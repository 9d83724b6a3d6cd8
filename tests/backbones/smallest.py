"""timm's classes as their smallest architecture, at the smallest images that it takes."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Preprocessing
from zoo.domain.surgery import AS_IT_IS, BuildOptions
from zoo.errors import Unsupported
from zoo_timm.backbone import TimmBackbone

CLASSES: dict[str, str] = json.loads(Path(__file__).with_name("classes.json").read_text())[
    "smallest"
]
SIZES = (64, 56, 96, 112, 128, 160, 192, 224)
RATES = ("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
BROKEN = {("tnt_s_legacy_patch16_224", "attn_drop_rate")}
"""timm cannot train these: TNT drops values in place that the gradient of its softmax needs."""


class SmallImages(TimmBackbone):
    """Networks for images of ``size``, whose every dropout and drop-path is switched on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def build(self, architecture: str, given: BuildOptions = AS_IT_IS) -> nn.Module:
        if given.image_size or given.channels:
            size = given.image_size or (self.size, self.size)
            return super().build(architecture, replace(given, image_size=size))
        with torch.device("meta"):
            super().build(architecture, given)  # says what is wrong
        options: dict[str, Any] = dict.fromkeys(rates(architecture), 0.2)
        if takes(architecture, img_size=self.size):
            options["img_size"] = self.size
        if given.num_classes is not None:
            options["num_classes"] = given.num_classes
        module = timm.create_model(architecture, **options)
        module.small = True  # type: ignore[assignment]
        return module

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        native = super().preprocessing(module)
        if getattr(module, "small", False):
            return replace(native, input_size=(native.input_size[0], self.size, self.size))
        return native


@lru_cache
def rates(architecture: str) -> tuple[str, ...]:
    """Names of the options that switch on something random."""
    usable = (name for name in RATES if (architecture, name) not in BROKEN)
    return tuple(name for name in usable if takes(architecture, **{name: 0.2}))


def takes(architecture: str, **options: Any) -> bool:
    """Whether the option is known. Signatures do not tell: many classes hand on ``**kwargs``."""
    try:
        with torch.device("meta"):
            timm.create_model(architecture, **options)
    except TypeError:
        return False
    return True


def smallest(architecture: str) -> SmallImages:
    """With the smallest size at which the network can be trained on two images, and has the units
    and cuts that it has at its native size.
    """
    native = TimmBackbone()
    with torch.device("meta"):
        module = native.build(architecture)
    largest = native.preprocessing(module).input_size[1]
    units = structure(native.hierarchy(architecture, module))
    for size in (*(size for size in SIZES if size < largest), largest):
        backbone = SmallImages(size)
        # Each class refuses what does not fit in a way of its own.
        with suppress(AssertionError, RuntimeError, ValueError, Unsupported), torch.device("meta"):
            module = backbone.build(architecture)
            found = structure(backbone.hierarchy(architecture, module))
            module.train()(torch.zeros(2, *backbone.preprocessing(module).input_size))
            if found == units:
                return backbone
    raise AssertionError(f"{architecture} is another network when values are dropped")


def structure(hierarchy: Hierarchy) -> object:
    """The hierarchy without shapes, and without modules: drop-path may be one of its own."""
    return [
        (unit.name, unit.stage, unit.parameters, unit.buffers, unit.cut) for unit in hierarchy.units
    ], (hierarchy.head.parameters, hierarchy.head.buffers)
