"""``preprocessor_config.json``: how transformers' image processors prepare images."""

from __future__ import annotations

import math
from typing import Any

from zoo.domain.manifest import Preprocessing
from zoo.domain.network import PROCESSOR, Config
from zoo.domain.plain import Json
from zoo.errors import Unsupported

__all__ = ["read", "write"]

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Resize filters by their numbers in Pillow."""
SHORTER_SIDE = (
    "CLIP",
    "Chinese",
    "ConvNext",
    "Bit",
    "EfficientFormer",
    "LeViT",
    "Levit",
    "MobileViT",
    "PoolFormer",
    "Pvt",
)
"""Whose ``size``, where it is one number, is that of the shorter side; else both have it."""
CONVNEXT_CROP, CONVNEXT_WHOLE = 224 / 256, 384
"""ConvNeXt's processor crops by itself, but not images of this size or larger."""
LEVIT_ENLARGES, POOLFORMER_CROP = 256 / 224, 0.9
LEVELS, RGB = 255, 3


def read(processor: Config, *, bgr: bool) -> Preprocessing:
    """How images become input; ``bgr`` networks of ours turn the colors themselves.

    Raises:
        Unsupported: It does what zoo's preprocessing has no word for, which is named.
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is malformed.
    """
    for name, unlike in (
        ("do_resize", False),
        ("do_pad", True),
        ("rescale_offset", True),
        ("do_flip_channel_order", not bgr),
    ):
        if processor.get(name) is unlike:
            raise Unsupported(f"{PROCESSOR} says '{name}': {unlike}, which zoo does not do")
    if processor.get("resample", 2) not in FILTERS:
        raise Unsupported(f"{PROCESSOR} has the unknown 'resample' {processor['resample']!r:.40}")
    out, crop_pct, crop_mode = _geometry(processor)
    mean, std = _colors(processor)
    return Preprocessing(
        input_size=(len(mean), *out),
        mean=mean,
        std=std,
        interpolation=FILTERS[processor.get("resample", 2)],
        crop_pct=crop_pct,
        crop_mode=crop_mode,
    )


def _geometry(processor: Config) -> tuple[tuple[int, int], float, str]:
    """Height and width of the input, the share that the crop keeps, and the mode."""
    kind = _kind(processor)
    size = processor["size"]
    if not isinstance(size, dict):
        size = {"shortest_edge": size} if kind.startswith(SHORTER_SIDE) else _square(size)
    edge = size.get("shortest_edge")
    if edge is None and "height" not in size:
        raise Unsupported(
            f"{PROCESSOR} has a 'size' of {', '.join(map(str, size))!s:.80}, which zoo does not do"
        )
    edge = _enlarged(kind, edge, processor)
    crop = processor.get("crop_size") if processor.get("do_center_crop", True) else None
    if crop is not None:
        out = crop if isinstance(crop, dict) else _square(crop)
        share = _share(int(out["height"]), int(edge or size["height"]))
    else:
        out, share = _square(edge) if edge else size, float(processor.get("crop_pct") or 1)
        if kind.startswith("ConvNext") and edge:
            whole = edge >= CONVNEXT_WHOLE
            share = 1.0 if whole else float(processor.get("crop_pct") or CONVNEXT_CROP)
            edge = None if whole else edge
    return (int(out["height"]), int(out["width"])), share, "center" if edge else "squash"


def _share(crop: int, side: int) -> float:
    """``crop / side``, by which ``crop`` is divided again, and rounded down to ``side``."""
    share = crop / side
    return share if int(crop / share) == side else math.nextafter(share, 0)


def _enlarged(kind: str, edge: Any, processor: Config) -> Any:
    """The shorter side as processors resize it that enlarge the ``size`` which they are given."""
    if edge and kind.startswith(("LeViT", "Levit")):
        return int(LEVIT_ENLARGES * edge)
    if edge and kind.startswith("PoolFormer") and processor.get("crop_pct", POOLFORMER_CROP):
        return int(edge / processor.get("crop_pct", POOLFORMER_CROP))
    return edge


def _kind(processor: Config) -> str:
    return str(processor.get("image_processor_type") or processor.get("feature_extractor_type"))


def _square(side: object) -> Json:
    return {"height": side, "width": side}


def _colors(processor: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of values from 0 to 1."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    states = "image_mean" in processor and not _kind(processor).startswith("MobileViT")
    if processor.get("do_normalize", states):
        mean, std = (tuple(map(float, processor[name])) for name in ("image_mean", "image_std"))
    if _kind(processor).startswith("EfficientNet") and processor.get("include_top", True):
        std = tuple(each * each for each in std)  # it divides twice
    factor = 1.0
    if processor.get("do_rescale", True):
        factor = float(processor.get("rescale_factor", 1 / LEVELS))
    scale = factor * LEVELS  # they are of values that were multiplied by the factor
    if abs(scale - 1) < 1e-6:
        return mean, std
    return tuple(each / scale for each in mean), tuple(each / scale for each in std)


def write(preprocessing: Preprocessing, *, bgr: bool) -> Json:
    """What makes transformers' ``AutoImageProcessor`` and pipelines prepare images so.

    It is CLIP's processor, which can do all of it, or MobileViT's, which turns colors.
    """
    channels, height, width = preprocessing.input_size
    bgr = bgr and channels == RGB
    resized = {
        "height": int(height / preprocessing.crop_pct),
        "width": int(width / preprocessing.crop_pct),
    }
    if preprocessing.crop_mode == "center":
        resized = {"shortest_edge": min(resized.values())}
    numbers = {name: number for number, name in FILTERS.items()}
    return {
        "image_processor_type": f"{'MobileViT' if bgr else 'CLIP'}ImageProcessor",
        "do_resize": True,
        "size": resized,
        "resample": numbers[preprocessing.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / LEVELS,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "do_convert_rgb": channels == RGB,
        **({"do_flip_channel_order": True} if bgr else {}),
    }
