"""Files as people have them: `zoo import` takes them, and says what it took."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.program import Said
from safetensors.torch import save_file

import zoo
from zoo.exchange.weights import WRAPPERS, read_state

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
        return done.json

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
    assert done.out.splitlines()[1:] == ["  stripped _orig_mod."]
    assert_is(state)


def test_what_a_file_of_bare_weights_says(empty: Run, state: State) -> None:
    torch.save(state, "net.pth")
    assert len(empty("import", "net.pth", *AS).out.splitlines()) == 1


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
    assert done.out.splitlines()[1:] == [
        "  took state_dict_ema; --key state_dict takes the other; stripped module.; "
        "left out epoch, optimizer"
    ]
    assert_is(state)
    assert empty("import", "last.pth.tar", *AS, "--key", "state_dict").code == 0
    assert_is(other)


def test_a_key_that_is_not_there_is_answered_with_those_that_are(empty: Run, state: State) -> None:
    torch.save({"epoch": 3, "student": state, "teacher": state}, "dino.pth")
    done = empty("import", "dino.pth", *AS)
    assert (done.code, done.out) == (1, "")
    assert "its keys are student, teacher, epoch, of which --key KEY takes one" in done.err
    done = empty("import", "dino.pth", *AS, "--key", "techer")
    assert "'techer' is not there; its keys are student, teacher, epoch" in done.err
    assert "'epoch' holds no weights" in empty("import", "dino.pth", *AS, "--key", "epoch").err
    assert empty("import", "dino.pth", *AS, "--key", "teacher").code == 0
    assert_is(state)
    save_file(state, "net.safetensors")
    assert "which has no keys" in empty("import", "net.safetensors", *AS, "--key", "model").err


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
    assert done.out.endswith("it has no head\n")
    assert all(name in done.out for name in outside)
    assert_is(body)
    assert empty("show", "team/net", "--json").json["head"]["num_classes"] == 0


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
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), "net.pt")
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
