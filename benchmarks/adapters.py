"""What adapters reach, cost and take, beside a probe, LP-FT and full fine-tuning.

    python benchmarks/adapters.py [--images 50] [--seeds 3] [--only NETWORK] [--try 'strategy=lora']
    python benchmarks/adapters.py --sets FOLDER [--seeds 2] [--try 'strategy=lora']

tf_efficientnet_lite0 with ImageNet weights on scikit-learn's digits, in the order of their writers,
at 48 pixels; and timm's test_vit, trained here on the digits 0 to 4 from nothing, on 5 to 9 at 32.
For each seed so many images of each class are drawn; a fifth of them is to choose on. With
--sets: the first of these on each image set of a folder, 400 images at 64 pixels. Seconds are
those of the processor, in one process, with nothing cached. Size is what a push of the result adds
to a folder that has its parent.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from image_sets import draw as draw_share
from image_sets import names_of
from presets import BASE, draw, options_of, save_digits, with_base
from safetensors.torch import save_file

import zoo
from zoo.lookup.runs import CACHE
from zoo.transfer.sync import push

LONG = "epochs=8"
ARMS = {
    "probe": "strategy=probe",
    "lora": f"strategy=lora {LONG}",
    "lora, rate x 5": f"strategy=lora backbone_lr_ratio=0.5 {LONG}",
    "bitfit": f"strategy=bitfit {LONG}",
    "norms": f"strategy=norms {LONG}",
    "lp-ft": f"strategy=lp-ft {LONG}",
    "full": f"strategy=full {LONG}",
}


def small_vit(z: zoo.Zoo, folder: Path, digits: Path) -> str:
    """test_vit, trained from nothing on the digits 0 to 4; its name."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), folder / "vit.safetensors")
    z.import_file(folder / "vit.safetensors", "bench/blank", architecture="test_vit")
    z.finetune("bench/blank", digits, "bench/vit", strategy="full", epochs=30, lr=1e-3,
               backbone_lr_ratio=1.0, layer_decay=1.0, image_size=32, device="cpu")  # fmt: skip
    return "bench/vit"


def part_of(source: Path, target: Path, labels: str) -> Path:
    """The digits of these labels."""
    for label in labels:
        for part in ("train", "test"):
            shutil.copytree(source / part / label, target / part / label)
    return target


def run(z: zoo.Zoo, base: str, data: Path, size: int, seed: int, arm: str) -> dict[str, float]:
    """Accuracy on the test images, seconds of the processor, and bytes."""
    shutil.rmtree(z.root / CACHE, ignore_errors=True)
    began = time.process_time()
    options: dict[str, Any] = {"image_size": size, "seed": seed, **options_of(arm)}
    done = z.finetune(base, data, "bench/run", device="cpu", force=True, **options)
    seconds = time.process_time() - began
    with tempfile.TemporaryDirectory() as remote:
        push(z.workspace, base, remote)
        _, sent = push(z.workspace, "bench/run", remote)
    z.delete("bench/run")
    kept = done.freeze["kept"] != "probe"
    return {"accuracy": done.metrics["accuracy"], "seconds": seconds, "bytes": sent.sent_bytes,
            "trained": float(kept)}  # fmt: skip


def cases(z: zoo.Zoo, folder: Path, only: str | None) -> Iterator[tuple[str, str, Path, int]]:
    """Networks by name, each with the images that it is adapted to and their size."""
    digits = save_digits(folder / "digits")
    if only != "test_vit":
        yield "tf_efficientnet_lite0", BASE, digits, 48
    if only != "tf_efficientnet_lite0":
        vit = small_vit(z, folder, part_of(digits, folder / "low", "01234"))
        yield "test_vit", vit, part_of(digits, folder / "high", "56789"), 32


def measure(
    z: zoo.Zoo, title: str, base: str, drawn: Sequence[Path], size: int, arms: Mapping[str, str]
) -> None:
    """Print a table of the arms, each once for all that was drawn."""
    print(f"\n| {title} | accuracy | ± | seconds | pushed | trained weights kept |")
    print("| --- | --- | --- | --- | --- | --- |")
    for arm, options in arms.items():
        rows = [run(z, base, data, size, seed, options) for seed, data in enumerate(drawn)]
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        spread = statistics.pstdev(row["accuracy"] for row in rows)
        print(f"| {arm} | {mean['accuracy']:.3f} | {spread:.3f} | {mean['seconds']:.0f} "
              f"| {mean['bytes'] / 1e6:.2f} MB | {mean['trained'] * len(rows):.0f} of "
              f"{len(rows)} |", flush=True)  # fmt: skip


def main() -> None:
    """Measure, and print a table for each network, or for each image set."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--images", type=int, default=50)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--only", choices=["tf_efficientnet_lite0", "test_vit"])
    asked.add_argument("--sets", type=Path)
    asked.add_argument("--try", dest="arms", action="append", default=[])
    args = asked.parse_args()
    with tempfile.TemporaryDirectory() as name, with_base(Path(name, "zoo")) as z:
        arms, seeds = {x: x for x in args.arms} or ARMS, range(args.seeds)
        if args.sets:
            for kind in names_of(args.sets):
                parts = [Path(name, kind, str(seed)) for seed in seeds]
                drawn = [draw_share(args.sets / kind, part, "400", seed)
                         for seed, part in enumerate(parts)]  # fmt: skip
                measure(z, kind, BASE, drawn, 64, arms)
            return
        for network, base, source, size in cases(z, Path(name), args.only):
            drawn = [draw(source, Path(name, network, str(seed)), args.images, seed)
                     for seed in seeds]  # fmt: skip
            measure(z, network, base, drawn, size, arms)


if __name__ == "__main__":
    main()
