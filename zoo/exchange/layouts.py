"""What the files beside published weights say of the network: zoo, timm, transformers, open_clip.

All of it is JSON that anybody may have written. Nothing is run, and the weights must fit it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.domain.description import KEY, described
from zoo.domain.file_names import why_unsafe
from zoo.domain.limits import CONFIG_BYTES
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.preprocessing import check_preprocessing
from zoo.errors import Unsupported

__all__ = ["CONFIG", "CONFIGS", "Layout", "explains", "read_layout"]

CONFIG, PROCESSOR, OPEN_CLIP = "config.json", "preprocessor_config.json", "open_clip_config.json"
CONFIGS = (CONFIG, PROCESSOR, OPEN_CLIP)
EXPLAINS = re.compile(
    r"README\.md|LICENSE[\w.-]*|NOTICE[\w.-]*|" + "|".join(map(re.escape, CONFIGS))
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CLIP_SIZES = {
    (10, 256): "xsmall", (8, 512): "medium", (12, 768): "base", (24, 1024): "large",
    (32, 1280): "huge", (40, 1408): "giant", (48, 1664): "gigantic",
}  # fmt: skip
"""timm's word for a vision tower of so many layers of such a width."""
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Resize filters by their numbers in Pillow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A network as its publisher describes it; None is what the backbone plugin says.

    Attributes:
        plugin: The backbone plugin that builds it.
        architecture: A name that it knows.
        num_classes: Outputs; None: as many as the weights have.
        image_size: Height and width that it is built for.
        preprocessing: How images become its input.
        classes: Class names in index order; empty where unknown.
        tower: Whether the weights are those of a pair of image and text encoder.
        whole: All of the network, with its surgery and kind of head, where zoo wrote the files; a
            manifest without weights.
    """

    plugin: str
    architecture: str
    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    tower: bool = False
    whole: Manifest | None = None


def explains(name: str, size: int) -> bool:
    """Whether a file of that name and size in bytes is one that explains the weights beside it."""
    return bool(EXPLAINS.fullmatch(name)) and size <= CONFIG_BYTES and not why_unsafe(name)


def read_layout(folder: Path, names: Iterable[str]) -> Layout | None:
    """The network that the files in ``folder`` describe; None if none of them does.

    Args:
        folder: Holds what there is of `CONFIGS`.
        names: What the repository, and those that it derives from, are called: transformers'
            configurations do not say which published network they are of.

    Raises:
        Unsupported: It is a network that no plugin here builds, or the files cannot be read.
    """
    try:
        layout = _described(folder, names)
        if layout and layout.preprocessing:
            check_preprocessing(layout.preprocessing)
        return layout
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unsupported(
            f"the configuration beside the weights is malformed: {error!r:.200}"
        ) from error


def _described(folder: Path, names: Iterable[str]) -> Layout | None:
    config, processor, clip = (_read(folder / name) for name in CONFIGS)
    if KEY in config:
        return _zoo(config)
    if "model_cfg" in clip:
        return _open_clip(clip)
    if "architecture" in config:
        return _timm(config)
    if "model_type" in config:
        return _transformers(config, processor, names)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES + 1)
        if len(data) > CONFIG_BYTES:
            raise Unsupported(f"{path.name} has more than {CONFIG_BYTES:,} bytes")
        found = json.loads(data)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise Unsupported(f"{path.name}, beside the weights, is no JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _zoo(config: Mapping[str, Any]) -> Layout:
    whole = described(config[KEY])
    if "id2label" in config:  # transformers hands our part on when it saves with other classes
        whole = replace(whole, classes=_named(_labels(config)))
    return Layout(
        plugin=whole.backbone.plugin,
        architecture=whole.backbone.architecture,
        num_classes=whole.head.num_classes,
        preprocessing=whole.preprocessing,
        classes=whole.classes,
        whole=whole,
    )


def _timm(config: Mapping[str, Any]) -> Layout:
    how = config.get("pretrained_cfg") or config  # the older form is flat
    names = how.get("label_names") or config.get("label_names") or ()
    described = how.get("label_descriptions") or config.get("label_descriptions") or {}
    sized = "img_size" in (config.get("model_args") or {})
    size = _size(how["input_size"]) if "input_size" in how else None
    return Layout(
        plugin="timm",
        architecture=str(config["architecture"]),
        num_classes=_count(config.get("num_classes")),
        image_size=size[1:] if size and sized else None,
        preprocessing=size and Preprocessing(
            input_size=size,
            mean=_floats(how["mean"]),
            std=_floats(how["std"]),
            interpolation=str(how.get("interpolation", "bicubic")),
            crop_pct=float(how.get("crop_pct") or 0.875),
            crop_mode=str(how.get("crop_mode") or "center"),
        ),
        classes=tuple(str(described.get(name, name)) for name in names),
    )  # fmt: skip


def _transformers(
    config: Mapping[str, Any], processor: Mapping[str, Any], names: Iterable[str]
) -> Layout:
    known = set(plugins.backbone("transformers").architectures())
    told = [*names, str(config.get("_name_or_path", ""))]
    tails = [name.rpartition("/")[2] for name in told]
    architecture = next((tail for tail in tails if tail in known), None)
    if architecture is None:
        raise Unsupported(
            f"no published network that zoo builds is called {' or '.join(filter(None, tails))}; "
            "if one has this shape, fetch the file and name it: zoo import FILE --architecture "
            "NAME --backbone transformers"
        )
    classes = _labels(config)
    (kind, *_) = config.get("architectures") or [""]
    return Layout(
        plugin="transformers",
        architecture=architecture,
        num_classes=len(classes) if classes and "Classification" in kind else None,
        preprocessing=_processed(processor) if processor else None,
        classes=_named(classes),
    )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels in index order; transformers makes some up where there are none."""
    labels = {int(key): str(name) for key, name in (config.get("id2label") or {}).items()}
    return tuple(labels[index] for index in range(len(labels)))


