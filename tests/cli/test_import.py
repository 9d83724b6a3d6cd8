"""Files as people have them: `zoo import` takes them, and says what it took."""

from __future__ import annotations

import re
import warnings
from argparse import Namespace
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from fakes.program import Said
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.exchange.metadata import metadata_of_args
from zoo.exchange.weights import read_state
from zoo.exchange.wrappers import WRAPPERS

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_resnet"
AS = ("--architecture", NET, "--as", "team/net")


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of a small network with 3 outputs."""
    torch.manual_seed(3)
    return dict(timm.create_model(NET, num_classes=3).state_dict())


@pytest.fixture
def imported(empty: Run) -> Callable[..., dict[str, Any]]:
    """Save what is given as a file, import it, and answer with the JSON of the result."""

    def run(saved: object, *options: object) -> dict[str, Any]:
        torch.save(saved, "net.ckpt")
        done = empty("import", "net.ckpt", *AS, *options, "--json")
        assert done.code == 0, done
        told: dict[str, Any] = done.json
        return told

    return run


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_is(state: State) -> None:
    """See that ``team/net`` has exactly these weights, and runs."""
    with zoo.open() as here:
        module = here.load("team/net")
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert module(torch.zeros(1, 3, 32, 32)).shape[0] == 1


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
    assert empty("import", "last.pth.tar", *AS, "--key", "state_dict").code == 0
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


@pytest.mark.parametrize("prefix", ["", "module.backbone.", "module.encoder_q."])
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


# Class names and preprocessing: what nobody says is unknown.


def shown(run: Run) -> dict[str, Any]:
    return dict(run("show", "team/net", "--json").json)


def test_what_nobody_says_is_unknown(empty: Run, tmp_path: Path) -> None:
    """A file with as many outputs as ImageNet has classes gets none of its names."""
    save_file(timm.create_model(NET).state_dict(), "net.safetensors")
    done = empty("import", "net.safetensors", *AS)
    assert done.out.splitlines()[1:] == ["  unknown: classes, preprocessing"]
    found = shown(empty)
    assert (found["classes"], found["unknown"]) == ([], ["classes", "preprocessing"])
    assert "unknown:" in empty("show", "team/net").out
    Image.new("RGB", (20, 20)).save("gray.png")
    done = empty("predict", "team/net", "gray.png")
    assert done.code == 0
    assert "the names of the classes are unknown" in done.err
    assert empty("export", "team/net", "out").code == 0
    assert empty("import", "out", "--as", "team/again").out.endswith("classes, preprocessing\n")
    assert empty("adapt", "team/net", "team/less", "--truncate", "layer1").code == 0
    assert empty("show", "team/less", "--json").json["unknown"] == ["preprocessing"]
    assert f"unknown: preprocessing; that of {NET} is taken, a guess" in done.err


@pytest.mark.parametrize(
    ("license_", "says"),
    [
        ("Apache-2.0", ""),
        ("llama3.1", ""),
        ("MIT OR BSD-3-Clause-LBNL", ""),  # only SPDX has the second
        ("LicenseRef-acme", ""),
        ("apache2", "did you mean apache-2.0?"),
        ("cc-by-nc", "did you mean cc-by-nc-"),
        ("ours", "'ours' is no license id of the HF Hub or SPDX, and kept as it is\n"),
    ],
)
def test_a_license_that_nobody_knows_is_told_of(toy: Run, license_: str, says: str) -> None:
    """Before anything is read, and never as the reason of a refusal."""
    said = toy("import", "none", *AS, "--license", license_)
    assert ("license id" in said.err, says in said.err) == (bool(says), True)
    assert "error: none: no such file" in said.err


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("acuracy", "zoo measures no 'acuracy', and keeps it as it is; did you mean accuracy?"),
        ("macro_f", "did you mean macro_f1?"),
        ("accuracy", ""),
        ("val_accuracy", ""),
        ("best_acc1", ""),
        ("ours", ""),
    ],
)
def test_a_metric_that_looks_like_a_slip_is_told_of(toy: Run, metric: str, says: str) -> None:
    said = toy("import", "none", *AS, "--metric", f"{metric}=0.775")
    assert ("did you mean" in said.err, says in said.err) == (bool(says), True)
    assert "error: none: no such file" in said.err


def test_show_has_what_was_stated_and_says_what_cannot_be_proven(empty: Run, state: State) -> None:
    torch.save(state, "net.pth")
    stated = ("--metric", "sharpness=0.5", "--metric", "accuracy=0.9", "--dataset", "insects")
    empty("import", "net.pth", *AS, *stated).done()
    lines = dict(
        re.split(": +", line, maxsplit=1) for line in empty("show", AS[-1]).out.splitlines()
    )
    assert (lines["metrics.accuracy"], lines["metrics.sharpness"]) == ("0.9", "0.5")
    assert lines["provenance.metrics"] == "stated on import, not measured"
    assert lines["provenance.dataset"] == "insects"
    assert lines["not proven"].startswith("that these weights were read from net.pth, which is not")


def test_an_architecture_of_another_library_by_its_prefix(empty: Run) -> None:
    net = torchvision.models.get_model("squeezenet1_1", num_classes=2).state_dict()
    Path("made").mkdir()
    torch.save({"best_acc1": 77.5, "state_dict": net}, "made/net.pth")
    named = ("--architecture", "torchvision/squeezenet1_1")
    one = ("import", "made/net.pth", "--as", "team/net", *named)
    planned = empty(*one, "--dry-run", "--json").json
    assert (planned["backbone"], planned["architecture"]) == ("torchvision", "squeezenet1_1")
    folder = ("import", "made", "--recursive", "--as", "team/{stem}", *named, "--dry-run")
    (file,) = empty(*folder, "--json").json["files"]
    assert (file["backbone"], file["architecture"]) == ("torchvision", "squeezenet1_1")
    # A plain state dict has its figure in the plan.
    assert re.search(r"team/made .* best_acc1 77.5 ", empty(*folder).out)


def test_the_user_says_what_nobody_wrote_down(empty: Run, state: State) -> None:
    save_file(state, "net.safetensors")
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    done = empty(
        "import", "net.safetensors", *AS, "--classes", "names.txt", "--mean", "0.5",
        "--std", "0.2,0.3,0.4", "--crop", "1", "--interpolation", "bilinear", "--image-size", "64",
        "--license", "mti", "--dataset", "hymenoptera", "--metric", "accuracy=0.91",
    )  # fmt: skip
    says = "class names from the options; preprocessing from the options"
    assert done.out.splitlines()[1:] == [f"  {says}"]
    assert "'mti' is no license id" in done.err
    found = shown(empty)
    assert (found["classes"], found["unknown"]) == (["ant", "bee", "wasp"], [])
    assert found["preprocessing"] == {
        "input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.2, 0.3, 0.4],
        "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center",
    }  # fmt: skip
    assert (found["license"], found["metrics"]) == ("mti", {"accuracy": 0.91})
    assert found["provenance"]["metrics"] == "stated on import, not measured"
    assert "team/net" in empty("best", "--dataset", "hymenoptera").out
    Image.new("RGB", (20, 20)).save("gray.png")
    assert empty("predict", "team/net", "gray.png").err == ""


def test_what_is_said_in_part_is_unknown_in_part(empty: Run, state: State) -> None:
    save_file(state, "net.safetensors")
    empty("import", "net.safetensors", *AS, "--mean", "0.5", "--std", "0.5")
    assert shown(empty)["unknown"] == ["classes", "interpolation", "crop_pct", "image_size"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--classes", "two.txt"), "--classes has 2 names, the weights have 3 outputs"),
        (("--classes", "gone.txt"), "gone.txt: No such file"),
        (("--classes", "net.safetensors"), "net.safetensors: neither JSON nor text"),
        (("--mean", "123.7,116.3,103.5"), "--mean is on a scale of 0 to 1: divide by 255"),
        (("--std", "0.1,0.2"), "--std has 2 values, images have 3 channels"),
        (("--std", "0"), "std is [0.0"),
        (("--crop", "7"), "crop_pct is 7.0"),
        (("--metric", "accuracy=nan"), "needs a name and a finite number"),
    ],
)
def test_what_cannot_be_is_refused(
    empty: Run, state: State, options: tuple[str, ...], says: str
) -> None:
    save_file(state, "net.safetensors")
    Path("two.txt").write_text("ant\nbee\n")
    done = empty("import", "net.safetensors", *AS, *options)
    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert empty("show", "team/net").code == 1


def test_what_timm_writes_beside_its_checkpoints(empty: Run, state: State) -> None:
    """Its script takes what the network has for all that ``args.yaml`` does not name."""
    torch.save({"state_dict": state}, "last.pth.tar")
    args = "mean:\n- 0.4\n- 0.4\n- 0.4\nstd: null\ncrop_pct: null\ninterpolation: ''\n"
    Path("args.yaml").write_text(f"model: {NET}\n{args}num_classes: 3\n")
    done = empty("import", "last.pth.tar", *AS)
    assert done.out.endswith("preprocessing from args.yaml; unknown: classes\n")
    found = shown(empty)["preprocessing"]
    assert (found["mean"], found["std"]) == ([0.4] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    "text",
    [
        "model: test_vit\nmean: [0.4]\n", "&a [*a]", "a: &a [*a]", "[" * 5000, "\xff", "model: [1",
        "x" * 99999, f"model: {NET}\nmean: &a [*a]\nstd: [1e999]\nimg_size: {'9' * 5000}",
        f"model: {NET}\nmean: !!python/object/apply:os.system [ls]\n",
    ],
    ids=range(9),
)  # fmt: skip
def test_an_args_file_that_makes_no_sense_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "args.yaml").write_text(text)
    assert not metadata_of_args(tmp_path / "last.pth", NET)


@pytest.mark.parametrize(
    "saved",
    [
        {"hyper_parameters": {"classes": ["a", "b", "c"], "mean": [0.5] * 3, "std": (0.5,) * 3}},
        {"args": Namespace(class_to_idx={"c": 2, "a": 0, "b": 1}, mean=[0.5] * 3, std=[0.5] * 3)},
        {"meta": {"dataset_meta": {"classes": ("a", "b", "c")}}, "mean": [0.5], "std": [0.5]},
        {"id2label": {0: "a", 1: "b", 2: "c"}, "args": {"image_mean": [0.5], "image_std": [0.5]}},
    ],
    ids=["lightning", "torchvision", "mmpretrain", "transformers"],
)
def test_hyper_parameters_in_a_checkpoint(
    imported: Callable[..., dict[str, Any]], empty: Run, state: State, saved: dict[str, Any]
) -> None:
    taken = imported({"state_dict": state, **saved})["taken"]
    assert taken["classes"] == taken["preprocessing"] == "the checkpoint's hyper-parameters"
    found = shown(empty)
    assert (found["classes"], found["preprocessing"]["mean"]) == (["a", "b", "c"], [0.5] * 3)
    assert found["unknown"] == ["interpolation", "crop_pct", "image_size"]


@pytest.mark.parametrize(
    "saved",
    [
        {"classes": ["a", "b"], "mean": [123.0] * 3, "std": "wide", "crop_pct": float("nan")},
        {"classes": [1, 2, 3], "mean": 5, "std": [[0.5]], "interpolation": "os.system"},
        {"classes": {0: "a", 5: "b", 1: "c"}, "mean": [], "std": [0.0] * 3, "img_size": [0, 7]},
        {"args": [1, 2], "meta": "x", "hyper_parameters": None, "img_size": 10**9},
    ],
)
def test_hyper_parameters_that_make_no_sense_are_nothing(
    imported: Callable[..., dict[str, Any]], state: State, saved: dict[str, Any]
) -> None:
    assert imported({"state_dict": state, **saved})["taken"]["unknown"] == [
        "classes", "preprocessing"
    ]  # fmt: skip


def test_a_checkpoint_that_the_bytes_prove_says_what_is_unknown(empty: Run, state: State) -> None:
    save_file(state, "base.safetensors")
    Path("names.txt").write_text('{"id2label": {"0": "ant", "1": "bee", "2": "wasp"}}')
    empty(
        "import", "base.safetensors", *AS[:2], "--as", "team/base", "--classes", "names.txt",
        "--mean", "0.4", "--std", "0.3", "--crop", "0.9", "--interpolation", "bilinear",
        "--image-size", "96",
    )  # fmt: skip
    head = {name: tensor + 1 for name, tensor in state.items() if name.startswith("fc.")}
    other = {name: tensor + 1 for name, tensor in state.items() if tensor.is_floating_point()}
    torch.save({"model": prefixed("module.", state)}, "same.pth")
    torch.save({**state, **head}, "tuned.pth")
    torch.save({**state, **other}, "other.pth")

    def of(file: str) -> tuple[list[str], list[float], list[str]]:
        assert empty("import", file, *AS, "--force").code == 0
        found = shown(empty)
        return found["classes"], found["preprocessing"]["mean"], found["unknown"]

    assert of("same.pth") == (["ant", "bee", "wasp"], [0.4] * 3, [])
    assert of("tuned.pth") == ([], [0.4] * 3, ["classes"])
    assert shown(empty)["provenance"]["preprocessing"].startswith("team/base, which has 9")
    assert of("other.pth") == ([], [0.5] * 3, ["classes", "preprocessing"])


def test_a_stated_parent_is_in_the_lineage_and_a_push_sends_the_difference(
    empty: Run, state: State
) -> None:
    save_file(state, "base.safetensors")
    tuned = {n: t * 1.0001 if t.is_floating_point() else t for n, t in state.items()}
    save_file(tuned, "tuned.safetensors")
    empty("import", "base.safetensors", *AS[:2], "--as", "team/base")
    empty("import", "tuned.safetensors", *AS[:2], "--as", "team/alone")
    done = empty("import", "tuned.safetensors", *AS, "--parent", "team/base")
    assert done.code == 0, done
    found = shown(empty)
    assert (found["lineage"], found["provenance"]["parent"]) == (["team/base"], "stated on import")
    assert "team/base" in empty("log", "team/net").out
    empty("push", "team/base", "--to", "../one")
    empty("push", "team/base", "--to", "../two")
    alone = empty("push", "team/alone", "--to", "../one", "--json").json["sent_bytes"]
    assert empty("push", "team/net", "--to", "../two", "--json").json["sent_bytes"] < 0.6 * alone
    done = empty("import", "base.safetensors", *AS, "--parent", "team/gone")
    assert (done.code, "team/gone" in done.err) == (1, True)
    save_file(timm.create_model("test_vit").state_dict(), "vit.safetensors")
    vit = ("import", "vit.safetensors", "--as", "team/vit", "--parent", "team/base")
    for call in (vit, (*vit, "--dry-run")):
        empty(*call).refused("team/base is of the architecture test_resnet")


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


def test_class_names_come_from_the_same_weights_whose_preprocessing_is_unknown(
    empty: Run, state: State
) -> None:
    """So `evaluate` says what `predict` does, and `show --all` who said what."""
    torch.save(state, "plain.pth")
    torch.save({"model_state_dict": state}, "again.pth")
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    empty("import", "plain.pth", *AS[:2], "--as", "team/plain", "--classes", "names.txt")
    empty("import", "again.pth", *AS)
    found = shown(empty)
    assert (found["classes"], found["unknown"]) == (["ant", "bee", "wasp"], ["preprocessing"])
    whole = empty("show", AS[-1], "--all").out
    assert re.search(r"provenance\.classes: +team/plain, which has 100\.0% of the weights", whole)
    for number, name in enumerate(("ant", "bee")):
        Path("seen", name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (number * 90, 10, 10)).save(f"seen/{name}/1.png")
    done = empty("evaluate", AS[-1], "seen")
    assert f"{AS[-1]}: unknown: preprocessing; that of test_resnet is taken" in done.out + done.err


def test_classes_that_nobody_named_are_not_measured_by_name(empty: Run, state: State) -> None:
    torch.save(state, "plain.pth")
    empty("import", "plain.pth", *AS)
    for name in ("ant", "bee"):
        Path("seen", name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(f"seen/{name}/1.png")
    done = empty("evaluate", AS[-1], "seen")
    assert done.code == 1
    assert "are unknown" in done.err
    assert "--classes FILE" in done.err


# What network it is: names and shapes tell.


def test_names_and_shapes_tell_the_network(empty: Run, state: State) -> None:
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    loss = {"criterion.weight": torch.ones(3)}
    for file, saved in {
        "plain.pth": state,
        "wrapped.pth": {"state_dict": {**prefixed("module.my.", state), **loss}},
        "headless.pth": {"model": {**body, "fc.0.weight": torch.ones(8, 4)}},
    }.items():
        torch.save(saved, file)
        planned = empty("import", file, *AS[2:], "--dry-run", "--json").json
        told = (planned["architecture"], planned["taken"]["network"])
        assert told == (NET, f"{NET} found by names and shapes"), file
    done = empty("import", "headless.pth", *AS[2:]).done().out
    assert f"  {NET} found by names and shapes; unknown: preprocessing" in done
    assert shown(empty)["backbone"]["architecture"] == NET


def test_a_pickle_is_read_once(empty: Run, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """To tell its network, and to store its weights."""
    read: list[Path] = []
    monkeypatch.setattr("zoo.exchange.weights.check_pickled", read.append)
    torch.save({"model": state}, "net.pth")
    empty("import", "net.pth", "--as", "team/net", "--key", "model").done()
    assert_is(state)
    assert [path.name for path in read] == ["net.pth"]


def test_several_networks_of_these_names_and_shapes_are_listed(empty: Run) -> None:
    several = "test_efficientnet_gn or test_efficientnet_ln"
    save_file(timm.create_model("test_efficientnet_gn").state_dict(), "net.safetensors")
    refused = empty("import", "net.safetensors", *AS[2:])
    refused.refused(f"its names and shapes are those of {several}; give --architecture NAME")
    empty("import", "net.safetensors", *AS).refused(
        "does not fit the network", f"its names and shapes are those of {several}"
    )
    empty("import", "net.safetensors", "--architecture", several[-20:], *AS[2:]).done()
    # What is here already decides between them.
    assert f"{several[-20:]} from team/net, which it resembles" in empty(
        "import", "net.safetensors", "--as", "team/again"
    ).done().out  # fmt: skip


def test_a_file_of_two_networks_is_not_imported_by_guess(empty: Run, state: State) -> None:
    vit = dict(timm.create_model("test_vit").state_dict())
    save_file({**prefixed("a.", state), **prefixed("b.module.", vit)}, "two.safetensors")
    two = f"{NET} (a.) or test_vit (b.module.)"
    empty("import", "two.safetensors", *AS[2:]).refused(two, "give --architecture NAME")
    chosen = empty("import", "two.safetensors", *AS, "--dry-run", "--json").json
    assert chosen["taken"]["stripped"] == "a."
    twice = {**prefixed("student.", state), **prefixed("teacher.", state)}
    torch.save({"state_dict": twice}, "twice.pth")
    save_file({name: tensor.clone() for name, tensor in twice.items()}, "twice.safetensors")
    for file, options in product(("twice.pth", "twice.safetensors"), (AS, AS[2:])):
        keys = ("'student.' and 'teacher.'", "--key student or --key teacher takes one")
        empty("import", file, *options).refused(*keys)
        one = empty("import", file, *options, "--key", "teacher", "--dry-run", "--json").json
        assert one["taken"]["stripped"] == "teacher."
    for best, other in (("model_ema.", "model."), ("m.encoder_q.", "m.encoder_k.")):
        torch.save({**prefixed(other, state), **prefixed(best, state)}, "ranked.pth")
        done = empty("import", "ranked.pth", *AS[2:], "--dry-run", "--json").json
        assert done["taken"]["stripped"] == best


def test_of_two_networks_of_the_same_names_the_shapes_tell(empty: Run, state: State) -> None:
    wide = {name: torch.cat([tensor, tensor]) for name, tensor in state.items() if tensor.dim()}
    other = {name: wide.get(name, tensor) for name, tensor in state.items()}
    torch.save({**prefixed("teacher.", other), **prefixed("student.", state)}, "two.pth")
    done = empty("import", "two.pth", *AS, "--dry-run", "--json").json
    assert done["taken"]["stripped"] == "student."


def test_what_is_of_no_known_network_says_so(empty: Run, state: State) -> None:
    save_file({"a.weight": torch.ones(2, 2)}, "net.safetensors")
    refused = empty("import", "net.safetensors", *AS[2:])
    refused.refused("nothing says it", "no architecture of timm", "--architecture NAME")
    torch.save({"arch": "os:system", "state_dict": {"a.weight": torch.ones(2, 2)}}, "net.pth")
    empty("import", "net.pth", *AS[2:]).refused("'os:system' is no architecture of timm")


def test_names_of_a_stranger_do_not_make_the_search_long(
    empty: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is a part of its own, with eight more inside."""
    looked_at: list[object] = []

    def fitting(shapes: object) -> tuple[str, ...]:
        looked_at.append(shapes)
        return ()

    monkeypatch.setattr("zoo_timm.known.fitting", fitting)
    save_file({f"{n}.a.b.c.d.e.f.g.h": torch.zeros(1) for n in range(300)}, "net.safetensors")
    empty("import", "net.safetensors", "--as", "team/net").refused("those of no architecture")
    assert 0 < len(looked_at) <= 256  # of 2,701 parts


