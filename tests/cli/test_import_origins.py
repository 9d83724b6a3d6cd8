"""What an import takes from checkpoints that are here: facts, a parent, the checkpoint itself."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torchvision
import transformers
from fakes.clock import earlier
from fakes.program import Said
from safetensors.torch import load_file, save_file

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_vit"


def weights(seed: int = 1, outputs: int = 3, architecture: str = NET) -> State:
    torch.manual_seed(seed)
    return dict(timm.create_model(architecture, num_classes=outputs).state_dict())


def test_a_fine_tune_says_nothing_of_the_weights_of_its_base(empty: Run, few: Path) -> None:
    save_file(weights(outputs=0), "net.safetensors")
    empty("import", "net.safetensors", "--architecture", NET, "--as", "team/none").done()
    tune = ("finetune", "team/none", "--data", few, "--strategy", "probe", "--image-size", 32)
    empty(*tune, "--save", "team/probe", "--quiet").done()
    empty("export", "team/none", "out").done()
    done = empty("import", "out", "--as", "back/none").done()
    assert "unknown: preprocessing" in done.out, done
    # One more layer was trained: what it has of the probe is the base's, of which nothing is known.
    moved = {**weights(outputs=0), "norm.weight": torch.full((64,), 2.0)}
    save_file(moved, "moved.safetensors")
    done = empty("import", "moved.safetensors", "--architecture", NET, "--as", "team/moved").done()
    assert "unknown: preprocessing" in done.out, done
    # Of the probe's own weights it is known: they were made with it.
    empty("export", "team/probe", "probe").done()
    torch.save(load_file("probe/model.safetensors"), "probe.pth")
    done = empty("import", "probe.pth", "--architecture", NET, "--as", "back/probe").done()
    assert "preprocessing from team/probe, which has 100.0% of the weights" in done.out, done
    # Where the base is gone, the fine-tune knows by itself that it took a guess.
    with earlier():
        for name in ("team/none", "back/none", "team/moved"):
            empty("delete", name).done()
    empty("prune", "--keep", 0, "--grace", 0, "--yes").done()
    empty("delete", "--restore", "team/none").refused("a prune has deleted")
    for name in ("net", "moved"):
        file = (f"{name}.safetensors", "--architecture", NET, "--as", f"again/{name}")
        done = empty("import", *file).done()
        assert "unknown: preprocessing" in done.out, done


def save_epoch(name: str, epoch: int, state: State, **more: object) -> None:
    """What timm's script saves after an epoch."""
    Path("runs/net").mkdir(parents=True, exist_ok=True)
    saved = {"epoch": epoch, "arch": NET, "state_dict": state, "version": 2, **more}
    torch.save(saved, f"runs/net/{name}.pth.tar")


def test_the_name_of_a_parent_that_was_found_is_that_of_its_manifest(empty: Run) -> None:
    state = weights()
    moved = {name: tensor + 0.001 * torch.randn_like(tensor) for name, tensor in state.items()}
    save_epoch("checkpoint-2", 2, state)
    save_epoch("last", 2, state, metric=1.0)
    save_epoch("model_best", 2, state, metric=2.0)
    empty("import", "runs", "--recursive", "--as", "team/{stem}").done()
    for name in ("last", "model_best"):
        Path(f"runs/net/{name}.pth.tar").unlink()
    save_epoch("checkpoint-3", 3, moved)
    exact = ("import", "runs", "--recursive", "--as", "team/{stem}:e{epoch}", "--parent", "auto")
    empty(*exact).done()
    (parent,) = empty("show", "team/net:e3", "--json").json["parents"]
    assert parent["ref"] == "team/net:e2"
    assert parent["manifest"] == empty("show", "team/net:e2", "--json").json["manifest"]


