"""Weights files that were made elsewhere."""

from __future__ import annotations

import pickle
import random
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop

from zoo.backbones.load import load
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, InvalidWeights, UnknownName
from zoo.exchange.importing import Origin, import_file
from zoo.exchange.weights import read_state
from zoo.store.files import restore_file
from zoo.workspace import Workspace

REF = Reference.parse("team/net")
RESNET = Origin(plugin="timm", architecture="test_resnet", tag="r160_in1k", license="apache-2.0")
State = dict[str, Any]
Kept = Callable[[], list[str]]


def imported(workspace: Workspace, path: Path, origin: Origin = RESNET) -> Digest:
    return import_file(workspace, path, REF, origin).manifest


def refused(workspace: Workspace, kept: Kept, path: Path, match: str) -> InvalidWeights:
    before = kept()
    with pytest.raises(InvalidWeights, match=match) as caught:
        imported(workspace, path)
    assert kept() == before
    assert workspace.store.read_ref(REF) is None
    return caught.value


def assert_loads(workspace: Workspace, digest: Digest, module: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(load(workspace.store, digest)(images), module(images))


def test_safetensors_are_kept_byte_for_byte(
    workspace: Workspace, resnet: torch.nn.Module, resnet_file: Path, tmp_path: Path
) -> None:
    digest = imported(workspace, resnet_file)
    manifest = workspace.store.manifest(digest)
    restore_file(workspace.store, manifest.weights[0], tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == resnet_file.read_bytes()
    assert_loads(workspace, digest, resnet)


def test_manifest_says_what_is_known(workspace: Workspace, resnet_file: Path) -> None:
    origin = replace(RESNET, provenance={"source": "file"})
    manifest = workspace.store.manifest(imported(workspace, resnet_file, origin))
    assert manifest.backbone.architecture == "test_resnet"
    assert manifest.head.kind == "native"
    assert manifest.head.num_classes == len(manifest.classes) == 1000
    assert manifest.license == "apache-2.0"
    assert manifest.preprocessing.input_size == (3, 160, 160)
    assert manifest.provenance["source"] == "file"
    assert manifest.provenance["file"] == "resnet.safetensors"
    assert manifest.provenance["sha256"] == manifest.weights[0].sha256.hex
    assert manifest.created is None
    assert manifest.parents == ()


def test_other_files_come_back_byte_for_byte(
    workspace: Workspace, resnet_file: Path, tmp_path: Path
) -> None:
    contents = {"README.md": b"# mine\r\n", "optimizer.bin": bytes(range(256)) * 999, "empty": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in contents]
    digest = import_file(workspace, resnet_file, REF, RESNET, files=files).manifest
    for file in workspace.store.manifest(digest).files:
        restore_file(workspace.store, file, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == contents.pop(file.name)
    assert contents == {}


@pytest.mark.parametrize("wrong", ["missing.txt", "", "model.safetensors", "twice", "a:b.md"])
def test_files_that_cannot_be_kept(
    workspace: Workspace, resnet_file: Path, tmp_path: Path, kept: Kept, wrong: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "twice").touch()
    (tmp_path / "sub" / "twice").touch()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "a:b.md").touch()
    before = kept()
    with pytest.raises(InvalidOption):
        import_file(
            workspace, resnet_file, REF, RESNET, files=[tmp_path / "sub/twice", tmp_path / wrong]
        )
    assert kept() == before


def test_importing_twice_is_one_checkpoint(workspace: Workspace, resnet_file: Path) -> None:
    assert imported(workspace, resnet_file) == imported(workspace, resnet_file)
    assert len(workspace.store.history(REF)) == 1


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        pytest.param(lambda state: {"model": state}, marks=pytest.mark.long),
        pytest.param(
            lambda state: {"state_dict_ema": state, "state_dict": {"wrong": torch.zeros(1)}},
            marks=pytest.mark.long,
        ),
        lambda state: {f"module.{name}": value for name, value in state.items()},
        pytest.param(
            lambda state: {"state_dict": {f"module.{name}": v for name, v in state.items()}},
            marks=pytest.mark.long,
        ),
    ],
    ids=["plain", "state_dict", "model", "ema", "module", "both"],
)
def test_pth_files(
    workspace: Workspace, resnet: torch.nn.Module, tmp_path: Path, wrapped: Callable[[State], State]
) -> None:
    torch.save(wrapped(dict(resnet.state_dict())), tmp_path / "net.pth")
    digest = imported(workspace, tmp_path / "net.pth")
    names = [tensor.name for tensor in workspace.store.manifest(digest).tensors]
    assert sorted(names) == sorted(resnet.state_dict())
    assert_loads(workspace, digest, resnet)


