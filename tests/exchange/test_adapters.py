"""Adapters outside of a run: loaded, exported, pushed, told of; and such as a stranger wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import timm
import torch
from fakes.adapters import adapted, kept
from fakes.tuned import small_zoo

import zoo
from zoo.backbones.mapped import mapped_state
from zoo.domain.description import described, description
from zoo.errors import InvalidWeights, Unsupported
from zoo.transfer.sync import push

IMAGES = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    """A zoo with a small transformer, ``team/base``, and ``team/lora``, which has an adapter."""
    with closing(small_zoo(tmp_path_factory.mktemp("vit"), "test_vit")) as made:
        adapted(made.workspace, "team/base", "team/lora", under="blocks")
        yield made


@torch.no_grad()
def test_merged_or_beside_it_gives_the_same_bits(vit: zoo.Zoo) -> None:
    merged, beside = vit.load("team/lora"), vit.load("team/lora", merged=False)
    assert torch.equal(merged(IMAGES), beside(IMAGES))
    assert not torch.equal(merged(IMAGES), vit.load("team/base")(IMAGES))
    assert not [name for name in merged.state_dict() if "lora" in name]
    assert len([name for name in beside.state_dict() if "lora" in name]) == 48


@torch.no_grad()
def test_exported_merged_timm_loads_it(vit: zoo.Zoo, tmp_path: Path) -> None:
    done = vit.export("team/lora", tmp_path / "whole")
    names = sorted(path.name for path in done.files)
    assert names == ["README.md", "config.json", "model.safetensors"]
    model = timm.create_model(f"local-dir:{tmp_path / 'whole'}", pretrained=True).eval()
    assert torch.equal(model(IMAGES), vit.load("team/lora")(IMAGES))
    vit.import_folder(tmp_path / "whole", "team/back")
    assert "lora" not in vit.show("team/back").checkpoint.backbone.options  # type: ignore[union-attr]
    assert torch.equal(vit.load("team/back")(IMAGES), model(IMAGES))


@pytest.mark.long
@torch.no_grad()
def test_as_a_program_it_is_merged(vit: zoo.Zoo, tmp_path: Path) -> None:
    vit.convert("team/lora", tmp_path / "program", format="pt2")
    module = torch.export.load(tmp_path / "program" / "model.pt2").module()
    merged = vit.load("team/lora")
    assert torch.allclose(module(IMAGES), merged(IMAGES), atol=1e-4)
    config = json.loads((tmp_path / "program" / "config.json").read_text())
    assert config["architecture"] == "test_vit"
    assert "lora" not in config["zoo"]["backbone"]["options"]


@torch.no_grad()
def test_with_another_description_it_is_attached_anew(vit: zoo.Zoo) -> None:
    """Whether weights fit is asked of the adapter, too."""
    vit.tag("team/lora", "team/other")
    vit.edit("team/other", image_size=(160, 160), note="looked at")
    assert torch.equal(vit.load("team/other")(IMAGES), vit.load("team/lora")(IMAGES))


def test_loaded_together_nothing_is_trained(vit: zoo.Zoo) -> None:
    (one, other) = vit.load_many(["team/base", "team/lora"]).values()
    assert not [name for model in (one, other) for name, p in model.named_parameters()
                if p.requires_grad]  # fmt: skip


@torch.no_grad()
def test_exported_by_itself_peft_loads_it(vit: zoo.Zoo, tmp_path: Path) -> None:
    """As docs/adapters.md says."""
    done = vit.export("team/lora", tmp_path / "adapter", adapter=True)
    names = [path.name for path in done.files]
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    vit.export("team/base", tmp_path / "base")
    base = timm.create_model(f"local-dir:{tmp_path / 'base'}", pretrained=True)
    model = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    wanted = vit.load("team/lora")(IMAGES)
    assert torch.allclose(model(IMAGES), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "team/base"


@pytest.mark.parametrize(
    ("architecture", "under", "said"),
    [
        ("tf_efficientnet_lite0", "conv_stem", "cannot compute 'conv_stem', a Conv2dSame"),
        ("test_nfnet", "stages.1", "would compute something else"),
    ],
)
def test_what_peft_computes_otherwise_is_not_exported(
    tmp_path: Path, architecture: str, under: str, said: str
) -> None:
    with closing(small_zoo(tmp_path, architecture)) as made:
        adapted(made.workspace, "team/base", "team/lora", under=under, rank=2)
        for name, why in (("team/lora", said), ("team/base", "it has no adapter")):
            with pytest.raises(Unsupported, match=why):
                made.export(name, tmp_path / "out", adapter=True)
        assert not (tmp_path / "out").exists()


def test_its_description_alone_says_how_to_get_it(vit: zoo.Zoo) -> None:
    """It is what a server of zoo's sends to clients of the hub."""
    workspace = vit.workspace
    manifest = workspace.store.manifest(workspace.names.resolve("team/lora")[1])
    with pytest.raises(Unsupported, match="zoo pull NAME --from the URL of the server gets both"):
        described(description(manifest))


