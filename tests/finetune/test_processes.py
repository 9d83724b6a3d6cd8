"""Two processes train what one trains with the whole batch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from accelerate import PartialState
from fakes import warm
from fakes.cuts import Cut, cut_at
from fakes.torchrun import FSDP, run, weights
from safetensors.torch import save_file

from zoo.backbones.freeze import freeze
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import Unsupported
from zoo.facade import Zoo
from zoo.finetune.loop.evaluate import not_synced
from zoo.finetune.loop.find_lr import search
from zoo.finetune.ranks.ranks import ALONE, Distributed, Ranks, join
from zoo.finetune.setup.prepare import prepare
from zoo.lookup.runs import list_runs
from zoo.workspace import Workspace

IMPATIENT = """
import sys, time, torch
from datetime import timedelta
from zoo.finetune.ranks import ranks as processes
processes.STEP = timedelta(seconds=2)
met, _ = processes.join("cpu")
with met.main_first():
    time.sleep(3 if met.is_main else 0)
if met.is_main:
    try:
        met.totals([1.0])
    except RuntimeError:
        sys.stdout.write("noticed\\n")
met.wait()
"""
LEAVES = """
import sys, torch, torch.distributed as dist
from zoo.finetune.ranks import ranks
ranks.LEAVING = 0.01
sys.setswitchinterval(10)  # as on a busy machine, a thread waits long for the interpreter's lock
for _ in range(200):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    value = torch.ones(4)
    work = dist.all_reduce(value, async_op=True)
    work.wait()
    del work, value
    ranks.leave()
"""
TRY = """
import json, sys, zoo
from zoo.domain.recipe import Recipe
from zoo.finetune.loop.find_lr import search
search.__kwdefaults__["steps"] = 30
recipe = Recipe(data=sys.argv[2], **json.loads(sys.argv[3]))
curve = zoo.open(sys.argv[1]).find_lr(recipe, "team/vit", device="cpu")
sys.stdout.write(json.dumps(curve.losses[:15], separators=(",", ":")) + "\\n")
"""
CUT = """
import os, signal, sys, zoo
from zoo.finetune.loop import train as training
z, name, learn = zoo.open(sys.argv[1]), sys.argv[3], training.learn
recipe = dict(strategy="partial", freeze="features.7", epochs=2, batch_size=8, image_size=64)
def cut(*arguments):
    for number, step in enumerate(learn(*arguments)):
        if name == "team/cut" and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield step
training.learn = cut
z.finetune("team/dropping", sys.argv[2], name, device="cpu", save_every=2, **recipe)
"""
RESUME = """
import sys, zoo
zoo.open(sys.argv[1]).resume("last")
"""
FIND = """
import sys, zoo
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.ranks.ranks import join
from zoo.finetune.setup.batch_size import _Step
from zoo.finetune.setup.prepare import prepare
ranks, device = join("cpu")
recipe = Recipe(data=sys.argv[2], strategy="full", image_size=32, batch_size="auto")
_Step._measured = lambda _: 1.0
for rooms in ((99, 99), (99, 5), (5, 99)):
    _Step._budget = lambda _: rooms[ranks.rank]
    with zoo.open(sys.argv[1]) as z:
        found = prepare(z.workspace, "team/vit", recipe, device, silent, ranks).recipe
    sys.stdout.write(f"{found.batch_size},{found.lr}\\n")
