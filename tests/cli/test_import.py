"""Files as people have them: `zoo import` takes them, and says what it took."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.import_files import AS, NET, Run, State, assert_is, prefixed
from fakes.sampled import sampled
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.exchange.weights import read_state
from zoo.exchange.wrappers import WRAPPERS


def test_a_prefix_of_all_names_is_stripped(
    imported: Callable[..., dict[str, Any]], state: State
) -> None:
    for prefix in ("module.", "net._orig_mod.", "my.own."):
        taken = imported(prefixed(prefix, state))["taken"]
        assert (taken["stripped"], taken["tensors_left_out"]) == (prefix, [])
        assert_is(state)


def test_a_prefix_in_a_safetensors_file(empty: Run, state: State) -> None:
    save_file(prefixed("_orig_mod.", state), "net.safetensors")
    done = empty("import", "net.safetensors", *AS)
    assert done.code == 0
    assert done.out.splitlines()[1] == "  stripped _orig_mod."
    assert_is(state)


def test_what_a_file_of_bare_weights_says(empty: Run, state: State) -> None:
    torch.save(state, "net.pth")
    said = empty("import", "net.pth", *AS).out.splitlines()[1:]
    assert said == ["  unknown: classes, preprocessing"]


@pytest.mark.parametrize("key", WRAPPERS)
def test_keys_that_training_scripts_use(tmp_path: Path, state: State, key: str) -> None:
    torch.save({"loss": 1.0, key: state, "optimizer": {"lr": 0.1}}, tmp_path / "net.pth")
    read = read_state(tmp_path / "net.pth")
    assert (read.key, read.left_out) == (key, ("loss", "optimizer"))
    assert read.tensors.keys() == state.keys()


def test_one_line_says_what_was_taken_stripped_and_left_out(empty: Run, state: State) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    saved = {
        "epoch": 3,
        "state_dict": prefixed("module.", other),
        "state_dict_ema": prefixed("module.", state),
        "optimizer": {"state": {}},
    }
    torch.save(saved, "last.pth.tar")
    done = empty("import", "last.pth.tar", *AS)
    assert done.out.splitlines()[1:2] == [
        "  took state_dict_ema; --key state_dict takes the other; stripped module.; "
        "left out epoch, optimizer"
    ]
    assert_is(state)
    Path("summary.csv").write_text("epoch,eval_loss,eval_top1\n3,0.5,62.5\n")
    done = empty("import", "last.pth.tar", *AS, "--key", "state_dict").done()
    assert "no figures, which its script has of the averaged weights" in done.out
    assert empty("show", AS[3], "--json").json["metrics"] == {}
    assert_is(other)
    empty("import", "last.pth.tar", *AS[:3], "team/averaged").done()
    assert empty("show", "team/averaged", "--json").json["metrics"]["accuracy"] == 0.625


def test_an_ema_is_weights_and_the_model_beside_it_counts_first(empty: Run, state: State) -> None:
    torch.save({"ema": state, "epoch": 3}, "alone.pth")
    torch.save({"ema": state, "model": state}, "both.pth")
    assert "took ema; left out epoch" in empty("import", "alone.pth", *AS).done().out
    assert "took model; --key ema takes the other" in empty("import", "both.pth", *AS).done().out
    assert "took ema; " in empty("import", "both.pth", *AS, "--key", "ema").done().out


def test_an_ema_under_a_prefix_is_named_as_one_under_a_key_is(empty: Run, state: State) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    both = prefixed("model.", state) | prefixed("ema.", other) | {"steps": torch.ones(1)}
    torch.save(both, "both.pth")
    save_file(both, "both.safetensors")
    said = "--key ema takes the other; stripped model.; left out steps"
    for file in ("both.pth", "both.safetensors"):
        assert said in empty("import", file, *AS, "--force").done().out
        assert_is(state)
        assert "stripped ema.\n" in empty("import", file, *AS, "--key", "ema", "--force").done().out
        assert_is(other)


@pytest.mark.parametrize(
    "before", sampled(["ema.", "model_ema.", "state_dict_ema.module."], ["model_ema."])
)
def test_an_ema_beside_plain_names_is_named(empty: Run, state: State, before: str) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save(state | prefixed(before, other), "both.pth")
    key = before.removesuffix(".")
    assert f"--key {key} takes the other\n" in empty("import", "both.pth", *AS).done().out
    assert_is(state)
    empty("import", "both.pth", *AS, "--key", key, "--force").done()
    assert_is(other)


def test_a_key_that_is_not_there_is_answered_with_those_that_are(empty: Run, state: State) -> None:
    loss = {"center": torch.zeros(1, 8), "bias": torch.zeros(8)}
    torch.save({"epoch": 3, "student": state, "teacher": state, "dino_loss": loss}, "dino.pth")
    done = empty("import", "dino.pth", *AS)
    assert (done.code, done.out) == (1, "")
    keys = "--key student or teacher takes weights; its other keys are epoch, dino_loss"
    assert keys in done.err
    done = empty("import", "dino.pth", *AS, "--key", "techer")
    assert f"'techer' is not there; {keys}" in done.err
    assert "'epoch' holds no weights" in empty("import", "dino.pth", *AS, "--key", "epoch").err
    assert empty("import", "dino.pth", *AS, "--key", "teacher").code == 0
    assert_is(state)
    save_file(state, "net.safetensors")
    assert "which has no keys" in empty("import", "net.safetensors", *AS, "--key", "model").err


def test_what_holds_no_weights_is_told_without_a_key_that_would_not_help(
    empty: Run, state: State
) -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for saved in (
        optimizer.state_dict(),
        {"optimizer": optimizer.state_dict(), "epoch": 3},
        {"model": optimizer.state_dict()},
    ):
        torch.save(saved, "optim_only.pth")
        refused = empty("import", "optim_only.pth", *AS)
        refused.refused("the state of an optimizer, no weights")
        assert "--key" not in refused.err
    torch.save({"epoch": 3, "note": "gone"}, "note.pth")
    refused = empty("import", "note.pth", *AS)
    refused.refused("none of its keys holds weights: epoch, note")
    assert "--key" not in refused.err
    torch.save({"model": state, "dino_loss": {"center": torch.zeros(1, 8)}}, "dino.pth")
    assert "left out dino_loss" in empty("import", "dino.pth", *AS).out


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 102540417\n"


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LFS, ("is a Git LFS pointer", "git lfs pull")),
        ("\n <!DOCTYPE html>\n<html><title>Sign in", ("is HTML, not weights", "Download it again")),
        ('<?xml version="1.0"?><Error><Code>AccessDenied</Code>', ("is XML, not weights",)),
        ("", ("the file is empty",)),
    ],
    ids=["lfs", "html", "xml", "empty"],
)
def test_what_was_downloaded_in_place_of_weights_is_called_so(
    empty: Run, name: str, text: str, says: tuple[str, ...]
) -> None:
    file = Path("got", name)
    file.parent.mkdir()
    file.write_text(text)
    empty("import", file, *AS).refused(*says)
    empty("import", file, "--as", "team/net").refused(*says)
    empty("identify", file).refused(*says)
    (found,) = empty("import", "got", "--recursive", "--as", "team/{stem}", "--json").json["files"]
    assert says[0] in found["problem"]


def test_a_file_of_lightning(imported: Callable[..., dict[str, Any]], state: State) -> None:
    lightning = {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**prefixed("model.", state), "criterion.weight": torch.ones(3)},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.ones(())}},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 0.1},
    }
    taken = imported(lightning)["taken"]
    assert (taken["key"], taken["stripped"]) == ("state_dict", "model.")
    assert taken["tensors_left_out"] == ["criterion.weight"]
    assert "optimizer_states" in taken["left_out"]
    assert_is(state)


@pytest.mark.parametrize(
    "prefix",
    sampled(["", "module.backbone.", "module.encoder_q."], [""]),
)
def test_weights_without_a_head_are_kept_without_one(empty: Run, state: State, prefix: str) -> None:
    """DINO's, MAE's and MoCo's files have no classifier, but maybe a projection in its place."""
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    own = {**body, "fc.0.weight": torch.ones(8, 4), "fc.2.bias": torch.ones(4)} if prefix else body
    outside = {"module.head.mlp.weight": torch.ones(2)} if "backbone" in prefix else {}
    torch.save({"model": {**prefixed(prefix, own), **outside}}, "ssl.pth")
    done = empty("import", "ssl.pth", *AS)
    assert done.code == 0, done
    assert done.out.splitlines()[1].endswith("it has no head")
    assert all(name in done.out for name in outside)
    assert_is(body)
    assert empty("show", "team/net", "--json").json["head"]["num_classes"] == 0
    Image.new("RGB", (64, 64)).save("image.png")
    for options in (), ("--out", "p.csv"):
        refused = empty("predict", "team/net", "image.png", *options)
        refused.refused("no head: what it gives are features, no classes", "zoo features NAME")
        assert refused.out == ""


