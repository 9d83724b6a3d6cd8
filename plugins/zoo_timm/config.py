"""What a ``config.json`` of timm says, read as `timm.create_model` reads it from the HF Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo.domain.manifest import Preprocessing
from zoo.domain.network import CONFIG, Network, in_bounds
from zoo.domain.surgery import adapted_preprocessing
from zoo.errors import Unsupported
from zoo_timm.arguments import checked

__all__ = ["MEAN", "STD", "read"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""timm's own, written here because to import timm takes seconds."""
FLEXIBLE = (("dynamic_img_size", True), ("strict_img_size", False), ("use_naflex", True))
"""Arguments that free a network from the one size of images that its weights are for."""
IMAGENET = re.compile(r"in(1|12|21|22)k")
COLORS = 3


def read(config: Mapping[str, Any]) -> Network:
    """The network that ``config`` describes.

    Raises:
        Unsupported: It names an argument that is not known here; or it is loaded by rules of its
            own, which zoo does not follow.
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
    """
    pretrained_cfg = config.get("pretrained_cfg") or config  # the older form is flat
    for name in ("label_offset", "hf_hub_filename"):
        if pretrained_cfg.get(name):
            raise Unsupported(
                f"{CONFIG} has '{name}', which makes timm load other weights than these"
            )
    model_args = {k: v for k, v in (config.get("model_args") or {}).items() if v is not None}
    size = _input_size(pretrained_cfg, model_args)
    own = ("img_size", "in_chans", "num_classes")  # zoo has options of its own for these
    arguments = {k: v for k, v in model_args.items() if k not in own}
    counts = (
        model_args.get("num_classes"),
        config.get("num_classes"),
        pretrained_cfg.get("num_classes"),
    )
    num_classes = next((count for count in counts if count is not None), None)
    return Network(
        architecture=str(config["architecture"]),
        surgery=in_bounds(
            {
                "num_classes": num_classes,
                "image_size": _built_for(pretrained_cfg, model_args, size),
                "channels": size[0] if size[0] != COLORS else None,
                "arguments": checked(arguments) or None,
            },
            CONFIG,
        ),
        preprocessing=_preprocessing(pretrained_cfg, size)
        if "input_size" in pretrained_cfg
        else None,
        classes=_classes(config, pretrained_cfg),
        published_classes=_says_imagenet(pretrained_cfg, num_classes),
    )


def _input_size(
    pretrained_cfg: Mapping[str, Any], model_args: Mapping[str, Any]
) -> tuple[int, int, int]:
    channels, *sides = map(int, pretrained_cfg.get("input_size") or (COLORS, 224, 224))
    if "in_chans" in model_args:
        channels = int(model_args["in_chans"])
    if "img_size" in model_args and _is_fixed(pretrained_cfg, model_args):
        sides = _sides(model_args["img_size"])
    height, width = sides
    return channels, height, width


def _built_for(
    pretrained_cfg: Mapping[str, Any], model_args: Mapping[str, Any], size: tuple[int, int, int]
) -> list[int] | None:
    """Height and width of the images that its embeddings of positions are for."""
    if "img_size" in model_args:
        return _sides(model_args["img_size"])
    return (
        list(size[1:])
        if "input_size" in pretrained_cfg and _is_fixed(pretrained_cfg, model_args)
        else None
    )


def _is_fixed(pretrained_cfg: Mapping[str, Any], model_args: Mapping[str, Any]) -> bool:
    """Whether it takes images of no other size."""
    flexible = any(model_args.get(name) is value for name, value in FLEXIBLE)
    return bool(pretrained_cfg.get("fixed_input_size")) and not flexible


def _sides(value: Any) -> list[int]:
    height, width = map(int, value if isinstance(value, list) else (value, value))
    return [height, width]


def _preprocessing(pretrained_cfg: Mapping[str, Any], size: tuple[int, int, int]) -> Preprocessing:
    mean = tuple(map(float, pretrained_cfg.get("mean") or MEAN))
    std = tuple(map(float, pretrained_cfg.get("std") or STD))
    if not {len(mean), len(std)} <= {1, COLORS, size[0]}:
        raise ValueError(f"mean or std of neither one, {COLORS} nor {size[0]} channels")
    preprocessing = Preprocessing(
        input_size=(len(mean), *size[1:]),
        mean=mean,
        std=std,
        interpolation=str(pretrained_cfg.get("interpolation") or "bicubic"),
        crop_pct=float(pretrained_cfg.get("crop_pct") or 0.875),
        crop_mode=str(pretrained_cfg.get("crop_mode") or "center"),
    )
    # timm leaves the three colors' values of other channels as they were.
    return adapted_preprocessing(preprocessing, None, size[0])


def _classes(config: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> tuple[str, ...]:
    names = (
        config.get("label_names")
        or pretrained_cfg.get("label_names")
        or pretrained_cfg.get("labels")
        or ()
    )
    described = config.get("label_descriptions") or pretrained_cfg.get("label_descriptions") or {}
    if isinstance(names, dict):  # index to name
        names = [names[str(index)] for index in range(len(names))]
    return tuple(str(described.get(name, name)) for name in names)


def _says_imagenet(pretrained_cfg: Mapping[str, Any], num_classes: Any) -> bool:
    """Whether the tag of the weights says that they were last trained on (a part of) ImageNet."""
    *_, last = ["", *IMAGENET.findall(str(pretrained_cfg.get("tag") or ""))]
    return bool(last) and (last == "1") == (num_classes in (None, 1000))
