"""Tables of predictions: 2,000 photos by real ImageNet weights, beside a loop written by hand.

    python benchmarks/predict.py [IMAGES]

The photos are JPEG, pieces of those of scikit-image and scikit-learn. Rows take turns in one
process, and each counts from a loaded network to a table that is there: quote the ratios.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from lite0 import ARCHITECTURE, pretrained
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import zoo
from zoo.config import cores
from zoo.facade import Zoo

BASE = "timm/tf_efficientnet_lite0.in1k"
ROUNDS = 3
PIECE = (400, 300)
"""Width and height of a photo, which photographs of the web have as thumbnails."""
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field")


def main(count: int) -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for at, piece in zip(range(count), pieces(), strict=False):
            (root / "photos").mkdir(exist_ok=True)
            piece.save(root / "photos" / f"{at:05}.jpg", quality=90)
        with zoo.init(root / "zoo", progress=False) as z:
            z.index("timm")
            z.pull(BASE)
            rows: dict[str, Callable[[], object]] = {
                "image by image": lambda: one_by_one(z, root),
                "zoo predict --out --batch-size 1": lambda: table(z, root, batch_size=1),
                "zoo predict --out": lambda: table(z, root),
                "zoo predict --out --batch-size 32": lambda: table(z, root, batch_size=32),
                "by hand, batches of 4": lambda: by_hand(root, 4),
                "by hand, batches of 32": lambda: by_hand(root, 32),
            }
            seconds = measure(rows)
        agree(root)
    print(f"{count} photos, {ARCHITECTURE}, {cores()} cores, median of {ROUNDS} rounds")
    before = seconds["image by image"]
    for name, took in seconds.items():
        print(f"  {name:36} {count / took:7.1f} images/s   {before / took:5.2f} x")


def pieces() -> Iterator[Image.Image]:
    """Pieces of photos, each of another place or size."""
    photos = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in PHOTOS]
    photos += [Image.fromarray(pixels) for pixels in load_sample_images().images]
    at = 0
    while True:
        for photo in photos:
            step = 1 + at // 40
            box = (at % 40 * 3, at % 37 * 2, photo.width - step % 60, photo.height - step % 50)
            yield photo.crop(box).resize(PIECE)
        at += 1


def one_by_one(z: Zoo, root: Path) -> None:
    """As `zoo predict --out` did it before it knew batches."""
    with (root / "one.csv").open("w") as file:
        lines = csv.writer(file)
        for each in z.predictions(BASE, root / "photos"):
            lines.writerow([each.image, each.classes[0], each.probabilities[0]])


def table(z: Zoo, root: Path, *, batch_size: int | None = None) -> None:
    """The table of zoo."""
    out = root / "table.csv"
    z.write_predictions(BASE, root / "photos", out, batch_size=batch_size, force=True)


class Photos(Dataset[Tensor]):
    """What is written by hand."""

    def __init__(self, root: Path, transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.transform = sorted((root / "photos").iterdir()), transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        return self.transform(Image.open(self.paths[at]).convert("RGB"))


@torch.inference_mode()
def by_hand(root: Path, size: int) -> None:
    """A script of ten lines, with as many workers."""
    model = timm.create_model(ARCHITECTURE)
    model.load_state_dict(pretrained())
    model.eval()
    photos = Photos(root, create_transform(**resolve_model_data_config(model)))
    loader = DataLoader(photos, batch_size=size, num_workers=cores())
    paths = iter(photos.paths)
    with (root / "hand.csv").open("w") as file:
        lines = csv.writer(file)
        for batch in loader:
            shares, indices = model(batch).softmax(1).topk(3)
            for values, order in zip(shares.tolist(), indices.tolist(), strict=True):
                lines.writerow([next(paths), order[0], values[0]])


def agree(root: Path) -> None:
    """See that all rows give the same answers."""
    columns = []
    for name in ("one.csv", "table.csv", "hand.csv"):
        with (root / name).open() as file:
            rows = [row for row in csv.reader(file) if row[0] != "path"]
        columns.append([float(row[2]) for row in rows])
    for one, *others in zip(*columns, strict=True):
        if any(abs(one - other) > 1e-4 for other in others):
            raise SystemExit(f"they differ: {one} and {others}")


def measure(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
            print(f"  {name}: {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 2000)
