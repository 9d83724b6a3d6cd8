"""Runs on an accelerator: what is frozen, cached, cut off, done again and asked for."""

from __future__ import annotations

import gzip
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at
from torch import Tensor

from zoo import plugins
from zoo.advice.layers import layers_of
from zoo.advice.reading import read
from zoo.backbones.devices import pick_device
from zoo.backbones.load import load
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.facade import Zoo
from zoo.finetune.dataset import batches
from zoo.finetune.dataset.workers import Workers
from zoo.finetune.features import cache
from zoo.finetune.features.cache import Activations
from zoo.finetune.features.loaders import CachedLoader
from zoo.finetune.run import Finetuned, finetune, rerun, resume
from zoo.finetune.setup.prepare import prepare
from zoo.finetune.strategies import linear
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

pytestmark = pytest.mark.gpu

Tune = Callable[..., Finetuned]
Tensors = Callable[[str], dict[str, Tensor]]
Same = Callable[[dict[str, Tensor], dict[str, Tensor]], None]


def test_auto_takes_the_accelerator(device: str) -> None:
    found = torch.accelerator.current_accelerator(check_available=True)
    assert pick_device("auto") == (found.type if found else "cpu")
    assert pick_device(device) == device


@pytest.mark.parametrize("how", [{}, {"cache": False}, {"precision": "bf16"}], ids=str)
def test_what_is_frozen_keeps_its_bits_and_all_else_moves(
    workspace: Workspace, transformer: str, tune: Tune, tensors: Tensors, how: dict[str, Any]
) -> None:
    tune(transformer, "team/a", **how)
    before, after = tensors(transformer), tensors("team/a")
    module = load(workspace.store, workspace.names.resolve(transformer)[1])
    hierarchy = plugins.backbone("timm").hierarchy("test_vit", module)
    below = hierarchy.units[: hierarchy.boundary("blocks.1")]
    frozen = {name for unit in below for name in (*unit.parameters, *unit.buffers)}
    assert frozen
    for name in frozen:
        assert torch.equal(before[name], after[name]), name
    for name in after.keys() - frozen - {"head.weight", "head.bias"}:  # a new head
        assert not torch.equal(before[name], after[name]), name


@pytest.mark.parametrize(
    ("place", "precision", "kept"),
    [("device", "fp32", torch.float32), ("host", "fp32", torch.float32),
     ("mapped", "fp32", torch.float32), ("mapped", "bf16", torch.bfloat16)],
)  # fmt: skip
def test_where_the_cache_lies_changes_nothing(
    transformer: str, tune: Tune, tensors: Tensors, device: str,
    monkeypatch: pytest.MonkeyPatch, place: str, precision: str, kept: torch.dtype,
) -> None:  # fmt: skip
    """In bf16 nothing that its own rounding would not change."""
    tune(transformer, "team/uncached", cache=False, precision=precision)
    found: list[Activations] = []
    real = CachedLoader.epoch

    def epoch(loader: CachedLoader, number: int, **skip: int) -> Any:
        found.extend(loader.views)
        return real(loader, number, **skip)

    monkeypatch.setattr(CachedLoader, "epoch", epoch)
    if place != "device":
        monkeypatch.setattr(cache, "free_on", lambda _: 0)
    if place == "host":
        monkeypatch.setattr(cache, "room", lambda *_: 0)
    tune(transformer, "team/cached", precision=precision)
    assert {rows.dtype for each in found for rows in each.rows} == {kept}
    on = device if place == "device" and device == "cuda" else "cpu"
    assert {rows.device.type for each in found for rows in each.rows} == {on}
    one, other = tensors("team/uncached"), tensors("team/cached")
    near = 1e-3 if precision == "fp32" else 5e-2
    for name, value in one.items():  # here it is two ways to compute, on a CPU, too
        assert torch.allclose(
            value, other[name], rtol=near, atol=1e-6 + near * float(value.abs().max())
        )