def test_surgery_works_on_what_it_comes_to(vit: zoo.Zoo) -> None:
    vit.adapt("team/lora", "team/short", truncate="blocks.1")
    found = vit.show("team/short").checkpoint  # type: ignore[union-attr]
    assert found.backbone.options == {"truncate": "blocks.1"}
    short, whole = vit.load("team/short").state_dict(), vit.load("team/lora").state_dict()
    assert torch.equal(short["blocks.0.attn.qkv.weight"], whole["blocks.0.attn.qkv.weight"])


def hostile(change: str, state: dict[str, Any]) -> None:
    name = "blocks.2.attn.qkv"
    one = state[f"{name}.lora_A"]
    if change == "rank":
        state[f"{name}.lora_A"] = torch.cat([one, one])
    elif change == "inputs":
        state[f"{name}.lora_A"] = one[:, :-1]
    elif change == "whole numbers":
        state[f"{name}.lora_A"] = one.to(torch.int32)
    elif change == "half of it":
        del state[f"{name}.lora_B"]
    elif change == "no layer":
        state["blocks.9.lora_A"] = one
    elif change == "no such layer":
        state["blocks.2.norm1.lora_A"] = one
    else:
        for key in [key for key in state if "lora" in key]:
            del state[key]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rank", r"is torch.float32 \(8, 64\), not of the shape \(4, 64\)"),
        ("inputs", r"\(4, 63\), not of the shape \(4, 64\)"),
        ("whole numbers", "torch.int32"),
        ("half of it", "lora_B' of its adapter is missing"),
        ("no layer", "'blocks.9', no such layer"),
        ("no such layer", "'blocks.2.norm1', no such layer"),
        ("none", "no tensors of the adapter"),
    ],
)
def test_what_a_stranger_wrote_is_refused(vit: zoo.Zoo, change: str, said: str) -> None:
    workspace = vit.workspace
    manifest = workspace.store.manifest(workspace.names.resolve("team/lora")[1])
    state = {
        name: tensor.clone() for name, tensor in mapped_state(workspace.store, manifest).items()
    }
    hostile(change, state)
    if change == "none":
        state["pos_embed"] = state["pos_embed"] + 1
    kept(workspace, manifest, "team/odd", state)
    for load in (vit.load, lambda name: vit.load(name, merged=False)):
        with pytest.raises(InvalidWeights, match=said):
            load("team/odd")


def test_an_adapter_that_nothing_tells_of_is_never_left_out(vit: zoo.Zoo) -> None:
    workspace = vit.workspace
    manifest = workspace.store.manifest(workspace.names.resolve("team/lora")[1])
    silent = replace(manifest, backbone=replace(manifest.backbone, options={}))
    kept(workspace, silent, "team/silent", dict(mapped_state(workspace.store, manifest)))
    with pytest.raises(InvalidWeights, match="not of the shape"):
        vit.load("team/silent")


@pytest.mark.long
def test_fine_tunes_of_one_parent_share_it_in_memory(vit: zoo.Zoo) -> None:
    names = [f"team/many{number}" for number in range(100)]
    for number, name in enumerate(names):
        adapted(vit.workspace, "team/base", name, seed=number, rank=2, under="blocks")
    models = vit.load_many(["team/base", *names])

    def places(*modules: torch.nn.Module) -> dict[int, int]:
        tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        return {tensor.data_ptr(): tensor.nbytes for tensor in tensors}

    parent = sum(places(models["team/base"]).values())
    together = sum(places(*models.values()).values())
    changed = sum(
        tensor.nbytes
        for name in names
        for key, tensor in models[name].named_parameters()
        if "lora" in key or key.startswith("head.")
    )
    assert together == parent + changed
    alone = places(*(vit.load(name) for name in names[:3]))
    assert sum(alone.values()) > 2.9 * parent
    with torch.no_grad():
        for name in names[::7]:
            assert torch.equal(models[name](IMAGES), vit.load(name)(IMAGES))


def test_it_is_pushed_as_what_it_is(vit: zoo.Zoo, tmp_path: Path) -> None:
    (remote := tmp_path / "remote").mkdir()
    push(vit.workspace, "team/base", str(remote))
    _, pushed = push(vit.workspace, "team/lora", str(remote))
    manifest = vit.workspace.store.manifest(pushed.manifest)
    head = sum(t.nbytes for t in manifest.tensors if t.name.startswith("head."))
    assert pushed.sent_bytes < manifest.weights[1].size + head + 20_000
    assert pushed.sent_bytes < 0.5 * manifest.logical_bytes
    with closing(zoo.Zoo.init(tmp_path / "other")) as other, torch.no_grad():
        other.pull("team/lora", remote=str(remote))
        assert torch.equal(other.load("team/lora")(IMAGES), vit.load("team/lora")(IMAGES))
