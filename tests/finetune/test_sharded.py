"""Two processes that share weights, gradients and optimizer's state train what one trains."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from accelerate import PartialState
from fakes.torchrun import FSDP, PROGRAM, run, weights
from torch import nn
from torch.distributed.fsdp import FSDPModule

from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption, Unsupported
from zoo.facade import Zoo
from zoo.finetune.ranks import sharded
from zoo.finetune.ranks.ranks import join
from zoo.finetune.ranks.sharded import Sharded, settings
from zoo.finetune.setup.network import Network, make_network
from zoo.finetune.setup.prepare import PreparedRun, prepare
from zoo.lookup.runs import list_runs
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

CUT = """
import json, os, signal, sys, torch, zoo
from torch.distributed.tensor import DTensor
from zoo.finetune.loop import train as training
learn, cut_at, options = training.learn, int(sys.argv[4]), json.loads(sys.argv[5])
def cut(learner, *arguments):
    moving = [p for group in learner.optimizer.param_groups for p in group["params"]]
    for number, step in enumerate(learn(learner, *arguments), 1):
        states = [learner.optimizer.state[p]["exp_avg"] for p in moving]
        for kept in (moving, states):
            assert all(isinstance(t, DTensor) and t.dtype == torch.float32 for t in kept)
            share = sum(t.to_local().numel() for t in kept) / sum(t.numel() for t in kept)
            assert 0.4 < share < 0.6, share
        if number == cut_at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield step
training.learn = cut
z = zoo.open(sys.argv[1])
if len(sys.argv) > 6:
    z.resume("last", save_every=2)
else:
    z.finetune("team/transformer", sys.argv[2], sys.argv[3], device="cpu", save_every=2, **options)
"""
SLOW = f"""
import time
from datetime import timedelta
from zoo.finetune.ranks import ranks as processes
from zoo.finetune.loop import train as training
processes.STEP = timedelta(seconds=3)
validate = training.validate
def slowly(*arguments):
    time.sleep(6)
    return validate(*arguments)
training.validate = slowly
{PROGRAM}
"""
COPY = """
import sys, timm, torch
from torch import distributed as dist
from torch.distributed.tensor import DTensor
from zoo.finetune.ranks.sharded import shard, whole
from zoo_timm.backbone import TimmBackbone
dist.init_process_group("gloo")
model = timm.create_model(sys.argv[1]).eval()
size = TimmBackbone().preprocessing(model).input_size
hierarchy = TimmBackbone().hierarchy(sys.argv[1], model)
below = hierarchy.units[0].parameters[0]
late = shard(model, hierarchy, 1)
assert late.get_parameter(below) is model.get_parameter(below)
copy, images = shard(model, hierarchy, 0), torch.randn(2, *size)
assert all(isinstance(parameter, DTensor) for parameter in copy.parameters())
for network in (model, copy):
    network(images).square().sum().backward()
for name, parameter in copy.named_parameters():
    expected, found = model.get_parameter(name).grad, whole(parameter.grad)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max()), name
dist.destroy_process_group()
sys.stdout.write("equal")
"""
LOWER = """
import sys, timm, torch
from torch import distributed as dist
from zoo.finetune.ranks.sharded import shard, whole
from zoo_timm.backbone import TimmBackbone
dist.init_process_group("gloo")
torch.manual_seed(0)
model, share = timm.create_model(sys.argv[1]).eval(), float(sys.argv[2])
size = TimmBackbone().preprocessing(model).input_size
hierarchy = TimmBackbone().hierarchy(sys.argv[1], model)
copies, sent = [shard(model, hierarchy, 0, lower=how) for how in (True, False)], []
name = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
gather = getattr(dist, name)
def counted(output, *arguments, **options):
    sent.append(output.nbytes)
    return gather(output, *arguments, **options)
setattr(dist, name, counted)
images, outputs, grads, took = torch.randn(2, *size), [], [], []
for copy in copies:
    sent.clear()
    for _ in range(2):  # added up in fp32
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(copy(images + dist.get_rank()))
        outputs[-1].float().square().sum().backward()
    took.append(sum(sent))
    assert {p.dtype for p in copy.parameters()} == {torch.float32}
    grads.append({name: whole(p.grad) for name, p in copy.named_parameters()})