def test_pth_that_keeps_the_scripts_arguments(workspace: Workspace, tmp_path: Path) -> None:
    """As timm's training script saves them: harmless, and beside the weights."""
    path = tmp_path / "last.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({"state_dict": state, "args": Namespace(lr=0.1), "epoch": 3}, path)
    digest = import_file(
        workspace, path, Reference("team", "x"), Origin(plugin="timm", architecture="test_resnet")
    ).manifest
    assert set(load(workspace.store, digest).state_dict()) == set(state)


def test_pth_in_the_old_format(
    workspace: Workspace, resnet: torch.nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "old.pth"
    torch.save(resnet.state_dict(), path, _use_new_zipfile_serialization=False)
    assert_loads(workspace, imported(workspace, path), resnet)


def test_pth_whose_tensors_share_memory(
    workspace: Workspace, resnet: torch.nn.Module, tmp_path: Path
) -> None:
    state = dict(resnet.state_dict())
    one, other = "layer2.0.bn1.weight", "layer2.0.bn1.bias"
    state[one] = state[other]
    torch.save(state, tmp_path / "tied.pth")
    loaded = load(workspace.store, imported(workspace, tmp_path / "tied.pth"))
    assert torch.equal(loaded.get_parameter(one), state[other])
    assert torch.equal(loaded.get_parameter(other), state[other])


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "old", "pickle"])
def test_code_is_not_run(
    workspace: Workspace,
    kept: Kept,
    resnet: torch.nn.Module,
    tmp_path: Path,
    writer: str,
) -> None:
    path, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    content = {"state_dict": resnet.state_dict(), "extra": Trap(sprung)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    # A bare pickle has no magic number of torch's, so its content is not even looked at.
    match = "neither safetensors nor" if writer == "pickle" else "holds more than weights"
    refused(workspace, kept, path, match)
    assert not sprung.exists()
    torch.load(path, weights_only=False) if writer != "pickle" else pickle.loads(path.read_bytes())
    assert sprung.exists(), "the trap is no trap"


@pytest.mark.parametrize(("extra", "named"), [
    (CenterCrop, "torchvision.transforms.transforms.CenterCrop"),  # it is named, and not called
    (CenterCrop(8), "torchvision.transforms.transforms.CenterCrop"),
    (Fraction(1, 2), "fractions.Fraction"),
])  # fmt: skip
def test_what_is_beside_the_weights_is_named_and_what_helps_helps(
    workspace: Workspace, kept: Kept, tmp_path: Path, extra: object, named: str
) -> None:
    """As where Lightning keeps hyper-parameters that are objects."""
    path = tmp_path / "last.ckpt"
    saved = {"state_dict": {"weight": torch.ones(2)}, "hyper_parameters": {"transform": extra}}
    torch.save(saved, path)
    helps = "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pth')"
    refused(workspace, kept, path, re.escape(f"on loading: {named})") + ".*" + re.escape(helps))
    torch.save(torch.load(path, weights_only=False)["state_dict"], tmp_path / "weights.pth")
    assert [*read_state(tmp_path / "weights.pth").tensors] == ["weight"]


def test_a_whole_module_is_refused(
    workspace: Workspace, kept: Kept, resnet: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save(resnet, tmp_path / "net.pth")
    refused(workspace, kept, tmp_path / "net.pth", "holds more than weights")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.zeros(1)], "holds a list"),
        ({}, "empty"),
        ({"state_dict": {}}, "empty"),
        ({"epoch": 3, "fc.weight": torch.zeros(1)}, "'epoch' is not a tensor"),
        ({"layer": {"weight": torch.zeros(1)}}, "'layer' is not a tensor"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_other_content_is_refused(
    workspace: Workspace, kept: Kept, tmp_path: Path, content: object, match: str
) -> None:
    torch.save(content, tmp_path / "odd.pth")
    refused(workspace, kept, tmp_path / "odd.pth", match)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # torch means to drop them
def test_quantized_weights_are_refused_as_such(
    workspace: Workspace, kept: Kept, tmp_path: Path
) -> None:
    weights = torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)
    torch.save({"fc": weights}, tmp_path / "int8.pth")
    refused(workspace, kept, tmp_path / "int8.pth", "quantized")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".old.pth"])
