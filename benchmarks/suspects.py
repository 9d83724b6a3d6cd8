"""Planted errors, and how many of them `zoo advise` finds; with cleanlab, where it is installed.

``python benchmarks/suspects.py FOLDER [SET...]`` where FOLDER has sets as FOLDER/SET/{train,test}/
CLASS/IMAGE. Of each, at most 2,000 images to train on and 500 to test on are taken as they are.
Then are planted:

- wrong labels: 3 % of the images to train on are put into another class, any of them alike often;
- near-duplicates: 50 images to train on once more, each recompressed (JPEG, quality 40 to 80),
  resized (to 0.6, 0.75 or 1.5 of its sides), cropped (1 to 5 % off each side) or made darker or
  brighter (0.8 or 1.25), in turns;
- a leak: 20 more of these, as test images;
- odd images: 5 of noise, 5 of one color with a gradient.

Recall is the share of what was planted that is found. Precision is the share of what is found that
was planted: what the sets themselves have of suspects counts as wrong. Everything in one process.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lite0 import ARCHITECTURE, pretrained
from PIL import Image, ImageEnhance
from safetensors.torch import save_file
from torch import Tensor

from zoo.advice import advise, facts
from zoo.advice.facts import Duplicate, Facts, groups_of
from zoo.advice.labels import out_of_fold
from zoo.advice.reading import Reading
from zoo.facade import Zoo

BASE = "team/lite0"
SIZE = 64
TRAIN, TEST = 2000, 500
WRONG = 0.03
COPIES, LEAKED, ODD = 50, 20, 5
FILTERS = ("prune_by_noise_rate", "both", "confident_learning", "low_self_confidence")
KINDS = ("recompressed", "resized", "cropped", "brighter")


@dataclass
class Planted:
    """What was planted, by the names of the images."""

    wrong: set[str] = field(default_factory=set)
    copies: dict[frozenset[str], str] = field(default_factory=dict)
    leaked: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)


def main() -> None:
    """Measure and print."""
    sets = Path(sys.argv[1])
    names = sys.argv[2:] or sorted(path.name for path in sets.iterdir())
    kept = Kept()
    vars(facts).update(out_of_fold=kept)
    vars(advise).update(groups_of=kept.groups)
    with tempfile.TemporaryDirectory() as folder:
        zoo = Zoo.init(folder, progress=False)
        weights = {name: tensor.contiguous() for name, tensor in pretrained().items()}
        save_file(weights, f"{folder}/lite0.safetensors")
        zoo.import_file(f"{folder}/lite0.safetensors", BASE, architecture=ARCHITECTURE)
        for name in names:
            for shuffled in (False, True):
                root = Path(folder, f"{name}-{shuffled}")
                planted = plant(sets / name, root, shuffled)
                began = time.perf_counter()
                advice = zoo.advise(BASE, root, image_size=SIZE, budget=0)
                print(f"{name}: {time.perf_counter() - began:.0f} s")
                if shuffled:
                    print(f"  shuffled labels: {advice.facts.learnable}")
                else:
                    report(advice.facts, planted)
                    kept.cleanlab(planted)
        zoo.close()


def report(found: Facts, planted: Planted) -> None:
    """Print recall and precision of each kind."""
    print(f"  {found.learnable}")
    pairs = {frozenset((pair.image, pair.other)) for pair in found.duplicates}
    tell("the same picture", pairs, planted.copies)
    for kind in KINDS:
        of_kind = {pair for pair, each in planted.copies.items() if each == kind}
        print(f"    {kind}: {len(of_kind & pairs)} of {len(of_kind)}")
    leaks = {
        name
        for pair in found.duplicates
        if pair.part != pair.other_part
        for name in (pair.image, pair.other)
    }
    print(
        f"  leak: {len(leaks & planted.leaked)} of {len(planted.leaked)}; told: {found.leaks[:1]}"
    )
    tell("wrong labels", [one.image for one in found.doubted], planted.wrong)
    tell("odd images", [one.image for one in found.odd], planted.odd)


def tell(what: str, found: Iterable[object], planted: Iterable[object]) -> None:
    """Print how many of ``planted`` are among ``found``, and the reverse."""
    hits = len(set(found) & set(planted))
    of, said = len(set(planted)), len(set(found))
    print(f"  {what}: recall {hits / of:.3f} ({hits} of {of}), precision {hits / max(said, 1):.3f}")


def plant(source: Path, target: Path, shuffled: bool) -> Planted:
    """Copy some images of a set, with errors; or with labels that are drawn by lot."""
    chance, planted = random.Random(source.name), Planted()
    train, test = (sorted((source / part).rglob("*.png")) for part in ("train", "test"))
    train, test = (
        sorted(chance.sample(files, min(most, len(files))))
        for files, most in ((train, TRAIN), (test, TEST))
    )
    classes = sorted({file.parent.name for file in train})
    wrong = set(chance.sample(train, round(WRONG * len(train))))
    placed: dict[Path, Path] = {}
    for part, files in (("train", train), ("test", test)):
        labels = [file.parent.name for file in files]
        if shuffled:
            chance.shuffle(labels)
        for file, label in zip(files, labels, strict=True):
            if file in wrong and not shuffled:
                label = chance.choice([name for name in classes if name != label])
            placed[file] = target / part / label / f"{file.parent.name}-{file.name}"
            placed[file].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, placed[file])
    if shuffled:
        return planted
    planted.wrong = {name_of(placed[file], target) for file in wrong}
    copied = chance.sample([file for file in train if file not in wrong], COPIES + LEAKED)
    for number, file in enumerate(copied):
        kind, part = KINDS[number % len(KINDS)], "train" if number < COPIES else "test"
        copy = target / part / file.parent.name / f"copy{number:03}"
        copy = copy.with_suffix(".jpg" if kind == "recompressed" else ".png")
        quality = chance.choice((40, 60, 80))  # PNG has none
        altered(Image.open(file).convert("RGB"), kind, chance).save(copy, quality=quality)
        planted.copies[frozenset((name_of(copy, target), name_of(placed[file], target)))] = kind
        if part == "test":
            planted.leaked.add(name_of(copy, target))
    for number in range(2 * ODD):
        path = target / "train" / classes[number % len(classes)] / f"odd{number}.png"
        odd(number).save(path)
        planted.odd.add(name_of(path, target))
    return planted


def name_of(path: Path, root: Path) -> str:
    """What an image is called in the data."""
    return path.relative_to(root).as_posix()


def altered(image: Image.Image, kind: str, chance: random.Random) -> Image.Image:
    """The same picture, as somebody else may have saved it."""
    width, height = image.size
    if kind == "resized":
        share = chance.choice((0.6, 0.75, 1.5))
        return image.resize((round(width * share), round(height * share)))
    if kind == "cropped":
        left, top, right, bottom = (chance.uniform(0.01, 0.05) for _ in range(4))
        box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
        return image.crop(tuple(map(round, box)))  # type: ignore[arg-type]
    if kind == "brighter":
        return ImageEnhance.Brightness(image).enhance(chance.choice((0.8, 1.25)))
    return image


def odd(number: int) -> Image.Image:
    """A picture of nothing: noise, or a gradient in one color."""
    if number < ODD:
        noise = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3))
        return Image.fromarray(noise.astype(np.uint8))
    ramp = np.linspace(0, 255, SIZE)[:, None, None] * np.roll([1.0, 0.4, 0.1], number)
    return Image.fromarray(np.broadcast_to(ramp, (SIZE, SIZE, 3)).astype(np.uint8))


class Kept:
    """Computes the probabilities that labels are judged by, and keeps them."""

    def __init__(self) -> None:
        self.shares, self.targets = torch.empty(0), torch.empty(0)
        self.names = list[str]()

    def __call__(
        self, vectors: Tensor, targets: Tensor, groups: Sequence[str], seed: int
    ) -> Tensor:
        """As `zoo.advice.labels.out_of_fold`."""
        self.shares, self.targets = out_of_fold(vectors, targets, groups, seed), targets
        return self.shares

    def groups(self, reading: Reading, pairs: Sequence[Duplicate]) -> tuple[str, ...]:
        """As `zoo.advice.facts.groups_of`."""
        self.names = [sample.key for sample in reading.samples]
        return groups_of(reading, pairs)

    def cleanlab(self, planted: Planted) -> None:
        """Print what cleanlab finds in the same probabilities, where it is installed."""
        try:
            from cleanlab.filter import find_label_issues
        except ImportError:
            print("  cleanlab is not installed")
            return
        shares, targets = self.shares.double().numpy(), self.targets.numpy()
        for by in FILTERS:
            wrong = find_label_issues(targets, shares, filter_by=by, n_jobs=1)
            at = np.flatnonzero(wrong).tolist()
            tell(f"cleanlab {by}", [self.names[index] for index in at], planted.wrong)


if __name__ == "__main__":
    main()
