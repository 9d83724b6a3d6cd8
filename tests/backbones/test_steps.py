"""The steps that exports name: whoever does them with Pillow and numpy has zoo's own input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from zoo.backbones.preprocess import inference_transform
from zoo.domain.manifest import Preprocessing
from zoo.domain.plain import Json
from zoo.domain.preprocessing import steps_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = Preprocessing(
    input_size=(3, 96, 96), mean=MEAN, std=STD, interpolation="bicubic", crop_pct=0.875,
    crop_mode="center",
)  # fmt: skip
PHOTO = Image.fromarray(skimage.data.coffee())


def by_page(image: Image.Image, steps: list[Json]) -> NDArray[np.float32]:
    """What docs/surgery.md says of each step, (C, H, W)."""
    mode, resize, crop, divide, normalize = (dict[str, Any](step) for step in steps)
    image = image.convert(mode["mode"])
    sides = sized(image.size, resize)
    image = image.resize(sides, Image.Resampling[resize["filter"].upper()])
    size = crop["width"], crop["height"]
    over = [side - to for side, to in zip(image.size, size, strict=True)]
    margin = [
        -(-each // 2) if each < 0 else each // 2 if crop["margin"] == "down" else round(each / 2)
        for each in over
    ]
    fill = tuple(crop["fill"]) if mode["mode"] == "RGB" else crop["fill"][0]
    whole = Image.new(image.mode, size, fill)
    whole.paste(image, (-margin[0], -margin[1]))
    values = np.atleast_3d(np.asarray(whole, np.float32)) / divide["by"]
    values = (values - np.float32(normalize["mean"])) / np.float32(normalize["std"])
    return np.asarray(values.transpose(2, 0, 1), np.float32)


def sized(sides: tuple[int, int], resize: dict[str, Any]) -> tuple[int, int]:
    """Width and height after a resize."""
    wide, high = sides
    if to := resize.get("shorter_side"):
        return int(to * wide / min(sides)), int(to * high / min(sides))
    if "width" in resize:
        return resize["width"], resize["height"]
    fit, which = ("least_", min) if "least_width" in resize else ("most_", max)
    ratio = which(wide / resize[f"{fit}width"], high / resize[f"{fit}height"])
    return round(wide / ratio), round(high / ratio)


@pytest.mark.parametrize("plugin", ["timm", "transformers"])
@pytest.mark.parametrize(
    "changed",
    [
        {},  # 96 / 0.875 is 109.7: 109
        {"input_size": (3, 97, 97), "interpolation": "bilinear"},
        {"input_size": (3, 97, 64)},
        {"crop_mode": "squash", "input_size": (3, 97, 64), "interpolation": "lanczos"},
        {"crop_mode": "border", "crop_pct": 1.0},
        {"crop_mode": "border", "crop_pct": 0.9},
        {"crop_pct": 1.1},  # a black border
        {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.25,)},
    ],
)
def test_who_does_the_steps_has_the_input(plugin: str, changed: dict[str, Any]) -> None:
    how = replace(HOW, **changed)
    for box in ((0, 0, 301, 200), (0, 0, 200, 317), (10, 10, 73, 70)):
        image = PHOTO.crop(box)
        own = inference_transform(how, plugin)(image).numpy()
        assert np.abs(by_page(image, steps_of(how, plugin)) - own).max() < 1e-5


def test_a_side_is_rounded_down() -> None:
    assert steps_of(HOW, "timm")[1] == {"step": "resize", "shorter_side": 109, "filter": "bicubic"}