@pytest.mark.long
def test_a_network_that_cannot_be_without_a_head(empty: Run) -> None:
    state = timm.create_model("resnet18").state_dict()
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    torch.save(body, "ssl.pth")
    done = empty(
        "import", "ssl.pth", "--architecture", "resnet18", "--backbone", "torchvision",
        "--as", "team/net",
    )  # fmt: skip
    assert (done.code, done.out) == (1, "")
    assert "It has no head" in done.err
    assert "--backbone timm" in done.err
    assert empty("import", "ssl.pth", "--architecture", "resnet18", "--as", "team/net").code == 0


def test_torchscript_is_called_so(empty: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "net.pt")
    done = empty("import", "net.pt", *AS)
    assert (done.code, done.out) == (1, "")
    assert "is a TorchScript file" in done.err
    assert "torch.jit.load(FILE).state_dict()" in done.err
    assert len(done.err.splitlines()) == 2


def test_identify_sees_the_prefix_that_import_strips(
    imported: Callable[..., dict[str, Any]], state: State
) -> None:
    imported({"model": prefixed("module.", state)})
    with zoo.open() as here:
        found = here.identify("net.ckpt")
    assert (found.verdict, found.matches[0].prefix) == ("same", "module.")


def test_the_page_prints_what_it_shows(empty: Run, state: State) -> None:
    page = (Path(__file__).parents[2] / "docs/import.md").read_text()
    module = prefixed("module.", state)
    saved = {"epoch": 3, "state_dict": module, "state_dict_ema": module, "optimizer": {}}
    torch.save(saved, "last.pth.tar")
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    Image.new("RGB", (20, 20)).save("bee.png")
    sessions = page.split("```console\n$ ")[1].split("\n```")[0].split("\n$ ")
    for line, _, shown in (session.partition("\n") for session in sessions):
        done = empty(*line.split()[1:])
        wanted = ".*".join(map(re.escape, shown.strip().split("…")))
        assert re.fullmatch(wanted, (done.err + done.out).strip(), re.DOTALL), done


def test_a_pickle_is_read_once(empty: Run, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """To tell its network, and to store its weights."""
    read: list[Path] = []
    monkeypatch.setattr("zoo.exchange.weights.check_pickled", read.append)
    torch.save({"model": state}, "net.pth")
    empty("import", "net.pth", "--as", "team/net", "--key", "model").done()
    assert_is(state)
    assert [path.name for path in read] == ["net.pth"]


def test_what_was_used_is_not_listed_as_left_out(
    imported: Callable[..., dict[str, Any]], state: State
) -> None:
    saved = {"arch": NET, "classes": ["a", "b", "c"], "args": {"mean": [0.5]}, "best_acc": 0.5}
    left = {"optimizer": {}, "epoch": 3, "note": "x"}
    assert imported({"state_dict": state, **saved, **left})["taken"]["left_out"] == [*left]
    unused = {"classes": ["a"], "arch": "resnet18"}
    assert imported({"state_dict": state, **unused})["taken"]["left_out"] == [*unused]