assert torch.equal(outputs[0], outputs[2])
for name, found in grads[0].items():
    assert found.dtype == torch.float32
    assert torch.equal(found, grads[1][name]), name
assert took[0] < share * took[1], took
dist.destroy_process_group()
sys.stdout.write("equal\\n")
"""
OPTIONS: dict[str, Any] = {
    # The last batch of an epoch has two images, both one process's.
    "strategy": "partial", "freeze": "blocks.0", "epochs": 2, "batch_size": 5, "lr": 0.003,
    "class_weights": "balanced", "clip_norm": 5.0, "ema": 0.5, "image_size": 64,
}  # fmt: skip


pytestmark = pytest.mark.skipif(
    not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"),
    reason=f"torch {torch.__version__} is too old for FSDP here",
)


@pytest.fixture(autouse=True)
def few_cs() -> None:
    """Here a probe tries as many as in the other processes."""


@pytest.mark.parametrize(
    ("network", "moved", "more"),
    [
        # SGD sees how large gradients are.
        pytest.param(
            "transformer", "blocks.3.mlp.fc1.weight", {"optimizer": "sgd", "clip_norm": 0.0},
            marks=pytest.mark.long,
        ),
        pytest.param(
            "transformer", "blocks.3.mlp.fc1.weight",
            {"cache": False, "mixup": 0.4, "accumulate": 2, "grad_checkpointing": True},
            marks=pytest.mark.long,
        ),
        pytest.param(
            "transformer", "cls_token",
            {"strategy": "gradual", "freeze": "none", "phases": ["all:1", "none:1"],
             "epochs": 5, "optimizer": "sgd", "blend": "soup"}, marks=pytest.mark.long,
        ),
        pytest.param(
            "base", "fc.weight", {"freeze": "all", "image_size": 32, "strategy": "lp-ft"},
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
def test_two_that_share_equal_one(
    request: pytest.FixtureRequest, workspace: Workspace, shapes: Path, tmp_path: Path,
    network: str, moved: str, more: dict[str, Any],
) -> None:  # fmt: skip
    base = request.getfixturevalue(network)
    options = {"base": base, **OPTIONS, **more}
    Zoo(workspace).finetune(data=shapes, save="team/one", device="cpu", **options)
    arguments = (str(workspace.root), str(shapes), "team/two", json.dumps(options))
    said = run(tmp_path, 2, *arguments, settings=FSDP)
    assert said == [str(workspace.names.resolve("team/two")[1])] * 2
    made = workspace.store.manifest(workspace.names.resolve("team/two")[1])
    assert made.provenance["processes"] == "2, sharded"
    one, two = (weights(workspace, name) for name in ("team/one", "team/two"))
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=1e-3, atol=2e-5), name
    start = weights(workspace, base)[moved]
    assert not torch.allclose(one[moved], start[: len(one[moved])])


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_has_half_and_goes_on_to_the_bit(
    workspace: Workspace, transformer: str, shapes: Path, tmp_path: Path, precision: str
) -> None:
    """In bf16, too, whose weights are gathered rounded: what is kept is not."""
    options = json.dumps({**OPTIONS, "freeze": "none", "precision": precision})
    root, data = str(workspace.root), str(shapes)
    run(tmp_path, 2, root, data, "team/whole", "0", options, text=CUT, settings=FSDP)
    run(tmp_path, 2, root, data, "team/cut", "3", options, text=CUT, settings=FSDP, status=1)
    assert list_runs(workspace)[0].resumable
    run(tmp_path, 2, root, data, "team/cut", "0", options, "again", text=CUT, settings=FSDP)
    whole, cut = (weights(workspace, name) for name in ("team/whole", "team/cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    start = weights(workspace, transformer)
    changed = whole["patch_embed.proj.weight"]
    assert not torch.equal(changed, start["patch_embed.proj.weight"])
    assert not torch.equal(changed, changed.bfloat16().float())


@pytest.mark.long
def test_the_first_is_waited_for_while_it_measures(
    workspace: Workspace, transformer: str, shapes: Path, tmp_path: Path
) -> None:
    options = json.dumps({**OPTIONS, "base": transformer, "epochs": 1})
    said = run(tmp_path, 2, str(workspace.root), str(shapes), "team/slow", options, text=SLOW,
               settings=FSDP)  # fmt: skip
    assert said == [str(workspace.names.resolve("team/slow")[1])] * 2


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["coat_tiny", "efficientvit_b0", "test_maxvit"])
def test_a_copy_is_the_network(tmp_path: Path, architecture: str) -> None:
    """CoaT's blocks have modules in common, EfficientViT's units some that hold nothing."""
    assert run(tmp_path, 1, architecture, text=COPY, settings=FSDP) == ["equal"]


@pytest.mark.parametrize(
    ("architecture", "rounded"),
    [
        ("test_vit", ["patch_embed", "blocks.3", "head"]),
        ("test_resnet", ["layer4.0"]),
        # Its blocks hold factors beside a convolution, and may use its weights themselves.
        ("test_convnext", ["stages.2.blocks.0.mlp"]),
    ],
)
def test_which_weights_are_gathered_in_bf16(architecture: str, rounded: list[str]) -> None:
    model = timm.create_model(architecture)
    units = TimmBackbone().hierarchy(architecture, model)
    parts = [part for group in sharded._groups(model, units, 0) for part in sharded._rounded(group)]
    for path in rounded:
        assert model.get_submodule(path) in parts
    others = {other for part in parts for other in sharded._others(part)}
    norms = tuple(type(each) for each in model.modules() if "norm" in type(each).__name__.lower())
    assert others
    assert all(isinstance(each, norms) for each in others)


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "share"), [("test_vit", 0.6), ("test_convnext", 0.6), ("test_resnet", 0.6)]
)
def test_weights_are_gathered_in_bf16_where_that_changes_no_bit(
    tmp_path: Path, architecture: str, share: float
) -> None:
    """Of fewer bytes, outputs and gradients are those of weights that are gathered whole."""
    said = run(tmp_path, 2, architecture, str(share), text=LOWER, settings=FSDP)
    assert said == ["equal", "equal"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "to-fsdp2"),
        ({**FSDP, "FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
        ({**FSDP, "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "--grad-checkpointing"),
        ({**FSDP, "FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"}, "accelerate's settings"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DEEPSPEED"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "MEGATRON"),
    ],
)
def test_ways_to_share_that_are_not_done_here(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for name, value in {"WORLD_SIZE": "2", **settings}.items():
        monkeypatch.setenv(name, value)
    try:
        with pytest.raises(Unsupported, match=reason):
            join("cpu")
    finally:
        PartialState._reset_state()


def test_what_a_config_says_of_weights_after_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in (True, False):
        for name, value in {**FSDP, "FSDP_RESHARD_AFTER_FORWARD": str(said).lower()}.items():
            monkeypatch.setenv(name, value)
        assert settings() == {"reshard_after_forward": said}


def test_what_cannot_be_shared_is_refused_before_it_is_trained(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unmet(Sharded):
        def main_first(self) -> AbstractContextManager[None]:  # type: ignore[override]
            return nullcontext()

    def prepared(**options: Any) -> PreparedRun:
        recipe = Recipe(data=str(shapes), image_size=32, **options)
        return prepare(workspace, base, recipe, "cpu", silent, Unmet())

    assert prepared().ranks.sharded
    with pytest.raises(InvalidOption, match="nothing is compiled"):
        prepared(compile=True)
    with pytest.raises(InvalidOption, match="no SAM where processes share the weights"):
        prepared(sam=0.05)
    with pytest.raises(InvalidOption, match="no synced batch norm where processes share"):
        prepared(batch_norm="synced")
    with pytest.raises(InvalidOption, match="lora trains next to nothing"):
        prepared(strategy="lora")
    with pytest.raises(InvalidOption, match="take adamw, adam or sgd"):
        prepared(optimizer="lamb")

    def with_a_gain(*arguments: Any) -> Network:
        network = make_network(*arguments)
        network.model.gain = nn.Parameter(torch.tensor(1.0))
        return network

    monkeypatch.setattr("zoo.finetune.setup.prepare.make_network", with_a_gain)
    with pytest.raises(Unsupported, match="this network has gain: use MULTI_GPU"):
        prepared()
