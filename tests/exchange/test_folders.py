"""Folders that were exported come back, whatever the network; others as their own files say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.hub_server import HubServer
from fakes.traced import traced_once  # noqa: F401 - a fixture of all tests here
from fakes.typed import card
from safetensors.torch import load_file, save_file

from zoo.backbones.load import load
from zoo.domain.manifest import Head
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery
from zoo.domain.task import task_of
from zoo.errors import InvalidOption, InvalidWeights, Unsupported
from zoo.exchange.acquire import acquire_at
from zoo.exchange.adapt import adapt
from zoo.exchange.exporting import export
from zoo.exchange.importing import Origin, import_file, import_folder
from zoo.store.files import add_file
from zoo.workspace import Workspace

BASE, MADE, BACK = map(Reference.parse, ("team/base", "team/made", "team/back"))

Made = Callable[..., Path]
Kept = Callable[[], list[str]]


@pytest.fixture
def made(workspace: Workspace, tmp_path: Path) -> Made:
    """``team/made``, a network of timm's after surgery, exported to the folder that is given."""

    def make(architecture: str, kind: str | None = None, **how: Any) -> Path:
        torch.manual_seed(3)
        module = timm.create_model(architecture).eval()
        save_file(module.state_dict(), tmp_path / "base.safetensors")
        origin = Origin(plugin="timm", architecture=architecture, license="mit")
        import_file(workspace, tmp_path / "base.safetensors", BASE, origin)
        head = Head(kind=kind, num_classes=3) if kind else None
        done = adapt(workspace, str(BASE), MADE, Surgery(**how), head=head)
        export(workspace, done.manifest, tmp_path / "out")
        return tmp_path / "out"

    return make


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Workspace]:
    """A zoo that has nothing of what was exported."""
    with closing(Workspace.create(tmp_path / "elsewhere")) as other:
        yield other


def assert_same(workspace: Workspace, other: Workspace) -> None:
    """``team/back`` of the other is what ``team/made`` is, but for where it is from."""
    ours, theirs = (
        load(each.store, each.names.resolve(str(ref))[1])
        for each, ref in ((workspace, MADE), (other, BACK))
    )
    wanted, found = card(ours).manifest, card(theirs).manifest
    for field in ("backbone", "head", "preprocessing", "classes", "license", "files"):
        assert getattr(found, field) == getattr(wanted, field), field
    assert wanted.preprocessing is not None
    images = torch.randn(2, *wanted.preprocessing.input_size)
    with torch.no_grad():
        assert torch.equal(theirs(images), ours(images))


@pytest.mark.parametrize(
    ("architecture", "kind", "how"),
    [
        ("test_resnet", "linear", {"truncate": "layer2"}),
        pytest.param("test_resnet", None, {"truncate": "layer3.0"}, marks=pytest.mark.long),
        ("test_vit", "mlp", {"truncate": "blocks.1", "channels": 4}),
        pytest.param("test_resnet", "mlp", {}, marks=pytest.mark.long),
        pytest.param("test_efficientnet", "cosine", {}, marks=pytest.mark.long),
        pytest.param(
            "test_resnet", "linear", {"channels": 1, "image_size": (64, 96)}, marks=pytest.mark.long
        ),
        pytest.param(
            "test_vit",
            "linear",
            {"image_size": (96, 96), "without": ("blocks.2",)},
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_was_exported_comes_back(
    workspace: Workspace, elsewhere: Workspace, made: Made,
    architecture: str, kind: str | None, how: dict[str, Any],
) -> None:  # fmt: skip
    folder = made(architecture, kind, **how)
    digest = import_folder(elsewhere, folder, BACK).manifest
    assert_same(workspace, elsewhere)
    assert elsewhere.store.manifest(digest).provenance["source"] == "folder"
    here = workspace.names.resolve(str(MADE))[1]
    assert import_folder(workspace, folder, BACK).manifest == here


def test_classes_and_other_files_come_back(
    workspace: Workspace, elsewhere: Workspace, made: Made, tmp_path: Path
) -> None:
    made("test_resnet", "mlp", truncate="layer2")
    (tmp_path / "notes.txt").write_bytes(b"as it was\r\n")
    named = replace(
        workspace.store.manifest(workspace.names.resolve(str(MADE))[1]),
        classes=("2", "10", "größer"),
        files=(add_file(workspace.store, tmp_path / "notes.txt", name="notes.txt"),),
    )
    export(workspace, workspace.commit(named, MADE, "test"), tmp_path / "named")
    import_folder(elsewhere, tmp_path / "named", BACK)
    assert_same(workspace, elsewhere)


def config_of_named(workspace: Workspace, folder: Path) -> Path:
    """The ``config.json`` of what was made, exported with the classes a, b and c."""
    manifest = workspace.store.manifest(workspace.names.resolve(str(MADE))[1])
    named = replace(manifest, classes=("a", "b", "c"))
    export(workspace, workspace.commit(named, MADE, "test"), folder)
    return folder / "config.json"


@pytest.mark.parametrize("names", [["c", "b"], "cbä", {"0": "c", "1": "b", "2": "ä"}])
def test_names_of_other_classes_rename_none(
    workspace: Workspace, elsewhere: Workspace, made: Made, tmp_path: Path, names: object
) -> None:
    made("test_resnet", "linear")
    path = config_of_named(workspace, tmp_path / "named")
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_names": names}))
    kept = elsewhere.store.manifest(import_folder(elsewhere, path.parent, BACK).manifest)
    assert kept.classes == ("a", "b", "c")


def test_classes_that_were_renamed_for_timm_are_renamed_for_zoo(
    workspace: Workspace, elsewhere: Workspace, made: Made, tmp_path: Path
) -> None:
    """Of one ``config.json`` both read the same names: there are two places for them."""
    made("test_resnet", "linear")
    path = config_of_named(workspace, tmp_path / "named")
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "label_names": ["c", "b", "ä"]}))
    kept = elsewhere.store.manifest(import_folder(elsewhere, path.parent, BACK).manifest)
    by_timm: Any = timm.create_model(f"local-dir:{path.parent}", pretrained=True).pretrained_cfg
    assert kept.classes == tuple(by_timm["label_names"]) == ("c", "b", "ä")


