"""Pictures of nothing in particular, each another, whose class shows in their color."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["CLASSES", "save_scenes", "scene"]

CLASSES = ("blue", "green", "red")
SIDE = 48


def scene(number: int, label: str = "red") -> Image.Image:
    """A smooth picture; another one for each number."""
    chance = np.random.default_rng(number)
    levels = chance.uniform(0, 130, (6, 6, 3))
    levels[:, :, ("red", "green", "blue").index(label)] += 110
    small = Image.fromarray(levels.astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def save_scenes(root: Path, each: int, first: int = 0) -> Path:
    """Class folders with so many pictures each, ``blue/0.png`` and so on."""
    for at, label in enumerate(CLASSES):
        (root / label).mkdir(parents=True)
        for number in range(each):
            seed = first + at * each + number
            scene(seed, label).save(root / label / f"{number}.png")
    return root
