"""torchvision's classification networks, and what its weights enums say of their weights.

A fresh network, its preprocessing and its class names follow from an architecture and a tag: the
name of a member of the weights enum, as torchvision spells it (``IMAGENET1K_V1``).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torchvision import models
from torchvision.models import WeightsEnum

from zoo.domain.manifest import Preprocessing
from zoo.domain.network import Config
from zoo.errors import UnknownName

__all__ = [
    "Network",
    "classes",
    "license_of",
    "network",
    "networks",
    "pinned",
    "preprocessing",
    "resize_size",
]

PUBLISHED: Mapping[str, Config] = {
    # The weights were trained on inputs of another scale, to which these two convert by
    # themselves if told to, and their files hold the auxiliary heads. Initial weights are
    # PyTorch's: torchvision's own take seconds, and a warning wants them chosen.
    "googlenet": {"aux_logits": True, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "transform_input": True, "init_weights": False},
}
"""Options that make a builder's network the one that its published weights belong to."""

HASH = re.compile(r"-([0-9a-f]{8,})\.pth")


@dataclass(frozen=True, slots=True)
class Network:
    """One architecture.

    Attributes:
        name: Its name here: torchvision's, and the image size where that decides shapes and is not
            the builder's own (``vit_b_16_384``).
        builder: Its name in torchvision.
        options: Arguments for the builder.
        weights: Published weights, torchvision's default first.
    """

    name: str
    builder: str
    options: Config
    weights: tuple[WeightsEnum, ...]

    def tagged(self, tag: str | None) -> WeightsEnum:
        """The weights of that tag; the default for None."""
        if tag is None:
            return self.weights[0]
        for weights in self.weights:
            if weights.name == tag:
                return weights
        known = [f"{self.name}.{weights.name}" for weights in self.weights]
        raise UnknownName("pretrained tag", f"{self.name}.{tag}", known)


@cache
def networks() -> Mapping[str, Network]:
    """All architectures by name, sorted."""
    by_name: dict[str, Network] = {}
    for builder in models.list_models(module=models):
        enum = models.get_model_weights(builder)
        ranked = sorted(enum, key=lambda weights: weights is not enum.DEFAULT)
        # A network that takes any image size has one least size for all of its weights.
        native = min(weights.meta["min_size"] for weights in ranked)
        for size in {weights.meta["min_size"]: None for weights in ranked}:
            own = {} if size == native else {"image_size": size[0]}
            name = "_".join(map(str, (builder, *own.values())))
            mine = tuple(weights for weights in ranked if weights.meta["min_size"] == size)
            by_name[name] = Network(name, builder, {**PUBLISHED.get(builder, {}), **own}, mine)
    return dict(sorted(by_name.items()))


def network(name: str) -> Network:
    """The architecture ``name``."""
    if name not in networks():
        near = difflib.get_close_matches(name, networks(), n=4, cutoff=0.5)
        raise UnknownName("torchvision architecture", name, near)
    return networks()[name]


def preprocessing(weights: WeightsEnum) -> Preprocessing:
    """How images become input of these weights: shorter side resized, then cropped."""
    preset = weights.transforms()
    (size,), (resized,) = preset.crop_size, preset.resize_size
    return Preprocessing(
        input_size=(3, size, size),
        mean=tuple(map(float, preset.mean)),
        std=tuple(map(float, preset.std)),
        interpolation=str(preset.interpolation.value),
        crop_pct=_crop_pct(size, resized),
        crop_mode="center",
    )


def resize_size(preprocessing: Preprocessing) -> int:
    """Length of the shorter side before the crop."""
    return math.floor(min(preprocessing.input_size[1:]) / preprocessing.crop_pct)


def classes(weights: WeightsEnum) -> tuple[str, ...]:
    """Class names in index order; empty for weights without a classifier."""
    return tuple(weights.meta["categories"] or ())


def license_of(weights: WeightsEnum) -> str:
    """License id. torchvision states its own, BSD, and names the weights that have another.

    Its README adds that terms of the data that weights were trained on may apply to any of them.
    """
    stated = weights.meta.get("license", "")
    return "cc-by-nc-4.0" if "SWAG" in stated else "bsd-3-clause"


def pinned(weights: WeightsEnum) -> tuple[str, str] | None:
    """File name, and the first digits of its SHA-256, which it ends on; None if it does not."""
    file = weights.url.rpartition("/")[2]
    match = HASH.search(file)
    return (file, match[1]) if match else None


def _crop_pct(size: int, resized: int) -> float:
    """The share that gives ``resized`` back: it is found as ``floor(size / share)``."""
    share = size / resized
    while math.floor(size / share) < resized:
        share = math.nextafter(share, 0)
    return share
