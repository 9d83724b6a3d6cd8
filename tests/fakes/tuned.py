"""A small zoo to fine-tune in, drawings to do it on, and figures taken without zoo's own code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision import transforms

import zoo

__all__ = [
    "KINDS", "SIDE", "draw", "drawings", "evaluated", "inputs", "network_of", "quick", "small_zoo"
]  # fmt: skip

KINDS = ("bar", "disc", "square")
SIDE = 32
PARTS = {"train": 6, "val": 4, "test": 5}
"""Drawings of each kind."""


def draw(path: Path, kind: str, number: int) -> None:
    """A drawing of ``kind``, other for each number below 120."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (SIDE, SIDE), (number * 37 % 200, 60 + number // 6, 120))
    pen, at = ImageDraw.Draw(image), number % 6 + 4
    if kind == "bar":
        pen.rectangle((at, 2, at + 4, 30), fill=(250, 250, 40))
    elif kind == "disc":
        pen.ellipse((at, at, at + 16, at + 16), fill=(40, 250, 40))
    else:
        pen.rectangle((at, at, at + 14, at + 14), outline=(250, 40, 40), width=3)
    image.save(path)


def drawings(root: Path, parts: Mapping[str, int] = PARTS) -> Path:
    """Folders of splits, with so many drawings of each kind in each."""
    number = 0
    for part, count in parts.items():
        for kind in KINDS:
            for _ in range(count):
                draw(root / part / kind / f"{number:03}.png", kind, number)
                number += 1
    return root


def small_zoo(root: Path, architecture: str = "test_resnet") -> zoo.Zoo:
    """A zoo with ``team/base``, a network with weights drawn anew."""
    made = zoo.Zoo.init(root / "zoo")
    torch.manual_seed(4)
    weights = root / "base.safetensors"
    save_file(timm.create_model(architecture).state_dict(), weights)
    made.import_file(weights, "team/base", architecture=architecture)
    return made


@contextmanager
def quick() -> Iterator[None]:
    """Sums in one order, and no pictures, which take most of the time of so small a run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda *_, **__: None)
        yield
    torch.set_num_threads(threads)


def network_of(weights: Path) -> nn.Module:
    """The small zoo's network with exported ``weights``."""
    network: nn.Module = timm.create_model("test_resnet", num_classes=len(KINDS))
    network.load_state_dict(load_file(weights))
    return network


def inputs(path: Path, preprocessing: Mapping[str, Any]) -> Tensor:
    """An image (3, H, W), by torchvision."""
    transform = transforms.Compose([
        transforms.Resize(math.floor(SIDE / preprocessing["crop_pct"]),
                          transforms.InterpolationMode(preprocessing["interpolation"])),
        transforms.CenterCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(preprocessing["mean"], preprocessing["std"]),
    ])  # fmt: skip
    with Image.open(path) as image:
        found: Tensor = transform(image.convert("RGB"))
    return found


@torch.no_grad()
def evaluated(weights: Path, preprocessing: Mapping[str, Any], images: Path) -> dict[str, float]:
    """Accuracy and loss of exported ``weights`` on class folders: files, Pillow, torch and timm."""
    network = network_of(weights).eval()
    right, losses = [], []
    for path in sorted(images.glob("*/*.png")):
        said = network(inputs(path, preprocessing)[None])
        target = torch.tensor([KINDS.index(path.parent.name)])
        right.append(float(said.argmax(1) == target))
        losses.append(float(nn.functional.cross_entropy(said, target)))
    return {"accuracy": sum(right) / len(right), "loss": sum(losses) / len(losses)}