def test_a_file_that_is_here_is_the_checkpoint_that_is_here(empty: Run) -> None:
    save_epoch("checkpoint-0", 0, weights(2))
    empty("import", "runs/net/checkpoint-0.pth.tar", "--as", "team/base").done()
    save_epoch("checkpoint-1", 1, weights(), state_dict_ema=weights(3))
    one = ("import", "runs/net/checkpoint-1.pth.tar")
    first = ("--parent", "team/base", "--metric", "accuracy=0.5", "--license", "mit")
    empty(*one, "--as", "team/one", *first).done()
    manifest = empty("show", "team/one", "--json").json["manifest"]
    planned = empty(*one, "--as", "team/two", "--dry-run", "--json").json
    assert (planned["taken"]["here"], planned["metrics"]) == ("team/one", {"accuracy": 0.5})
    done = empty(*one, "--as", "team/two").done()
    assert "here already as team/one; test_vit from the file; unknown: classes" in done.out
    assert empty("show", "team/two", "--json").json["manifest"] == manifest
    # What is stated counts, and all else is what is here.
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    stated = ("--metric", "accuracy=0.6", "--classes", "names.txt", "--dataset", "insects")
    done = empty(*one, "--as", "team/three", *stated).done()
    assert "here already as team/" in done.out
    assert "class names from the options; unknown: preprocessing" in done.out
    three = empty("show", "team/three", "--json").json
    assert (three["metrics"], three["license"]) == ({"accuracy": 0.6}, "mit")
    assert (three["classes"], three["lineage"]) == (["ant", "bee", "wasp"], ["team/base"])
    assert three["provenance"]["dataset"] == "insects"
    # What its script wrote beside it since is taken where it is not known.
    Path("runs/net/summary.csv").write_text("epoch,eval_top1\n0,60.0\n1,70.0\n")
    done = empty("import", "runs/net/checkpoint-0.pth.tar", "--as", "team/told").done()
    assert "here already as team/base; test_vit from the file; accuracy 0.6 from" in done.out
    assert empty("show", "team/told", "--json").json["metrics"] == {"accuracy": 0.6}
    assert empty("show", "team/base", "--json").json["metrics"] == {}
    # Other weights in the same file are another checkpoint.
    done = empty(*one, "--as", "team/raw", "--key", "state_dict").done()
    assert "here already" not in done.out
    assert empty("show", "team/raw", "--json").json["lineage"] == []


def test_a_file_of_torchvision_s_script_is_of_torchvision(empty: Run) -> None:
    network = "squeezenet1_1"
    state = torchvision.models.get_model(network, num_classes=2).state_dict()
    Path("runs").mkdir()
    torch.save({"model": state, "args": Namespace(model=network), "epoch": 1}, "runs/net.pth")
    assert "is no architecture of timm" in empty(
        "import", "runs/net.pth", "--as", "team/net", "--backbone", "timm"
    ).refused().err  # fmt: skip
    done = empty("import", "runs/net.pth", "--as", "team/net").done()
    assert f"{network} from the file, torchvision has it" in done.out
    backbone = empty("show", "team/net", "--json").json["backbone"]
    assert (backbone["plugin"], backbone["architecture"]) == ("torchvision", network)
    state["classifier.1.bias"] += 1
    torch.save({"model": state, "args": Namespace(model=network), "epoch": 2}, "runs/net.pth")
    planned = empty("import", "runs", "--recursive", "--as", "x/{stem}", "--json").done().json
    (file,) = planned["files"]
    assert (file["backbone"], file["architecture"]) == ("torchvision", network)
    assert file["status"] == "imported"


def test_a_plan_tells_a_custom_config_and_that_there_is_no_head(empty: Run) -> None:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=16, id2label={0: "ant", 1: "bee"},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained("runs/custom")
    save_file(prefixed(weights(outputs=0)), "runs/bare.safetensors")
    save_file(prefixed(weights()), "runs/whole.safetensors")
    plan = ("import", "runs", "--recursive", "--as", "team/{stem}", "--dry-run")
    rows = {line.split()[0]: line for line in empty(*plan).done().out.splitlines()}
    assert re.search(r" vit-base-patch16-224 \(custom config\) ", rows["team/custom"])
    assert re.search(r" test_vit .* no head ", rows["team/bare"])
    assert "no head" not in rows["team/whole"]
    files = {Path(file["path"]).stem: file for file in empty(*plan, "--json").json["files"]}
    assert "num_hidden_layers=1" in files["custom"]["custom"]
    assert files["custom"]["backbone"] == "transformers"
    assert [files[name]["headless"] for name in ("bare", "whole")] == [True, False]


def prefixed(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}
