"""Training on an accelerator, beside timm's own way, HF's Trainer, and what the card could do.

    python benchmarks/gpu.py [--quick] [--minutes 8] [--batch 64] [--out build/gpu]
    python benchmarks/gpu.py --device cpu --tiny    # tries the script itself

ViT-B/16, ConvNeXt-T and EfficientNet-Lite0 with random weights at 224 pixels, on JPEGs of 500 x 375
that are made here: nothing is downloaded. Rows are zoo with 80 % frozen from the cache, the same
without it, and all trained; without augmentation and with it (``medium``; cached: two views; else
on the host, and on the device). Beside them timm's pieces put together as its ``train.py`` does
(loader, prefetcher, autocast, channels last, fused AdamW), for what is frozen with
``requires_grad`` off; the Trainer of transformers; the loader alone, without a network
(``decode``), on all cores; and the bound: multiplications that an image
takes, forward and backward, by the rate of a large matrix product as it is measured here. All
multiply in bf16, on a CPU in fp32.

A step's time is that of passes over the training images, from the first batch that is asked for:
the start of workers is in it, validation is not. ``busy`` is the share of time in which kernels
ran, of a pass that is traced and not timed; on a CPU the processor time that was used, of all
cores. Each row is a line of JSON as soon as it is measured, and is not measured again; what failed
is tried again by the next run. After so many minutes no other row is begun.
"""

from __future__ import annotations

import argparse
import gc
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch
from PIL import Image
from result_lines import Results, Row
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader
from timm.layers import set_fused_attn
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.backbones.devices import pick_device, wait_for
from zoo.backbones.from_cut import FromCut
from zoo.config import cores
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Preprocessing
from zoo.domain.progress import silent
from zoo.finetune.dataset.augment import LEVELS, training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.loop import train as training
from zoo.finetune.loop.pace import memory
from zoo.packages import version
from zoo_timm.backbone import TimmBackbone

