"""Image sets, each a folder with the folders ``train`` and ``test``, and what is drawn of them."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterable
from itertools import product
from pathlib import Path

PARTS = ("set", "images", "seed", "arm")
"""What says what was measured of a strategy."""


def names_of(sets: Path) -> list[str]:
    """Of all image sets in a folder."""
    return sorted(path.name for path in sets.iterdir())


def cells_of(
    sets: Path, names: Iterable[str], images: Iterable[str], seeds: Iterable[str]
) -> Iterable[dict[str, str]]:
    """A set, a number of images and a seed, one seed after the other. A set that has fewer than
    400 images is drawn whole, once: as 400.
    """
    for seed, number, name in product(seeds, images, names):
        if number == "400" or sum(1 for _ in (sets / name / "train").rglob("*.*")) > 400:
            yield {"set": name, "images": number, "seed": seed}


def draw(source: Path, target: Path, images: str, seed: int) -> Path:
    """So many ``images`` of ``source``, or ``all``, by ``seed``: of each class its share, a fifth
    of them to choose on. All of its test images, but for those that are byte for byte in
    ``train``.
    """
    if target.exists():
        return target
    known = {digest(file) for file in (source / "train").rglob("*.*")}
    whole = sum(1 for _ in (source / "train").rglob("*.*"))
    share = 1.0 if images == "all" else min(int(images) / whole, 1.0)
    for folder in sorted((source / "train").iterdir()):
        names = sorted(folder.iterdir())
        chosen = random.Random(seed).sample(names, max(round(share * len(names)), 2))
        fifth = max(len(chosen) // 5, 1)
        tests = [x for x in sorted((source / "test" / folder.name).iterdir())
                 if digest(x) not in known]  # fmt: skip
        for part, files in (("val", chosen[:fifth]), ("train", chosen[fifth:]), ("test", tests)):
            (target / part / folder.name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, target / part / folder.name)
    return target


def digest(file: Path) -> bytes:
    """Of the bytes of a file."""
    return hashlib.sha256(file.read_bytes()).digest()