def test_worker_processes_read_the_same(
    transformer: str, tune: Tune, tensors: Tensors, same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through pinned memory, where that is of use."""
    how: dict[str, Any] = {"augment": "light", "epochs": 3}
    tune(transformer, "team/alone", **how)
    monkeypatch.setattr(batches, "PAYS", -1.0)
    monkeypatch.setattr(batches, "cores", lambda: 2)
    seen = set[tuple[int | None, ...]]()
    real = Workers.read

    def read(workers: Workers, *args: Any) -> Any:
        for images in real(workers, *args):
            seen.add(tuple(child.pid for child in multiprocessing.active_children()))
            yield images

    monkeypatch.setattr(Workers, "read", read)
    tune(transformer, "team/read", **how)
    assert seen
    assert not multiprocessing.active_children()
    same(tensors("team/alone"), tensors("team/read"))


def test_a_run_that_was_cut_off_goes_on_to_the_same(
    workspace: Workspace, transformer: str, tune: Tune, tensors: Tensors, same: Same, device: str
) -> None:
    """Momentum, averages and what dropout draws on the device."""
    how: dict[str, Any] = {"drop": 0.5, "ema": 0.9}
    tune(transformer, "team/whole", **how)
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 5)
        with pytest.raises(Cut):
            tune(transformer, "team/cut", save_every=2, **how)
    torch.manual_seed(99)  # of all devices: whatever this process did before
    resume(workspace, "last", device=device)
    same(tensors("team/whole"), tensors("team/cut"))


def test_weights_lie_as_images_do(
    workspace: Workspace, base: str, tune: Tune, tensors: Tensors, same: Same, device: str
) -> None:
    """Also where a run goes on: a fused step wants momentum and weights to lie alike."""
    how: dict[str, Any] = {"freeze": "layer3", "channels_last": True, "optimizer": "adamw"}
    tune(base, "team/whole", **how)
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 5)
        with pytest.raises(Cut):
            tune(base, "team/cut", save_every=2, **how)
    resume(workspace, "last", device=device)
    before, one, other = (tensors(name) for name in (base, "team/whole", "team/cut"))
    name = "layer4.0.conv2.weight"
    assert not torch.equal(before[name], one[name])
    largest = float((one[name] - before[name]).abs().max())
    assert float((one[name] - other[name]).abs().max()) <= 0.1 * largest


def test_run_again_it_is_the_same(
    workspace: Workspace, transformer: str, tune: Tune, tensors: Tensors, same: Same, device: str
) -> None:
    tune(transformer, "team/one", class_weights="balanced")
    torch.manual_seed(99)
    rerun(workspace, "team/one", Reference.parse("team/again"), device=device)
    same(tensors("team/one"), tensors("team/again"))


@pytest.mark.parametrize(
    "how",
    [
        {"precision": "bf16", "channels_last": True},
        {"strategy": "lora", "rank": 2, "lr": 0.05, "layer_decay": None},
        {"strategy": "lp-ft", "lr": 0.01},
        {"strategy": "full", "freeze": "none", "augment": "light", "ema": 0.9},
        {"freeze": "blocks.0", "views": 2, "augment": "light"},
        {"cache": False, "grad_checkpointing": True, "accumulate": 2, "mixup": 0.2},
        {"bare": True, "strategy": "gradual", "phases": ("all:1", "blocks.1:1"), "blend": "soup"},
    ],
    ids=lambda how: " ".join(map(str, how)),
)
def test_what_a_run_says_its_checkpoint_does(
    workspace: Workspace, transformer: str, tune: Tune, device: str, shapes: Path,
    how: dict[str, Any],
) -> None:  # fmt: skip
    """The figures of the run are those of what it has published, loaded and tested anew."""
    done = tune(transformer, "team/a", **how)
    losses = [line["loss"] for line in find_run(workspace, done.run).lines() if "lr" in line]
    assert losses
    with Zoo(workspace) as z:
        report = z.evaluate("team/a", shapes, split="test", device=device, save=False)
    assert report.report.metrics["loss"] == pytest.approx(done.metrics["loss"], rel=0.05)


@pytest.mark.parametrize("more", [{}, {"probe": "svm"}, {"at": "auto"}], ids=str)
def test_a_probe_scores_as_on_the_cpu(
    transformer: str, tune: Tune, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted there, though it is too small to be worth that."""
    monkeypatch.setattr(linear, "LARGE", 0)
    how: dict[str, Any] = {"bare": True, "strategy": "probe", **more}
    here, there = tune(transformer, "team/a", **how), tune(transformer, "team/b", on="cpu", **how)
    assert here.metrics["loss"] == pytest.approx(there.metrics["loss"], rel=0.05)
    assert here.metrics["accuracy"] == pytest.approx(there.metrics["accuracy"], abs=0.21)


def test_probes_of_an_advice_score_as_on_the_cpu(
    workspace: Workspace, transformer: str, shapes: Path, device: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Fitted there, though they are too small to be worth that."""
    found = []
    for where, least in ((device, 0), ("cpu", linear.LARGE)):
        monkeypatch.setattr(linear, "LARGE", least)
        recipe = Recipe(data=str(shapes), image_size=32, precision="fp32")
        reading = read(prepare(workspace, transformer, recipe, where, silent), 8, tmp_path / where)
        assert reading.device.type == ("cuda" if where == "cuda" else "cpu")
        layers = layers_of(reading, "classification", ("a", "b"), reading.group, 0, silent)
        assert layers
        found.append([depth.score for depth in layers.depths.depths])
    assert found[0] == pytest.approx(found[1], abs=0.07)


def test_a_profiled_run_trains_on_it(
    workspace: Workspace, base: str, shapes: Path, device: str
) -> None:
    how: dict[str, Any] = {"strategy": "partial", "freeze": "layer2", "batch_size": 2}
    recipe = Recipe(data=str(shapes), image_size=32, epochs=1, **how)
    save = Reference.parse("team/a")
    done = finetune(workspace, base, recipe, save, device=device, profile=True)
    folder = find_run(workspace, done.run).folder
    told = json.loads((folder / "profile.json").read_text())
    assert told["device"].startswith(device)
    if device == "cuda":
        events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
        assert any(event.get("cat") == "kernel" for event in events["traceEvents"])
