"""The crop of a network of transformers beside its own image processor, where the margin is odd."""

from __future__ import annotations

from typing import Any

import pytest
import skimage.data
import transformers
from PIL import Image

from zoo.backbones.preprocess import inference_transform
from zoo_transformers import processor as processors

EDGE, SQUARE = {"shortest_edge": 71}, {"height": 71, "width": 71}
KINDS: dict[str, dict[str, object]] = {
    "ConvNext": {"size": {"shortest_edge": 64}, "crop_pct": 0.9},
    "PoolFormer": {"size": {"shortest_edge": 64}, "crop_pct": 0.9, "crop_size": 64},
    "Levit": {"size": {"shortest_edge": 64}, "crop_size": 62},
    "CLIP": {"size": EDGE, "crop_size": 64},
    "Bit": {"size": {"shortest_edge": 53}, "crop_size": 40},  # 40 / (40 / 53) is less than 53
    "MobileNetV2": {"size": EDGE, "crop_size": 64},
    "ViT": {"size": SQUARE, "do_center_crop": True, "crop_size": 64},
    "EfficientNet": {"size": SQUARE, "do_center_crop": True, "crop_size": 64},
}


@pytest.mark.parametrize("suffix", ["", "Pil"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [67, 73])
def test_images_are_cropped_to_the_pixel(kind: str, suffix: str, side: int) -> None:
    photo = Image.fromarray(skimage.data.coffee()).resize((400 + side, 400))
    processor: Any = getattr(transformers, f"{kind}ImageProcessor{suffix}")(**KINDS[kind])
    theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
    how = processors.read(processor.to_dict(), bgr=False)
    ours = inference_transform(how, "transformers")(photo)
    assert (ours - theirs).abs().max() < 0.1
    written: Any = transformers.CLIPImageProcessor(**processors.write(how, bgr=False))
    theirs = written(photo, return_tensors="pt")["pixel_values"][0]
    assert (ours - theirs).abs().max() < 0.1


def test_a_crop_larger_than_the_image_has_a_black_border() -> None:
    photo = Image.fromarray(skimage.data.coffee()).resize((90, 57))
    processor: Any = transformers.CLIPImageProcessor(size={"shortest_edge": 57}, crop_size=64)
    theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
    how = processors.read(processor.to_dict(), bgr=False)
    ours = inference_transform(how, "transformers")(photo)
    assert (ours - theirs).abs().max() < 0.1