def test_an_architecture_of_another_library_or_with_a_slip(empty: Run, state: State) -> None:
    save_file(state, "net.safetensors")
    line = ("import", "net.safetensors", "--as", "team/net", "--architecture")
    empty(*line, "mobilenet_v3_small").refused("torchvision has it: --backbone torchvision")
    said = "--backbone torchvision --architecture mobilenet_v3_small"
    empty(*line, "torchvision/mobilenet_v3_small", "--backbone", "timm").refused(said)
    refused = empty(*line, "vit_tst")
    assert refused.err.splitlines()[-1].startswith("  did you mean test_vit")


@pytest.mark.parametrize(
    ("saved", "metrics"),
    [
        ({"acc": 72.5, "epoch": 3}, {"acc": 72.5}),
        ({"best_acc": 0.725}, {"best_acc": 0.725}),
        ({"best_acc1": torch.tensor(72.5)}, {"best_acc1": 72.5}),
        (
            {
                "acc": "high",
                "best_acc": float("nan"),
                "top1": torch.ones(2),
                "acc1": True,
                "val_acc": torch.zeros(1, dtype=torch.complex64),
                "prec1": 10**400,
            },
            {},
        ),
    ],
    ids=["acc", "best_acc", "tensor", "odd"],
)
def test_an_accuracy_in_the_file_is_kept_under_its_own_name_and_scale(
    imported: Callable[..., dict[str, Any]], empty: Run, state: State,
    saved: dict[str, Any], metrics: dict[str, float],
) -> None:  # fmt: skip
    taken = imported({"net": state, **saved})["taken"]
    found = shown(empty)
    assert found["metrics"] == metrics
    assert not set(metrics) & set(taken["left_out"])
    if metrics:
        assert found["provenance"]["metrics"] == "from the file, not measured here"
        line = ("import", "net.ckpt", *AS, "--metric", "accuracy=0.9", "--dry-run", "--json")
        assert empty(*line).json["metrics"] == {"accuracy": 0.9}


