"""What fastai and AutoGluon reach where `zoo advise` is judged: lines for `advice.py --truth`.

    zoo export timm/tf_efficientnet_lite0.in1k BASE
    python -m venv peers && peers/bin/pip install fastai      # or: autogluon.multimodal
    OMP_NUM_THREADS=1 peers/bin/python benchmarks/advice_peers.py fastai SETS BASE
        [--images 400,2000] [--seeds 0,1,2,3,4] [--size 48] [--only SET] [--out peers.jsonl]

Each in an environment of its own: this needs nothing of zoo. The same images, the same ImageNet
weights of tf_efficientnet_lite0, the same image size, one process; else what each does unasked: of
fastai `fine_tune` with the epochs of its tutorials, and more, also with its augmentation but for
flips, as a mirrored letter is another one; of AutoGluon `MultiModalPredictor` with its own recipe
(20 epochs, augmentation, rates that decay by layer, a soup of the best three). Seconds are those of
the processor.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from image_sets import PARTS, cells_of, draw, names_of
from result_lines import Results

NETWORK = "tf_efficientnet_lite0"
WEIGHTS = "model.safetensors"


def fastai(base: Path, data: Path, size: int, seed: int, *, epochs: int, augment: bool) -> float:
    """Accuracy of fastai's `fine_tune` on the test images."""
    from fastai.vision import all as fast

    fast.set_seed(seed, reproducible=True)
    loaders = fast.ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="val",
        seed=seed,
        item_tfms=fast.Resize(size),
        batch_tfms=fast.aug_transforms(do_flip=False) if augment else None,
        num_workers=0,
    )
    overlay = {"file": str(base / WEIGHTS)}
    learner = fast.vision_learner(
        loaders, NETWORK, metrics=fast.accuracy, pretrained_cfg_overlay=overlay
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        tests = loaders.test_dl(fast.get_image_files(data / "test"), with_labels=True)
        return float(learner.validate(dl=tests)[1])


def autogluon(base: Path, data: Path, size: int, seed: int) -> float:
    """Accuracy of AutoGluon's default on the test images."""
    from autogluon.core.utils.loaders import load_pd
    from autogluon.multimodal import MultiModalPredictor

    def table(part: str) -> Any:
        path, files = Path(folder) / f"{part}.csv", sorted((data / part).rglob("*.*"))
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(
                [("image", "label"), *((each, each.parent.name) for each in files)]
            )
        return load_pd.load(str(path))  # a path would do for `fit`, but not for `evaluate`

    with tempfile.TemporaryDirectory() as folder:
        found = MultiModalPredictor(label="label", path=f"{folder}/model", verbosity=0)
        found.fit(
            table("train"),
            tuning_data=table("val"),
            seed=seed,
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": str(with_size(base, size, Path(folder))),
                "env.num_gpus": 0,
                "env.num_workers": 0,
                "env.num_workers_inference": 0,
                "env.precision": "32",
            },
        )
        return float(found.evaluate(table("test"), metrics=["accuracy"])["accuracy"])


def with_size(base: Path, size: int, folder: Path) -> Path:
    """A copy of the base as AutoGluon opens it, which takes the image size from its config."""
    import torch
    from safetensors.torch import load_file

    target = folder / "base"
    target.mkdir()
    config = json.loads((base / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, size, size]
    (target / "config.json").write_text(json.dumps(config))
    state = load_file(base / WEIGHTS)
    backbone = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    torch.save(backbone, target / "pytorch_model.bin")
    return target


PEERS: dict[str, dict[str, Callable[[Path, Path, int, int], float]]] = {
    "fastai": {
        "fastai fine_tune(3)": partial(fastai, epochs=3, augment=False),
        "fastai fine_tune(12)": partial(fastai, epochs=12, augment=False),
        "fastai fine_tune(12), augmented": partial(fastai, epochs=12, augment=True),
    },
    "autogluon": {"AutoGluon": autogluon},
}
MODULES = {"fastai": "fastai.vision.all", "autogluon": "autogluon.multimodal"}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("sets", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--images", default="400,2000")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"))
    asked = parser.parse_args()
    results = Results(asked.out, PARTS)
    names = asked.only or names_of(asked.sets)
    drawn = cells_of(asked.sets, names, asked.images.split(","), asked.seeds.split(","))
    arms = PEERS[asked.peer]
    import_module(MODULES[asked.peer])  # so that the first arm is not charged for it
    for cell in results.missing({**cell, "arm": arm} for cell in drawn for arm in arms):
        with tempfile.TemporaryDirectory() as folder:
            seed = int(cell["seed"])
            data = draw(asked.sets / cell["set"], Path(folder) / "data", cell["images"], seed)
            began = time.process_time()
            accuracy = arms[cell["arm"]](asked.base, data, asked.size, seed)
            seconds = round(time.process_time() - began, 2)
            results.add({**cell, "accuracy": accuracy, "seconds": seconds})
            print(results.rows[-1], flush=True)
    shutil.rmtree("AutogluonModels", ignore_errors=True)


if __name__ == "__main__":
    main()
