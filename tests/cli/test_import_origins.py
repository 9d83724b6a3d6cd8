"""What an import takes from checkpoints that are here: facts, a parent, the checkpoint itself."""

from __future__ import annotations

import re
import shutil
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import transformers
from fakes.clock import earlier
from fakes.import_runs import NET, Run, State, weights
from safetensors.torch import load_file, save_file


@pytest.mark.long
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


@pytest.mark.long
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
    moved = {name: tensor + 0.001 * torch.randn_like(tensor) for name, tensor in weights(2).items()}
    save_epoch("checkpoint-1", 1, weights(), state_dict_ema=moved)
    one = ("import", "runs/net/checkpoint-1.pth.tar")
    empty(*one, "--as", "team/one", "--parent", "auto").done()
    manifest = empty("show", "team/one", "--json").json["manifest"]
    taken = empty(*one, "--as", "team/two", "--dry-run", "--json").json["taken"]
    assert (taken["here"], taken["here_has"]) == ("team/one", ["parent team/base"])
    done = empty(*one, "--as", "team/two").done()
    told = "here already as team/one, with its parent team/base; test_vit from the file; unknown: "
    assert told + "classes" in done.out
    assert empty("show", "team/two", "--json").json["manifest"] == manifest
    # What is stated counts, and all else is what is here.
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    stated = ("--metric", "accuracy=0.6", "--classes", "names.txt", "--dataset", "insects")
    shutil.copy(one[1], "copy.pth")
    done = empty("import", "copy.pth", "--as", "team/three", *stated).done()
    assert "same bytes as team/" in done.out
    said = "another checkpoint, with dataset, metrics, class names of its own; test_vit"
    assert said in " ".join(done.out.split())
    assert "class names from the options; unknown: preprocessing" in done.out
    three = empty("show", "team/three", "--json").json
    assert three["metrics"] == {"accuracy": 0.6}
    assert three["provenance"]["file"] == "copy.pth"
    assert (three["classes"], three["lineage"]) == (["ant", "bee", "wasp"], ["team/base"])
    assert three["provenance"]["dataset"] == "insects"
    # What its script wrote beside it since is taken where it is not known.
    Path("runs/net/summary.csv").write_text("epoch,eval_top1\n0,60.0\n1,70.0\n")
    done = empty("import", "runs/net/checkpoint-0.pth.tar", "--as", "team/told").done()
    told = "same bytes as team/base; another checkpoint, with metrics of its own; test_vit"
    assert told in " ".join(done.out.split())
    assert empty("show", "team/told", "--json").json["metrics"] == {"accuracy": 0.6}
    assert empty("show", "team/base", "--json").json["metrics"] == {}
    # Other weights in the same file are another checkpoint.
    done = empty(*one, "--as", "team/raw", "--key", "state_dict").done()
    assert "here already" not in done.out
    assert empty("show", "team/raw", "--json").json["lineage"] == []


FACTS = ("manifest", "license", "metrics", "lineage", "classes", "unknown")


def facts(run: Run, name: str) -> dict[str, object]:
    shown = run("show", name, "--json").json
    how = {"mean": shown["preprocessing"]["mean"], "dataset": shown["provenance"].get("dataset")}
    return {**{fact: shown[fact] for fact in FACTS}, **how}


def stated_by_ana(empty: Run) -> tuple[str, ...]:
    """Import a file for ana, who states all that can be; how it is imported again."""
    save_file(weights(2), "base.safetensors")
    empty("import", "base.safetensors", "--architecture", NET, "--as", "base/net").done()
    Path("ddp").mkdir()
    torch.save({"arch": NET, "state_dict": weights(), "best_acc1": 77.5}, "ddp/ddp.pth")
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    empty("import", "ddp/ddp.pth", "--as", "ana/net", "--license", "cc-by-nc-4.0", "--mean", 0.1,
          "--std", 0.9, "--metric", "accuracy=0.99", "--dataset", "secret", "--classes",
          "names.txt", "--parent", "base/net").done()  # fmt: skip
    return "import", "ddp/ddp.pth", "--as"


PLAIN = {
    "license": None,
    "metrics": {"best_acc1": 77.5},
    "lineage": [],
    "classes": [],
    "unknown": ["classes", "preprocessing"],
    "mean": [0.5] * 3,
    "dataset": None,
}