def _named(labels: tuple[str, ...]) -> tuple[str, ...]:
    return () if labels[:1] == ("LABEL_0",) else labels


def _processed(processor: Mapping[str, Any]) -> Preprocessing | None:
    size = processor["size"]
    sides = size if isinstance(size, dict) else {"height": size, "width": size}
    crop = processor.get("crop_size") if processor.get("do_center_crop") else None
    share = float(processor.get("crop_pct") or 1)
    if crop is not None:
        out = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
        share = out["height"] / sides.get("shortest_edge", sides.get("height"))
        mode = "center"
    else:
        edge = sides.get("shortest_edge")
        out = {"height": edge, "width": edge} if edge else sides
        mode = "center" if edge else "squash"
    return Preprocessing(
        input_size=(3, int(out["height"]), int(out["width"])),
        mean=_floats(processor["image_mean"]),
        std=_floats(processor["image_std"]),
        interpolation=FILTERS[processor.get("resample", 2)],
        crop_pct=share,
        crop_mode=mode,
    )


def _open_clip(config: Mapping[str, Any]) -> Layout:
    model, how = config["model_cfg"], config.get("preprocess_cfg") or {}
    vision = model["vision_cfg"]
    trunk = vision.get("timm_model_name")
    side = how.get("size") or vision.get("image_size") or 224
    size = _size([3, *(side if isinstance(side, list) else [side, side])])
    return Layout(
        plugin="timm",
        architecture=str(trunk) if trunk else _clip_name(model, vision),
        num_classes=0 if trunk else None,
        preprocessing=Preprocessing(
            input_size=size,
            mean=_floats(how.get("mean") or CLIP_MEAN),
            std=_floats(how.get("std") or CLIP_STD),
            interpolation=str(how.get("interpolation", "bicubic")),
            crop_pct=1.0,
            crop_mode="squash" if how.get("resize_mode") == "squash" else "center",
        ),
        tower=True,
    )


def _clip_name(model: Mapping[str, Any], vision: Mapping[str, Any]) -> str:
    """Timm's name of open_clip's own vision tower."""
    shape = (vision["layers"], vision["width"])
    if not isinstance(shape[0], int) or shape not in CLIP_SIZES:
        raise Unsupported(f"timm has no vision tower of {shape[0]} layers of width {shape[1]}")
    gelu = "quickgelu_" if model.get("quick_gelu") else ""
    return f"vit_{CLIP_SIZES[shape]}_patch{vision['patch_size']}_clip_{gelu}{vision['image_size']}"


def _size(value: Any) -> tuple[int, int, int]:
    channels, height, width = map(int, value)
    return channels, height, width


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values))


def _count(value: Any) -> int | None:
    return None if value is None else int(value)