ranks.wait()
"""
OPTIONS: dict[str, Any] = {
    "strategy": "partial", "freeze": "blocks.0", "epochs": 2, "batch_size": 7, "lr": 0.003,
    "class_weights": "balanced", "clip_norm": 5.0, "ema": 0.5, "image_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_cs() -> None:
    """Here a probe tries as many as in the other processes."""


@pytest.fixture
def vit(workspace: Workspace, tmp_path: Path) -> str:
    """A network with layer norm, whose statistics do not depend on the share of a batch."""
    torch.manual_seed(1)
    module = timm.create_model("test_vit", num_classes=2)
    save_file(module.state_dict(), tmp_path / "vit.safetensors")
    Zoo(workspace).import_file(tmp_path / "vit.safetensors", "team/vit", architecture="test_vit")
    return "team/vit"


FROZEN: dict[str, Any] = {"freeze": "all", "image_size": 32}
SYNCED: dict[str, Any] = {
    "freeze": "layer2", "image_size": 32, "batch_norm": "synced", "batch_size": 5,
    "optimizer": "sgd", "lr": 0.05, "cache": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "moved", "more"),
    [
        # The last batch has one image: one of the two processes has none.
        ("vit", "blocks.3.mlp.fc1.weight", {"cache": True, "batch_size": 13, "sam": 0.1}),
        # AdamW divides by how large gradients are: where they are almost 0, rounding shows.
        pytest.param(
            "vit",
            "blocks.3.mlp.fc1.weight",
            {"cache": False, "optimizer": "sgd", "lr": 0.05},
            marks=pytest.mark.long,
        ),
        pytest.param(
            "vit",
            "blocks.3.mlp.fc1.weight",
            {"mixup": 0.4, "cutmix": 1.0, "accumulate": 2},
            marks=pytest.mark.long,
        ),
        pytest.param(
            "vit",
            "blocks.3.mlp.fc1.weight",
            {"strategy": "lora", "lr": 0.03, "validation_share": 0.0},  # or the probe is kept
            marks=pytest.mark.long,
        ),
        # Batch norm that is trained; of the last batch, two of 27 images, one process has none.
        pytest.param("base", "layer4.0.bn1.running_mean", SYNCED, marks=pytest.mark.long),
        pytest.param(  # batch norm that is frozen
            "base", "fc.weight", {**FROZEN, "cache": False}, marks=pytest.mark.long
        ),
    ],
)
def test_two_processes_equal_one(
    request: pytest.FixtureRequest, workspace: Workspace, shapes: Path, tmp_path: Path,
    network: str, moved: str, more: dict[str, Any],
) -> None:  # fmt: skip
    options = {"base": request.getfixturevalue(network), **OPTIONS, **more}
    Zoo(workspace).finetune(data=shapes, save="team/one", device="cpu", **options)
    said = run(tmp_path, 2, str(workspace.root), str(shapes), "team/two", json.dumps(options))
    assert said == [str(workspace.names.resolve("team/two")[1])] * 2
    for name, size in (("team/one", "1"), ("team/two", "2")):
        manifest = workspace.store.manifest(workspace.names.resolve(name)[1])
        assert manifest.provenance["processes"] == size
    assert len(list_runs(workspace)) == 2  # one each: the second process wrote none
    one, two = (weights(workspace, name) for name in ("team/one", "team/two"))
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=1e-3, atol=2e-5), name
    start = weights(workspace, f"team/{network}")[moved]
    assert not torch.allclose(one[moved], start[: len(one[moved])])
    losses = [
        [line["loss"] for line in run.lines() if line["kind"] == "step"]
        for run in list_runs(workspace)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_batch_norm_that_each_process_trains_is_remarked_on(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    recipe = Recipe(data=str(shapes), strategy="partial", batch_size=8, image_size=32)
    alone = prepare(workspace, base, recipe, "cpu", silent)
    prepared = replace(alone, ranks=Ranks(0, 2))
    assert "its own 4 images" in not_synced(prepared)
    assert not_synced(alone) == ""
    synced = replace(prepared, recipe=replace(prepared.recipe, batch_norm="synced"))
    assert not_synced(synced) == ""
    prepared = replace(prepared, recipe=replace(prepared.recipe, batch_norm="frozen"))
    prepared.freeze(0)
    assert not_synced(prepared) == ""
    freeze(prepared.model, prepared.hierarchy, prepared.units)
    assert not_synced(prepared) == ""


@pytest.mark.long
def test_a_run_goes_on_to_the_bit_with_the_dropout_of_each_process(
    workspace: Workspace, shapes: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    module = torchvision.models.squeezenet1_1(num_classes=2)  # dropout, and no batch norm
    save_file(module.state_dict(), tmp_path / "dropping.safetensors")
    Zoo(workspace).import_file(
        tmp_path / "dropping.safetensors", "team/dropping", architecture="squeezenet1_1",
        backbone="torchvision",
    )  # fmt: skip
    root = str(workspace.root)
    run(tmp_path, 2, root, str(shapes), "team/whole", text=CUT)
    run(tmp_path, 2, root, str(shapes), "team/cut", text=CUT, status=1)
    assert list_runs(workspace)[0].resumable
    run(tmp_path, 2, root, text=RESUME)
    whole, cut = (weights(workspace, name) for name in ("team/whole", "team/cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    one, other = (
        [line["train_loss"] for line in made.lines() if line.get("name", "").startswith("epoch")]
        for made in list_runs(workspace)
    )
    assert one == other
    assert len(one) == 2


@pytest.mark.long
def test_what_goes_on_in_other_processes_says_so(
    workspace: Workspace, base: str, shapes: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 2)
        with pytest.raises(Cut):
            Zoo(workspace).finetune(
                base, shapes, "team/cut", device="cpu", save_every=1, strategy="partial", **FROZEN
            )
    run(tmp_path, 2, str(workspace.root), text=RESUME)
    made = workspace.store.manifest(workspace.names.resolve("team/cut")[1])
    assert made.provenance["processes"] == "1, then 2"
    assert made.provenance["threads"] == "1"
    said = [line["text"] for line in list_runs(workspace)[0].lines() if line["kind"] == "remark"]
    remark = "other bits than when the run began are to be expected: processes 2 (was 1)"
    assert said.count(remark) == 1


@pytest.mark.long
@pytest.mark.parametrize("settings", [{}, FSDP])
def test_rates_are_tried_together(
    workspace: Workspace, vit: str, shapes: Path, tmp_path: Path, settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    options: dict[str, Any] = {**OPTIONS, "strategy": "lp-ft", "accumulate": 2}
    defaults = search.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "steps", 30)
    arguments = (str(workspace.root), str(shapes), json.dumps(options))
    first, second = run(tmp_path, 2, *arguments, text=TRY, settings=settings)
    assert first == second
    recipe = Recipe(data=str(shapes), **options)
    alone = Zoo(workspace).find_lr(recipe, vit, device="cpu")
    assert json.loads(first) == pytest.approx(alone.losses[:15], rel=1e-3)


@pytest.mark.long
def test_long_work_is_waited_for_and_a_process_that_does_not_come_is_not(tmp_path: Path) -> None:
    assert run(tmp_path, 2, text=IMPATIENT) == ["noticed"]


@pytest.mark.parametrize(
    ("name", "device", "reason"),
    [("OMPI_COMM_WORLD_SIZE", "cpu", "--launch"), ("WORLD_SIZE", "mps", "--device cpu")],
)
def test_processes_that_would_not_meet_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, device: str, reason: str
) -> None:
    monkeypatch.setenv(name, "2")
    try:
        with pytest.raises(Unsupported, match=reason):
            join(device)
    finally:
        PartialState._reset_state()


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert join("cpu") == (ALONE, "cpu")


@pytest.mark.parametrize("rank", [0, 1])
def test_who_fails_first_lets_the_others_fail(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that raises has met the others once, as one that does not."""
    met = list[int]()
    monkeypatch.setattr(Distributed, "wait", lambda ranks: met.append(ranks.rank))
    with pytest.raises(ValueError, match="no images"), Distributed(rank, 2).main_first():
        raise ValueError("no images")
    assert met == [rank]


@pytest.mark.long
def test_a_batch_is_as_large_as_fits_where_the_least_does(
    workspace: Workspace, vit: str, shapes: Path, tmp_path: Path
) -> None:
    """Each has half of it: of 27 images, 8 or 4."""
    assert vit == "team/vit"
    said = run(tmp_path, 2, str(workspace.root), str(shapes), text=FIND)
    assert said == ["16,0.00212", "8,0.0015", "8,0.0015"] * 2


def test_a_process_that_ends_waits_for_no_thread_that_waits_for_it() -> None:
    """With torch 2.7, the lowest version, about one of forty never ended."""
    with warm.popen("-c", LEAVES) as process:
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