@pytest.mark.long
def test_what_others_stated_of_a_file_is_not_taken(empty: Run) -> None:
    again = stated_by_ana(empty)
    ana = facts(empty, "ana/net")
    assert (ana["license"], ana["mean"]) == ("cc-by-nc-4.0", [0.1] * 3)
    planned = empty(*again, "eve/net", "--dry-run", "--json").json
    assert (planned["metrics"], planned["taken"]["here"]) == ({"best_acc1": 77.5}, "")
    done = empty(*again, "eve/net").done()
    told = "same bytes as ana/net (license, dataset, metrics, class names, preprocessing, parent)"
    assert f"{told}: what was stated there is not taken; test_vit from the file" in done.out
    eve = facts(empty, "eve/net")
    assert {**eve, **PLAIN} == eve
    # The next one is that of eve, also from a file of another name; and nobody's name moves.
    Path("copy.pth").write_bytes(Path("ddp/ddp.pth").read_bytes())
    done = empty("import", "copy.pth", "--as", "kim/net").done()
    assert "here already as eve/net; test_vit" in done.out
    for name, was in (("kim/net", eve), ("eve/net", eve), ("ana/net", ana)):
        assert "moved" not in empty(*again, name).done().out
        assert facts(empty, name) == was
    # What both state is no secret; what is stated anew is recorded in a checkpoint of its own.
    empty(*again, "eve/mit", "--license", "mit").done()
    assert {**facts(empty, "eve/mit"), "manifest": ""} == {**eve, "license": "mit", "manifest": ""}


def test_what_others_stated_of_a_network_of_another_size_is_not_taken_either(empty: Run) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), "r.pth")
    stated = ("--image-size", 96, "--mean", 0.5, "--std", 0.5, "--license", "mit")
    empty("import", "r.pth", "--as", "a/r", "--architecture", "test_resnet", *stated).done()
    told = "same bytes as a/r (license, preprocessing): what was stated there is not taken"
    assert told in empty("import", "r.pth", "--as", "a/r2").done().out


def test_what_others_stated_is_not_taken_of_a_pull_either(empty: Run) -> None:
    again = stated_by_ana(empty)
    ana = facts(empty, "ana/net")
    empty("push", "ana/net", "--to", "./far").done()
    empty("init", "eve").done()
    eve: Run = partial(empty, "--home", "eve")
    eve("pull", "ana/net", "--from", "./far").done()
    assert facts(eve, "ana/net") == ana
    assert "same bytes as ana/net (license, dataset, " in eve(*again, "eve/net").done().out
    got = facts(eve, "eve/net")
    assert {**got, **PLAIN} == got


@pytest.mark.long
def test_a_folder_takes_nothing_that_others_stated_of_its_files(empty: Run) -> None:
    stated_by_ana(empty)
    ana = facts(empty, "ana/net")
    for name in ("eve", "ana"):  # also in the namespace where it is
        folder = ("import", "ddp", "--recursive", "--as", f"{name}/{{stem}}")
        done = empty(*folder, "--parent", "auto").done()
        assert "imported 1 of 1 file" in done.out
        got = facts(empty, f"{name}/ddp")
        assert {**got, **PLAIN} == got
        again = empty(*folder, "--json").json
        assert [file["status"] for file in again["files"]] == ["here"]
    assert facts(empty, "ana/net") == ana
    # Under the name that it has, it stays what it is.
    empty("tag", "ana/net", "own/ddp").done()
    again = empty("import", "ddp", "--recursive", "--as", "own/{stem}", "--json").done().json
    assert [file["status"] for file in again["files"]] == ["here"]
    assert facts(empty, "own/ddp") == ana


@pytest.mark.long
def test_a_file_of_a_fine_tune_is_the_fine_tune_and_says_what_is_from_it(
    empty: Run, few: Path
) -> None:
    save_file(weights(outputs=0), "net.safetensors")
    empty("import", "net.safetensors", "--architecture", NET, "--as", "team/none").done()
    tune = ("finetune", "team/none", "--data", few, "--strategy", "probe", "--image-size", 32)
    empty(*tune, "--save", "team/probe", "--quiet").done()
    tuned = facts(empty, "team/probe")
    empty("export", "team/probe", "probe").done()
    Path("model.safetensors").write_bytes(Path("probe/model.safetensors").read_bytes())
    one = ("import", "model.safetensors", "--architecture", NET, "--as")
    # Somebody states something else of the same file: what a fine-tune proves is still its.
    empty(*one, "ana/probe", "--license", "mit", "--metric", "accuracy=0.99").done()
    done = empty(*one, "eve/probe").done()
    accuracy = tuned["metrics"]["accuracy"]  # type: ignore[index]
    assert (
        f"already as team/probe, with its accuracy {accuracy:.4g}, parent team/none" in done.out
    ), done
    assert facts(empty, "eve/probe") == tuned
    assert "from team/probe" not in empty(*one, "ana/probe").done().out
    assert facts(empty, "ana/probe")["license"] == "mit"
    # So is what lies in the folder of an export, and of a folder with others.
    done = empty("import", "probe/model.safetensors", "--as", "kim/probe").done()
    assert "here already as eve/probe;" in done.out
    for line in (("import", "probe", "--as", "max/probe"), ("import", "probe", "--as", "max/b")):
        assert "here already as" in empty(*line, "--dry-run").done().out, line
        assert "here already as" in empty(*line).done().out
    assert facts(empty, "max/probe") == facts(empty, "max/b") == tuned
    Path("found").mkdir()
    Path("model.safetensors").rename("found/one.safetensors")
    empty("import", "found", "--recursive", "--as", "lee/{stem}").done()
    assert facts(empty, "lee/one") == facts(empty, "kim/probe") == tuned


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
