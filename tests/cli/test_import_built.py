"""A network that its training script built with arguments is imported as it was built."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.prepared import Run
from safetensors.torch import save_file

VIT = "test_vit"
AS = ("--as", "team/{stem}", "--yes", "--json")


def network(**arguments: Any) -> dict[str, torch.Tensor]:
    """Weights of a small network with 3 outputs, built with ``arguments``."""
    torch.manual_seed(3)
    return dict(timm.create_model(VIT, num_classes=3, **arguments).state_dict())


def options(run: Run, name: str = "team/net") -> dict[str, Any]:
    """How the network of a checkpoint differs from its architecture."""
    data = run("show", name, "--json").json
    found: dict[str, Any] = data["backbone"]["options"]
    assert data["preprocessing"]["input_size"][1:] == found["image_size"]
    return found


def test_arguments_in_a_checkpoint_of_timm(empty: Run) -> None:
    arguments = {"img_size": 64, "qkv_bias": False}
    saved = {"arch": VIT, "args": Namespace(model=VIT, model_kwargs=arguments)}
    Path("run").mkdir()
    torch.save({**saved, "state_dict": network(**arguments)}, "run/last.pth.tar")
    built = {"num_classes": 3, "image_size": [64, 64], "arguments": {"qkv_bias": False}}
    for named in ((), ("--architecture", VIT)):
        empty("import", "run/last.pth.tar", "--as", "team/net", *named, "--force").done()
        assert options(empty) == built
    (file,) = empty("import", "run", "--recursive", *AS).done().json["files"]
    assert (file["status"], options(empty, "team/run")) == ("imported", built)
    # Another value of what no weight depends on would be another network.
    saved["args"] = Namespace(model=VIT, model_kwargs={**arguments, "act_layer": "relu"})
    torch.save({**saved, "state_dict": network(**arguments)}, "run/last.pth.tar")
    empty("import", "run/last.pth.tar", "--as", "team/other").done()
    assert options(empty, "team/other")["arguments"]["act_layer"] == "relu"


@pytest.mark.parametrize(
    ("name", "value"), [("block_fn", "os.system"), ("pretrained_cfg", {}), ("depth", 10**9)]
)
def test_an_argument_that_is_not_passed_on_is_refused(empty: Run, name: str, value: object) -> None:
    args = Namespace(model=VIT, model_kwargs={name: value})
    torch.save({"arch": VIT, "args": args, "state_dict": network()}, "last.pth.tar")
    refused = empty("import", "last.pth.tar", "--as", "team/net")
    refused.refused(f"'{name}' of timm", "zoo does not pass on")


def test_arguments_beside_weights(empty: Run) -> None:
    Path("run").mkdir()
    save_file(network(img_size=64, qkv_bias=False), "run/net.safetensors")
    told = f"model: {VIT}\nmodel_kwargs:\n  img_size: 64\n  qkv_bias: false\n"
    Path("run/args.yaml").write_text(told)
    empty("import", "run/net.safetensors", "--architecture", VIT, "--as", "team/net").done()
    assert options(empty)["arguments"] == {"qkv_bias": False}
    # What lies there by chance is no reason to refuse.
    Path("run/args.yaml").write_text(f"model: {VIT}\nmodel_kwargs: {{block_fn: x, depth: [a]}}\n")
    save_file(network(), "run/net.safetensors")
    empty("import", "run/net.safetensors", "--architecture", VIT, "--as", "team/plain").done()


def test_the_image_size_of_a_script_is_tried(empty: Run) -> None:
    args = Namespace(model=VIT, img_size=64)
    torch.save({"args": args, "state_dict": network(img_size=64)}, "last.pth")
    empty("import", "last.pth", "--as", "team/net").done()
    assert options(empty) == {"num_classes": 3, "image_size": [64, 64]}
    torch.save({"args": args, "state_dict": network()}, "last.pth")
    empty("import", "last.pth", "--as", "team/native").done()
    assert "image_size" not in empty("show", "team/native", "--json").json["backbone"]["options"]


def test_what_nobody_has_kept_is_stated(empty: Run) -> None:
    Path("runs").mkdir()
    save_file(network(img_size=64), "runs/net.safetensors")
    of = ("--recursive", "--architecture", VIT, *AS)
    bad = empty("import", "runs", *of)
    assert bad.code == 1
    assert "--image-size 64" in bad.json["files"][0]["problem"]
    empty("import", "runs", *of, "--image-size", "64").done()
    assert options(empty, "team/runs") == {"num_classes": 3, "image_size": [64, 64]}


@pytest.mark.long
def test_what_is_here_tells_how_the_same_weights_are_built(empty: Run) -> None:
    """The plan says what the import does, and both say what else is needed."""
    Path("runs").mkdir()
    torch.save({"model_ema": network(img_size=64, in_chans=1)}, "runs/ema.pth")
    args = Namespace(model=VIT, model_kwargs={"img_size": 64, "in_chans": 1})
    told = {"arch": VIT, "args": args, "model_ema": network(img_size=64, in_chans=1)}
    torch.save(told, "first.pth")
    empty("import", "first.pth", "--as", "me/ema", "--license", "mit").done()
    many = ("import", "runs", "--recursive", "--as", "o/{stem}", "--yes", "--json")
    for said in ("new", "imported"):
        (file,) = empty(*many, *["--dry-run"] * (said == "new")).done().json["files"]
        assert (file["status"], file["problem"]) == (said, "")
    built = {"num_classes": 3, "image_size": [64, 64], "channels": 1}
    assert options(empty, "o/ema") == built
    empty("import", "runs/ema.pth", "--as", "o/alone").done()
    assert options(empty, "o/alone") == built
    # One of other weights in the same folder is of no known size.
    torch.manual_seed(9)
    other = timm.create_model(VIT, num_classes=3, img_size=64, in_chans=1).state_dict()
    torch.save({"model_ema": other}, "runs/other.pth")
    files = empty(*many, "--dry-run", "--architecture", VIT).json["files"]
    assert [file["status"] for file in files] == ["here", "bad"]


@pytest.mark.long
def test_a_plan_does_not_promise_what_the_import_refuses(empty: Run) -> None:
    """Also where the bytes are here, and become another checkpoint all the same."""
    torch.save({"model_ema": network(img_size=64)}, "ema.pth")
    empty("import", "ema.pth", "--architecture", VIT, "--image-size", "64", "--as", "me/ema").done()
    Path("runs").mkdir()
    Path("ema.pth").rename("runs/ema.pth")
    many = ("import", "runs", "--recursive", "--as", "o/{stem}", "--image-size", "96", "--json")
    for how in ("--dry-run", "--yes"):
        (file,) = empty(*many, how).json["files"]
        assert file["status"] == "bad"