def test_a_truncated_one_is_pulled_from_where_it_was_published(
    workspace: Workspace, made: Made, hub: HubServer
) -> None:
    folder = made("test_resnet", "linear", truncate="layer2")
    hub.commit("org/net", {path.name: path.read_bytes() for path in folder.iterdir()})
    digest = acquire_at(workspace, str(BACK), "hf://org/net")[0].manifest
    assert workspace.store.manifest(digest).backbone.options["truncate"] == "layer2.0"


@pytest.mark.parametrize("task", ["regression", "multi-label"])
def test_what_the_outputs_mean_comes_back(
    workspace: Workspace,
    elsewhere: Workspace,
    made: Made,
    hub: HubServer,
    tmp_path: Path,
    task: str,
) -> None:
    """Numbers are no probabilities, in whatever zoo."""
    made("test_resnet", "linear")
    bare = workspace.store.manifest(workspace.names.resolve(str(MADE))[1])
    told = replace(bare, recipe={"task": task, "data": "rooms"})
    export(workspace, workspace.commit(told, MADE, "test"), folder := tmp_path / "told")
    hub.commit("org/net", {path.name: path.read_bytes() for path in folder.iterdir()})
    # Who imported the very bytes as those of classes before is not stuck with that.
    config = json.loads((folder / "config.json").read_text())
    del config["problem_type"]  # what transformers reads, by itself
    (folder / "config.json").write_text(json.dumps(config))
    assert config["zoo"].pop("task") == task
    older = {**config["zoo"], "task": 7}
    for name, part in (("unsaid", config["zoo"]), ("odd", older)):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "zoo": part}))
        digest = import_folder(elsewhere, tmp_path / name, BACK).manifest
        assert task_of(elsewhere.store.manifest(digest)) == "classification"
    again = import_folder(elsewhere, folder, Reference.parse("team/again"))
    pulled, _ = acquire_at(elsewhere, "team/pulled", "hf://org/net")
    for one in (again, pulled):
        assert task_of(elsewhere.store.manifest(one.manifest)) == task


def test_strangers_name_no_code(workspace: Workspace, made: Made, hub: HubServer) -> None:
    """A network of one's own is built by an import path: the hub may not choose it."""
    folder = made("test_resnet", "linear")
    config = json.loads((folder / "config.json").read_text())
    config["zoo"]["backbone"] |= {"plugin": "torch", "architecture": "fakes.own_nets:CONV"}
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.commit("org/net", {**files, "config.json": json.dumps(config).encode()})
    with pytest.raises(Unsupported, match="none that torch lists"):
        acquire_at(workspace, str(BACK), "hf://org/net")


@pytest.mark.parametrize("safe", [True, False])
def test_what_timm_saved_is_read_as_timm_does(
    workspace: Workspace, tmp_path: Path, safe: bool
) -> None:
    module = timm.create_model("test_vit", num_classes=3).eval()
    timm.models.save_for_hf(
        module, str(tmp_path / "saved"), {"label_names": list("abc")}, safe_serialization=safe
    )
    (tmp_path / "saved/README.md").write_text("# theirs")
    (tmp_path / "saved/optimizer.bin").write_bytes(b"large")
    digest = import_folder(workspace, tmp_path / "saved", BACK).manifest
    back = load(workspace.store, digest)
    assert card(back).classes == ("a", "b", "c")
    assert [file.name for file in card(back).manifest.files] == ["README.md", "config.json"]
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(back(images), module(images))


@pytest.mark.long
def test_folders_that_say_too_little(
    workspace: Workspace, made: Made, tmp_path: Path, kept: Kept
) -> None:
    folder = made("test_resnet", "mlp")
    before, config = kept(), (folder / "config.json").read_text()

    def refused(error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            import_folder(workspace, folder, BACK)
        assert kept() == before

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    refused(InvalidWeights, r"holds no model\.safetensors")
    save_file({**state, "fc.0.weight": torch.zeros(5)}, folder / "model.safetensors")
    refused(InvalidWeights, r"fc\.0\.weight")
    wrong = json.loads(config)
    for change, says in (
        ({"format": 9}, "format 9"),
        ({"head": {"kind": "mlp"}}, "malformed"),
        ({"backbone": {**wrong["zoo"]["backbone"], "options": {"depth": 3}}}, "depth"),
    ):
        text = json.dumps({**wrong, "zoo": {**wrong["zoo"], **change}})
        (folder / "config.json").write_text(text)
        refused(Unsupported, says)
    (folder / "config.json").unlink()
    refused(InvalidOption, "--recursive --as")