NETWORKS = ("vit_base_patch16_224", "convnext_tiny", "tf_efficientnet_lite0")
TINY = ("test_vit", "test_convnext", "test_efficientnet")
CLASSES, DEPTH, LEVEL, VIEWS = 8, "80%", "medium", 2
THERE = f"{LEVEL}, on the device"
MEAN = STD = (0.5, 0.5, 0.5)
PARTS = ("network", "by", "mode", "augment")
LEAST, TRACED = 4, 10
"""Steps that are timed at least, and that are traced at most."""
FEW = 256
"""Images that are made sooner than other processes are started."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    networks: Sequence[str]
    size: int  # pixels
    images: int
    batch: int
    seconds: float  # that are timed for each row
    minutes: float  # after which no row is begun
    warm: int = 8  # steps before time is taken
    compiled: Sequence[str] = ()  # networks that are compiled, too


SCALES = {
    "tiny": Scale(TINY, 160, 64, 4, 0.05, 10.0, warm=1),
    "quick": Scale(NETWORKS, 224, 2048, 256, 3.0, 7.5, compiled=NETWORKS[:1]),
    "whole": Scale(NETWORKS, 224, 8192, 256, 20.0, 600.0, compiled=NETWORKS),
}


class Enough(BaseException):
    """All that a row needs is measured; nothing on the way may take it for a failure."""


class Meter:
    """Times the steps of a training, and then traces some; ends it with `Enough`."""

    def __init__(self, device: torch.device, seconds: float, warm: int) -> None:
        self.device, self.limit, self.warm = device, seconds, warm
        self.images = self.steps = self._warm = self._traced = 0
        self.seconds = self._computed = 0.0
        self.busy: float | None = None  # a share; unknown where it cannot be traced
        self._began: float | None = None
        self._trace: profile | None = None

    def watch(self, steps: Iterator[Any], images: Callable[[Any], int]) -> Iterator[Any]:
        """The steps of a pass, each of which is done when the next is asked for."""
        self.begin()
        for step in steps:
            yield step
            self.step(images(step))
        self.end()

    def begin(self) -> None:
        """A pass begins."""
        if self.device.type == "cuda" and self._enough:
            wait_for(self.device)
            self._trace = profile(activities=[ProfilerActivity.CUDA])
            self._trace.start()
        self._start()

    def step(self, images: int) -> None:
        """A step is done, or the device has been told to do it."""
        if self._trace:
            self._traced += 1
            if self._traced == TRACED:
                self.end()
        elif self._began is not None:
            self.images += images
            self.steps += 1
            if self._enough:
                self._stop()
                if self.device.type == "cpu":
                    self.busy = self._computed / (self.seconds * cores())
                if self.device.type != "cuda":
                    raise Enough
        else:
            self._warm += 1
            self._start()

    def end(self) -> None:
        """A pass is over."""
        if not self._trace:
            self._stop()
            return
        wait_for(self.device)
        took, trace = time.perf_counter() - (self._began or 0.0), self._trace
        trace.stop()
        kernels = sum(each.self_device_time_total for each in trace.key_averages())
        self.busy = min(kernels / 1e6 / took, 1.0)
        raise Enough

    @property
    def _enough(self) -> bool:
        going = time.perf_counter() - self._began if self._began is not None else 0.0
        return self.steps >= LEAST and self.seconds + going >= self.limit

    def _start(self) -> None:
        if (self._warm >= self.warm and not self._enough) or self._trace:
            wait_for(self.device)
            if not self.steps and self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self._began, self._used = time.perf_counter(), time.process_time()

    def _stop(self) -> None:
        if self._began is not None:
            wait_for(self.device)
            self.seconds += time.perf_counter() - self._began
            self._computed += time.process_time() - self._used
            self._began = None


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    scale: Scale
    device: torch.device
    data: Path  # images in folders
    home: Path  # a zoo with the networks

    @property
    def reduced(self) -> bool:
        """Whether it multiplies in bf16."""
        return self.device.type != "cpu"

    def measure(self, cell: Mapping[str, str]) -> Row:
        """The figures of a row."""
        torch.manual_seed(0)
        if cell["by"] == "bound":
            return bound(self, cell)
        meter = Meter(self.device, self.scale.seconds, self.scale.warm)
        try:
            TRAINERS[cell["by"]](self, cell, meter)
        except Enough:
            return {
                "images_per_second": round(meter.images / meter.seconds, 1),
                "ms_per_step": round(1000 * meter.seconds / meter.steps, 3),
                "busy_percent": None if meter.busy is None else round(100 * meter.busy, 1),
                "peak_bytes": memory(self.device),
                "steps": meter.steps,
            }
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        raise RuntimeError("the training ended before it was measured")


def zoos(bench: Bench, cell: Mapping[str, str], meter: Meter) -> None:
    """A run of zoo, with its journal, state and averages as they are by default."""
    mode, real = cell["mode"], training.learn
    how: dict[str, Any] = {"strategy": "full"} if mode == "full" else {"strategy": "partial"}
    if mode != "full":
        how |= {"freeze": DEPTH, "cache": mode == "cached"}
    if cell["augment"] != "none":
        how |= {"augment": LEVEL, **({"views": VIEWS} if mode == "cached" else {})}
    if cell["augment"] == THERE:
        how |= {"augment_on": "device"}

    def learn(*args: Any) -> Iterator[Any]:
        return meter.watch(real(*args), lambda step: int(step.images))

    with patch.object(training, "learn", learn), zoo.open(bench.home, progress=silent) as z:
        z.finetune(
            f"bench/{cell['network']}", bench.data, f"bench/run:s{time.time_ns()}",
            device=str(bench.device), epochs=10_000, image_size=bench.scale.size,
            batch_size=bench.scale.batch, channels_last="vit" not in cell["network"],
            precision="bf16" if bench.reduced else "fp32",
            compile=cell["by"].endswith("compiled"), **how,
        )  # fmt: skip


def timms(bench: Bench, cell: Mapping[str, str], meter: Meter) -> None:
    """What timm's ``train.py`` does, by its pieces; losses are logged every 50 steps."""
    model, device = built(bench, cell), bench.device
    still = frozen(cell["network"], model) if cell["mode"] == "frozen" else []
    for module in still:
        module.requires_grad_(False)
    loader = create_loader(
        dataset(bench), (3, bench.scale.size, bench.scale.size), bench.scale.batch,
        is_training=True, no_aug=cell["augment"] == "none", interpolation="bicubic",
        mean=MEAN, std=STD, num_workers=workers(bench), pin_memory=device.type == "cuda",
        device=device, persistent_workers=bool(workers(bench)),
        **(LEVELS[LEVEL] if cell["augment"] != "none" else {}),
    )  # fmt: skip
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-4, weight_decay=0.05, fused=True)
    runs: Any = torch.compile(model) if cell["by"].endswith("compiled") else model
    number = 0
    while True:
        model.train()
        for module in still:
            module.eval()
        for images, targets in meter.watch(iter(loader), lambda batch: len(batch[1])):
            images = images.contiguous(memory_format=layout(cell["network"]))
            with torch.autocast(device.type, torch.bfloat16) if bench.reduced else nullcontext():
                loss = nn.functional.cross_entropy(runs(images), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if number % 50 == 0:
                loss.item()
            number += 1


def trainers(bench: Bench, cell: Mapping[str, str], meter: Meter) -> None:
    """The Trainer of transformers, on the same network."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            meter.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step(bench.scale.batch)

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            meter.end()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = built(bench, cell)

        def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            outputs = self.inner(images.contiguous(memory_format=layout(cell["network"])))
            return {"loss": nn.functional.cross_entropy(outputs, labels), "logits": outputs}

    def collate(samples: Sequence[tuple[Tensor, int]]) -> dict[str, Tensor]:
        images, labels = zip(*samples, strict=True)
        return {"images": torch.stack(images), "labels": torch.tensor(labels)}

    images, size = dataset(bench), bench.scale.size
    images.transform = timm.data.create_transform((3, size, size), mean=MEAN, std=STD)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=bench.scale.batch, num_train_epochs=10_000,
            bf16=bench.reduced, use_cpu=not bench.reduced, optim="adamw_torch_fused",
            dataloader_num_workers=workers(bench), dataloader_drop_last=True,
            dataloader_persistent_workers=bool(workers(bench)), save_strategy="no",
            logging_steps=50, report_to=[], remove_unused_columns=False, disable_tqdm=True,
        )  # fmt: skip
        Trainer(
            Network(), arguments, train_dataset=images, data_collator=collate, callbacks=[Watch()]
        ).train()


def decoding(bench: Bench, cell: Mapping[str, str], meter: Meter) -> None:
    """What reads for zoo, and nothing that it reads for."""
    how = Preprocessing(
        input_size=(3, bench.scale.size, bench.scale.size), interpolation="bicubic", mean=MEAN,
        std=STD, crop_pct=0.9, crop_mode="center",
    )  # fmt: skip
    there = "device" if cell["augment"] == THERE else "host"
    transform = training_transform(how, "timm", cell["augment"].split(",")[0], on=there)
    images = open_dataset(str(bench.data))
    batches = Batches(
        images, images.train, replace(transform, finish=None), bench.scale.batch,
        workers=workers(bench), device=bench.device, once=True,
    )  # fmt: skip
    for epoch in count():
        for _ in meter.watch(batches.epoch(epoch), lambda batch: len(batch.indices)):
            pass


TRAINERS = {
    "decode": decoding,
    "zoo": zoos,
    "zoo compiled": zoos,
    "timm": timms,
    "timm compiled": timms,
    "HF Trainer": trainers,
}


def cells(scale: Scale) -> Iterator[dict[str, str]]:
    """All rows, those first that matter most."""

    def row(network: str, by: str, mode: str, augment: str = "none") -> dict[str, str]:
        return dict(zip(PARTS, (network, by, mode, augment), strict=True))

    for network in scale.networks:
        yield from (row(network, "bound", mode) for mode in ("cached", "frozen", "full"))
        yield from (row(network, "zoo", mode) for mode in ("cached", "frozen", "full"))
        yield from (row(network, "timm", mode) for mode in ("frozen", "full"))
    yield from (row("none", "decode", "nothing", augment) for augment in ("none", LEVEL, THERE))
    yield from (row(network, "zoo compiled", "cached") for network in scale.compiled)
    for network in scale.networks:
        yield from (row(network, "zoo", mode, LEVEL) for mode in ("cached", "frozen", "full"))
        yield from (row(network, "zoo", mode, THERE) for mode in ("frozen", "full"))
        yield from (row(network, "timm", mode, LEVEL) for mode in ("frozen", "full"))
    if version("transformers"):
        yield from (row(network, "HF Trainer", "full") for network in scale.networks)
    for network in scale.compiled:
        yield from (row(network, f"{by} compiled", "full") for by in ("zoo", "timm"))


def built(bench: Bench, cell: Mapping[str, str]) -> Any:
    """A network with random weights on the device."""
    model: Any = timm.create_model(cell["network"], num_classes=CLASSES)
    return model.to(bench.device, memory_format=layout(cell["network"]))


def layout(network: str) -> torch.memory_format:
    """How images and weights lie in memory."""
    return torch.contiguous_format if "vit" in network else torch.channels_last


def hierarchy_of(network: str, model: nn.Module) -> Hierarchy:
    """The units of a network."""
    return TimmBackbone().hierarchy(network, model)


def frozen(network: str, model: nn.Module) -> list[nn.Module]:
    """The modules below the boundary."""
    hierarchy = hierarchy_of(network, timm.create_model(network, num_classes=CLASSES))
    below = hierarchy.units[: hierarchy.boundary(DEPTH)]
    return [model.get_submodule(path) for unit in below for path in unit.modules]


def dataset(bench: Bench) -> Any:
    """The images, as timm reads them."""
    return create_dataset("", root=str(bench.data))


def workers(bench: Bench) -> int:
    """Processes that read for trainers which are told how many."""
    return cores() if bench.device.type != "cpu" else 0


def bound(bench: Bench, cell: Mapping[str, str]) -> Row:
    """What the multiplications alone would take."""
    whole, above = operations(cell["network"], bench.scale.size)
    # Backward takes as much for the weights, and as much for what goes on below.
    taken = {"cached": 3 * above, "frozen": whole + 2 * above, "full": 3 * whole}[cell["mode"]]
    rate = product_rate(bench.device, 256 if bench.scale.networks == TINY else 8192)
    speed = rate / taken
    return {
        "images_per_second": round(speed, 1),
        "ms_per_step": round(1000 * bench.scale.batch / speed, 3),
        "busy_percent": 100.0,
        "peak_bytes": 0,
        "tflops": round(rate / 1e12, 3),
        "gflop_per_image": round(taken / 1e9, 2),
    }


@cache
def operations(network: str, size: int) -> tuple[int, int]:
    """Of one image forward: by the whole network, and by what is above the cut."""
    set_fused_attn(False)  # so that its products are seen
    try:
        model = timm.create_model(network, num_classes=CLASSES).eval()
        hierarchy = hierarchy_of(network, model)
        entry = FromCut(model, hierarchy, hierarchy.cut_below(hierarchy.boundary(DEPTH)))
        image, counted = torch.randn(1, 3, size, size), []
        with torch.no_grad():
            inputs = entry.record(image)
            entry.forward(inputs, image)  # learns what modules below give
            for run in (partial(model, image), partial(entry.forward, inputs, image)):
                with FlopCounterMode(display=False) as counter:
                    run()
                counted.append(counter.get_total_flops())
    finally:
        set_fused_attn(True)
    return counted[0], counted[1]


@cache
def product_rate(device: torch.device, size: int) -> float:
    """Operations per second in a product of two matrices of that size; the best of ten."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(11):  # the first warms up
        wait_for(device)
        began = time.perf_counter()
        for _ in range(10):
            one @ other
        wait_for(device)
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * size**3 / best


def save_image(place: tuple[Path, int]) -> None:
    """A JPEG of its own, about as large as those of photographs."""
    path, number = place
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = chance.integers(-12, 12, smooth.shape, dtype=np.int16)
    image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    image.save(path, quality=85)


def prepare(root: Path, scale: Scale) -> tuple[Path, Path]:
    """Images in folders, and a zoo with the networks."""
    data, home = root / "images", root / "zoo"
    places = []
    for number in range(scale.images):
        folder = data / f"class-{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        places.append((folder / f"{number:06}.jpg", number))
    if len(places) < FEW:
        list(map(save_image, places))
    else:
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            list(pool.map(save_image, places, chunksize=32))
    with zoo.init(home) as z:
        for name in scale.networks:
            torch.manual_seed(0)
            file = root / f"{name}.safetensors"
            save_file(timm.create_model(name, num_classes=CLASSES).state_dict(), file)
            z.import_file(file, f"bench/{name}", architecture=name, backbone="timm")
            file.unlink()
    return data, home


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with what each reaches of the bound."""
    if not rows:
        return "nothing is measured yet\n"
    known = {tuple(row[part] for part in PARTS): row for row in rows}
    first = rows[0]
    rate = max((row["tflops"] for row in rows if "tflops" in row), default=0.0)
    lines = [
        f"{first['card']}, torch {first['torch']}, timm {first['timm']}, {first['date'][:10]}; "
        f"{first['batch']} images a step, {first['precision']}; a matrix product runs at "
        f"{rate:.3g} TFLOP/s",
        "",
        "| network | by | trained | augmentation | images/s | ms a step | busy | memory "
        "| of bound | of decode |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: [str(row[part]) for part in PARTS]):
        limit = known.get((row["network"], "bound", row["mode"], "none"))
        fed = known.get(("none", "decode", "nothing", row["augment"]))
        if row["augment"] == "none" or row["mode"] in ("cached", "nothing"):
            fed = None  # what is kept in memory is not decoded again
        shares = [
            f"{row['images_per_second'] / of['images_per_second']:.0%}" if of else ""
            for of in (limit, fed)
        ]
        busy = "" if row["busy_percent"] is None else f"{row['busy_percent']:.0f} %"
        lines.append(
            f"| {row['network']} | {row['by']} | {row['mode']} | {row['augment']} "
            f"| {row['images_per_second']:,.0f} | {row['ms_per_step']:.2f} "
            f"| {busy} | {row['peak_bytes'] / 1e9:.1f} GB | {' | '.join(shares)} |"
        )
    return "\n".join(lines) + "\n"


def card_of(device: torch.device) -> str:
    """What the device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {cores()} cores"


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--quick", action="store_true", help="within ten minutes")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: tries the script")
    parser.add_argument("--batch", type=int, help="images a step, for a card with less memory")
    parser.add_argument("--minutes", type=float, help="begin no row after so many")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder of the figures")
    asked, began = parser.parse_args(), time.monotonic()
    name = "tiny" if asked.tiny else "quick" if asked.quick else "whole"
    scale, device = SCALES[name], torch.device(pick_device(asked.device))
    if device.type == "cpu" and not asked.tiny:
        sys.exit("there is no accelerator here; --device cpu --tiny tries the script itself")
    limit = 60 * (scale.minutes if asked.minutes is None else asked.minutes)
    logging.getLogger("zoo").setLevel(logging.ERROR)  # guesses about random weights
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.batch:
        scale, name = replace(scale, batch=asked.batch), f"{name} {asked.batch}"
    stem = re.sub(r"\W+", "-", f"{card_of(device)} {name}").lower()
    results = Results(asked.out / f"{stem}.jsonl", PARTS)
    left = list(results.missing(cells(scale)))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        if left and limit:
            data, home = prepare(Path(folder), scale)
            bench = Bench(scale, device, data, home)
        while left and time.monotonic() - began < limit:
            cell = left.pop(0)
            try:
                row = bench.measure(cell)
            except Exception as error:  # noqa: BLE001 - the other rows are measured
                failed += 1
                print(f"{' '.join(cell.values())}: {error}", file=sys.stderr)
                continue
            finally:
                shutil.rmtree(bench.home / "runs", ignore_errors=True)
            common = {
                "card": card_of(device), "torch": torch.__version__, "timm": timm.__version__,
                "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "batch": scale.batch,
                "precision": "bf16" if bench.reduced else "fp32", "images": scale.images,
            }  # fmt: skip
            results.add({**cell, **row, **common})
            print(f"{' '.join(cell.values())}: {row['images_per_second']:,.0f} images/s",
                  file=sys.stderr)  # fmt: skip
    text = table(results.rows)
    (asked.out / f"{stem}.md").write_text(text)
    print(text, end="")
    if left:
        print(f"{len(left)} rows are left: run it again", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