def test_what_was_used_is_not_listed_as_left_out(
    imported: Callable[..., dict[str, Any]], state: State
) -> None:
    saved = {"arch": NET, "classes": ["a", "b", "c"], "args": {"mean": [0.5]}, "best_acc": 0.5}
    left = {"optimizer": {}, "epoch": 3, "note": "x"}
    assert imported({"state_dict": state, **saved, **left})["taken"]["left_out"] == [*left]
    unused = {"classes": ["a"], "arch": "resnet18"}
    assert imported({"state_dict": state, **unused})["taken"]["left_out"] == [*unused]


def test_a_fine_tune_says_that_the_preprocessing_of_its_base_is_a_guess(
    empty: Run, state: State, few: Path
) -> None:
    save_file(state, "net.safetensors")
    tune = ("finetune", "team/net", "--data", few, "--image-size", 32, "--strategy", "probe")
    empty("import", "net.safetensors", *AS)
    note = f"team/net: unknown: preprocessing; that of {NET} is taken, a guess that can cost"
    assert empty(*tune, "--dry-run").err.count(note) == 1
    how = ("--mean", "0.5", "--std", "0.5", "--crop", "1", "--interpolation", "bicubic")
    empty("import", "net.safetensors", *AS, *how)  # but for the size, which the fine-tune says
    assert "unknown" not in empty(*tune, "--dry-run").err
