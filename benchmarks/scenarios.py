"""Whether `zoo advise` finds which of the four scenarios of transfer learning it is given.

    python benchmarks/scenarios.py SETS [--size 96]

SETS has image sets as `benchmarks/advice.py` takes them. Of one of them, ``clipart``, two are made.
*Like*: those that the network, which
is tf_efficientnet_lite0 with ImageNet weights, is sure of, labeled with what it sees in them: a
part of what it knows. *Unlike*: the same with inverted colors, and a faint grating on each; the
label is the direction of the grating, whatever is drawn. Of each a few images, and many. And the
few with shuffled labels, of which nothing can be learned. Then come the sets themselves: about 400
images of each, and 2,000, at 48 pixels.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from image_sets import cells_of, draw, names_of
from PIL import Image, ImageOps
from presets import BASE, with_base

import zoo

CLASSES = 8
FEW, MANY = 6, 60
"""Images of each class."""
SMALL = 48
"""Pixels at which the image sets are asked about."""
SURE = 0.5
CROP = 0.875
"""Of the network's preprocessing: the share of an image that it sees."""
CONTRAST = 24
"""Of the grating, of 255."""
Labeled = dict[str, list[Image.Image]]


def known(z: zoo.Zoo, folder: Path, size: int) -> Labeled:
    """Drawings by what the network sees in them; the classes that it sees most often."""
    network = z.load(BASE).eval()
    found: Labeled = defaultdict(list)
    for path in sorted(folder.rglob("*.png")):
        image = Image.open(path).convert("RGB").resize((size, size))
        edge = round(size * (1 / CROP - 1) / 2)  # as it is met with in training
        seen = ImageOps.crop(image.resize((size + 2 * edge, size + 2 * edge)), edge)
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            sure, label = network(pixels).softmax(1)[0].max(0)
        if sure > SURE:
            found[f"c{int(label)}"].append(image)
    most = sorted(found, key=lambda label: -len(found[label]))[:CLASSES]
    return {label: found[label][:MANY] for label in most}


def unknown(images: Labeled, size: int) -> Labeled:
    """The same drawings with inverted colors, by the direction of a grating that is laid over."""
    y, x = np.mgrid[:size, :size]
    found: Labeled = {f"d{at}": [] for at in range(CLASSES)}
    chance = random.Random(0)
    whole = [image for each in images.values() for image in each]
    chance.shuffle(whole)
    for at, image in enumerate(whole):
        angle = np.pi * (at % CLASSES) / CLASSES
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 0.9 + 6 * chance.random())
        pixels = np.asarray(ImageOps.invert(image)) + CONTRAST * wave[..., None]
        found[f"d{at % CLASSES}"].append(Image.fromarray(pixels.clip(0, 255).astype("uint8")))
    return found


def write(images: Labeled, each: int, target: Path) -> Path:
    """So many images of each class, as a folder; a quarter of them to test on."""
    for label, those in images.items():
        for at, image in enumerate(those[:each]):
            folder = target / ("test" if at % 4 == 3 else "train") / label
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{at}.png")
    return target


def shuffled(images: Labeled) -> Labeled:
    """The same images with each other's labels."""
    whole = [image for each in images.values() for image in each[:FEW]]
    random.Random(0).shuffle(whole)
    return {label: whole[at :: len(images)] for at, label in enumerate(images)}


def made(z: zoo.Zoo, clipart: Path, size: int, root: Path) -> dict[str, Path]:
    """The sets that are made of drawings, by what they are."""
    like = known(z, clipart, size)
    unlike = unknown(like, size)
    return {
        "few, like": write(like, FEW, root / "few-like"),
        "few, unlike": write(unlike, FEW, root / "few-unlike"),
        "many, like": write(like, MANY, root / "many-like"),
        "many, unlike": write(unlike, MANY, root / "many-unlike"),
        "few, labels shuffled": write(shuffled(like), FEW, root / "shuffled"),
    }


def say(z: zoo.Zoo, name: str, data: Path, size: int) -> None:
    """Print what is advised of the images in a folder."""
    advice = z.advise(BASE, data, image_size=size, budget=0, device="cpu")
    said = advice.plan.scenario.text if advice.plan else "nothing can be learned"
    print(f"{name:22} {said}", flush=True)


def main() -> None:
    """Print what is advised of each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("--size", type=int, default=96)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with with_base(root / "zoo") as z:
            for name, data in made(z, asked.sets / "clipart", asked.size, root).items():
                say(z, name, data, asked.size)
            for cell in cells_of(asked.sets, names_of(asked.sets), ("400", "2000"), ("0",)):
                name = f"{cell['set']}, {cell['images']}"
                say(z, name, draw(asked.sets / cell["set"], root / name, cell["images"], 0), SMALL)


if __name__ == "__main__":
    main()