def test_truncated_files(
    workspace: Workspace,
    kept: Kept,
    resnet: torch.nn.Module,
    resnet_file: Path,
    tmp_path: Path,
    suffix: str,
    share: float,
) -> None:
    path = tmp_path / f"whole{suffix}"
    if suffix == ".safetensors":
        path = resnet_file
    else:
        torch.save(resnet.state_dict(), path, _use_new_zipfile_serialization=suffix == ".pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    called = "the file is empty" if not share else "truncated: " if "tensors" in suffix else (
        "ends early: part of it is missing"
    )  # fmt: skip
    refused(workspace, kept, path, called)


@pytest.mark.parametrize("seed", range(40))
def test_garbage(workspace: Workspace, kept: Kept, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    # Half of it starts as a pickle does.
    head = b"\x80" + bytes([source.choice([2, 3, 4])]) if seed % 2 else b""
    path = tmp_path / "garbage.pth"
    path.write_bytes(head + source.randbytes(source.randrange(1, 3000)))
    refused(workspace, kept, path, "garbage.pth")


def test_a_header_that_is_too_long(workspace: Workspace, kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refused(workspace, kept, path, "its header has")


def test_missing_file_and_folder(workspace: Workspace, kept: Kept, tmp_path: Path) -> None:
    refused(workspace, kept, tmp_path / "nowhere.pth", "no such file")
    refused(workspace, kept, tmp_path, "is a folder")


def test_weights_of_another_architecture(workspace: Workspace, kept: Kept, tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    error = refused(workspace, kept, tmp_path / "vit.safetensors", "as test_resnet")
    assert "lacks 'conv1.0.weight'" in error.reason
    assert "more)" in error.reason


@pytest.mark.long
def test_one_key_too_many_or_of_another_shape(
    workspace: Workspace, kept: Kept, resnet: torch.nn.Module, tmp_path: Path
) -> None:
    path, state = tmp_path / "net.safetensors", resnet.state_dict()
    save_file({**state, "extra.weight": torch.zeros(1)}, path)
    refused(workspace, kept, path, "has 'extra.weight'")
    save_file({**state, "bn1.weight": torch.zeros(5)}, path)
    refused(workspace, kept, path, r"'bn1.weight' of the shape \(5,\), the network's is \(32,\)")


def test_unknown_architecture_and_plugin(workspace: Workspace, resnet_file: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        imported(workspace, resnet_file, replace(RESNET, architecture="test_resnett", tag=None))
    assert "test_resnet" in caught.value.near
    with pytest.raises(UnknownName):
        imported(workspace, resnet_file, replace(RESNET, plugin="tim"))


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_convnext"])
def test_size_of_a_fine_tuned_head_is_read_off_the_weights(
    workspace: Workspace, tmp_path: Path, architecture: str
) -> None:
    module = timm.create_model(architecture, num_classes=7).eval()
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    origin = Origin(plugin="timm", architecture=architecture)
    digest = imported(workspace, tmp_path / "net.safetensors", origin)
    manifest = workspace.store.manifest(digest)
    assert manifest.head.num_classes == 7
    assert manifest.classes == ()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        outputs = load(workspace.store, digest)(images)
        assert outputs.shape == (2, 7)
        assert torch.equal(outputs, module(images))
