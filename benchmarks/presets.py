"""What the presets of recipes reach, and what they cost, beside the recipe that nobody chose.

    python benchmarks/presets.py [--images 20] [--size 48] [--seeds 3] [--data FOLDER]
        [--only PRESET] [--try 'strategy=partial freeze=80%']

tf_efficientnet_lite0 with ImageNet weights, on scikit-learn's digits in the order of their writers,
and on each ``--data`` with the folders ``train`` and ``test`` in it. For each seed so many images
of each class are drawn from ``train``; a fifth of them is to choose on. All of ``test``, up to 30
of each class, measures. Seconds are those of the processor, in one process, with nothing cached.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

import zoo
from zoo.domain.presets import PRESETS
from zoo.lookup.runs import CACHE

BASE = "timm/tf_efficientnet_lite0.in1k"
MOST = 30


def save_digits(root: Path) -> Path:
    """The digits in class folders: the last fifth, by other writers, is the test."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        part = "train" if number < 0.8 * len(digits.target) else "test"
        folder = root / part / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        scan = (pixels * (255 / 16)).round().astype("uint8")
        Image.fromarray(scan).save(folder / f"{number:04d}.png")
    return root


def with_base(folder: Path) -> zoo.Zoo:
    """A new zoo in a folder, with the base in it."""
    z = zoo.init(folder, progress=False)
    z.index("timm")
    z.pull(BASE)
    return z


def draw(source: Path, target: Path, images: int, seed: int) -> Path:
    """``images`` of each class to train and to choose on, by ``seed``, and the test images."""
    for folder in sorted((source / "train").iterdir()):
        names = sorted(folder.iterdir())
        chosen = random.Random(seed).sample(names, min(images, len(names)))
        fifth = max(len(chosen) // 5, 1)
        tests = sorted((source / "test" / folder.name).iterdir())[:MOST]
        for part, files in (("val", chosen[:fifth]), ("train", chosen[fifth:]), ("test", tests)):
            (target / part / folder.name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, target / part / folder.name)
    return target


def options_of(text: str) -> dict[str, Any]:
    """What ``strategy=partial epochs=3`` says; values as in TOML, or plain words."""

    def value(word: str) -> Any:
        try:
            return tomllib.loads(f"x = {word}")["x"]
        except tomllib.TOMLDecodeError:
            return word

    return {name: value(word) for name, word in (pair.split("=", 1) for pair in text.split())}


def run(home: Path, data: Path, preset: str, **options: Any) -> tuple[float, float]:
    """Accuracy on the test images, and seconds of the processor."""
    shutil.rmtree(home / CACHE, ignore_errors=True)
    began = time.process_time()
    chosen = {"data": str(data), **options}
    recipe = zoo.Recipe.read(preset, **chosen) if preset else zoo.Recipe.from_json(chosen)
    with zoo.open(home, progress=False) as z:
        done = z.run_recipe(recipe, BASE, f"bench/run:s{time.time_ns()}", device="cpu")
    return done.metrics["accuracy"], time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--try", dest="tried", action="append", default=[])
    asked = parser.parse_args()
    arms: dict[str, tuple[str, dict[str, Any]]]
    arms = {name: (name, {}) for name in asked.only or ("", *PRESETS)}
    arms |= {text: ("", options_of(text)) for text in asked.tried}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = asked.data if asked.no_digits else [save_digits(root / "digits"), *asked.data]
        with_base(root / "zoo").close()
        for source in sources:
            drawn = [draw(source, root / f"{source.name}-{seed}", asked.images, seed)
                     for seed in range(asked.seeds)]  # fmt: skip
            for arm, (preset, options) in arms.items():
                options = {"image_size": asked.size, **options}
                found = [run(root / "zoo", data, preset, seed=seed, **options)
                         for seed, data in enumerate(drawn)]  # fmt: skip
                report(f"{source.name}, {arm or 'default'}", found)


def report(what: str, found: list[tuple[float, float]]) -> None:
    """Mean and spread over the seeds."""
    scores, seconds = zip(*found, strict=True)
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    each = " ".join(f"{score:.3f}" for score in scores)
    print(f"{what:40} {statistics.mean(scores):.3f} ± {spread:.3f}  ({each})  "
          f"{statistics.median(seconds):6.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
