"""Class names, preprocessing, figures and parent of a file: what nobody says is unknown."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.import_files import AS, NET, Run, State, prefixed, shown
from PIL import Image
from safetensors.torch import save_file

from zoo.exchange.metadata import metadata_of_args


@pytest.mark.long
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
    assert says in toy("edit", "team/none", "--license", license_).refused("unknown").err


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


@pytest.mark.parametrize(
    ("text", "says"),
    [('["a", "", "b", "c"]', "name 2 is empty"), ("a\nb\n \nc\n", "line 3 is empty")],
)
def test_no_name_of_a_class_is_passed_over(empty: Run, state: State, text: str, says: str) -> None:
    """Each that follows would be another output's."""
    save_file(state, "net.safetensors")
    Path("names").write_text(text)
    empty("import", "net.safetensors", *AS, "--classes", "names").refused(f"names: {says}")
    Path("names").write_text("a\nb\nc\n\n\n")
    empty("import", "net.safetensors", *AS, "--classes", "names").done()


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
        pytest.param(
            {
                "args": Namespace(
                    class_to_idx={"c": 2, "a": 0, "b": 1}, mean=[0.5] * 3, std=[0.5] * 3
                )
            },
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"meta": {"dataset_meta": {"classes": ("a", "b", "c")}}, "mean": [0.5], "std": [0.5]},
            marks=pytest.mark.long,
        ),
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
        pytest.param(
            {"classes": ["a", "b"], "mean": [123.0] * 3, "std": "wide", "crop_pct": float("nan")},
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"classes": [1, 2, 3], "mean": 5, "std": [[0.5]], "interpolation": "os.system"},
            marks=pytest.mark.long,
        ),
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


@pytest.mark.long
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


@pytest.mark.long
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


def test_class_names_come_from_the_same_weights_whose_preprocessing_is_unknown(
    empty: Run, state: State
) -> None:
    """So `evaluate` says what `predict` does, and `show --all` who said what."""
    torch.save(state, "plain.pth")
    torch.save({"model_state_dict": state}, "again.pth")
    Path("names.txt").write_text("ant\nbee\nwasp\n")
    empty("import", "plain.pth", *AS[:2], "--as", "team/plain", "--classes", "names.txt")
    said = empty("import", "again.pth", *AS).out
    assert "class names from team/plain, which has 100.0% of the weights (stated there)" in said
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


@pytest.mark.parametrize(
    ("saved", "metrics"),
    [
        pytest.param({"acc": 72.5, "epoch": 3}, {"acc": 72.5}, marks=pytest.mark.long),
        pytest.param({"best_acc": 0.725}, {"best_acc": 0.725}, marks=pytest.mark.long),
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


@pytest.mark.long
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


def test_what_the_outputs_mean_is_stated(empty: Run, state: State) -> None:
    """A number is no probability; and what was stated of a file is not taken by others of it."""
    torch.save(state, "net.pth")
    Path("names.txt").write_text("length\nwidth\nheight\n")
    stated = ("--task", "regression", "--classes", "names.txt")
    done = empty("import", "net.pth", *AS, *stated).done()
    assert "class names from the options; task from the options; unknown: prep" in done.out
    Image.new("RGB", (20, 20)).save("gray.png")
    told = empty("predict", "team/net", "gray.png", "--json").json[0]
    assert (told["outputs"], told["probabilities"]) == (["length", "width", "height"], [])
    assert shown(empty)["recipe"] == {"task": "regression"}
    again = empty("import", "net.pth", *AS[:3], "eve/net").done()
    assert "same bytes as team/net (class names, task): what was stated there is not" in again.out
    assert empty("predict", "eve/net", "gray.png", "--json").json[0]["probabilities"]
    # Trained on, with its head as it was: what its outputs are called, and mean.
    moved = {"conv1.0.weight": state["conv1.0.weight"] + 0.01}
    save_file({**state, **moved}, "other.safetensors")
    told = empty("import", "other.safetensors", *AS[:3], "kim/net").done()
    assert empty("show", "kim/net", "--json").json["recipe"] == {"task": "regression"}, told.out
    wrong = empty("import", "net.pth", *AS[:3], "a/b", "--task", "numbers")
    assert "'numbers' is not one of 'classification', 'multi-label', 'regression'" in wrong.err


def test_what_the_outputs_mean_is_in_a_checkpoint_of_transformers(empty: Run, state: State) -> None:
    kept = {"state_dict": state, "config": {"problem_type": "multi_label_classification"}}
    torch.save(kept, "net.pth")
    done = empty("import", "net.pth", *AS).done()
    assert "task from the checkpoint's hyper-parameters" in done.out
    assert "left out" not in done.out
    assert shown(empty)["recipe"] == {"task": "multi-label"}
    empty("import", "net.pth", *AS, "--task", "classification").done()
    assert shown(empty)["recipe"] is None
    empty("import", "net.pth", *AS).done()  # what was stated stays under its name
    assert shown(empty)["recipe"] is None
