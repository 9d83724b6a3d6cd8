"""The README of an exported checkpoint that brings none, and what libraries say that do not load
what was exported.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from fakes.adapters import adapted
from huggingface_hub import ModelCard

import zoo
from zoo.domain.calibration import CALIBRATION_FILE, CALIBRATION_TOLD
from zoo.domain.reference import Reference
from zoo.exchange.exporting import configuration, export
from zoo.exchange.importing import Origin, import_file, import_folder
from zoo.store.files import add_file
from zoo.workspace import Workspace

REF = Reference.parse("team/net")


@pytest.fixture(autouse=True)
def imported(workspace: Workspace, resnet_file: Path) -> None:
    """``team/net``, with a figure and a data set that are stated."""
    origin = Origin(
        plugin="timm", architecture="test_resnet", tag="r160_in1k",
        metrics={"accuracy": 0.769}, license="mit",
        provenance={"dataset": "notmnist", "metrics": "from summary.csv, not measured here"},
    )  # fmt: skip
    import_file(workspace, resnet_file, REF, origin)


def exported(workspace: Workspace, name: str, folder: Path) -> str:
    export(workspace, workspace.names.resolve(name)[1], folder)
    return (folder / "README.md").read_text()


def test_it_says_of_what_data_and_whence_the_figures_are(
    workspace: Workspace, tmp_path: Path
) -> None:
    text = exported(workspace, str(REF), tmp_path / "out")
    assert "\n# test_resnet, 1000 outputs, trained on notmnist\n" in text
    said = (
        "The figures are from summary.csv, not measured here. The data set is said to be notmnist."
    )
    assert f"\n## Results\n\n{said}\n\n| metric | value |\n" in text
    assert "| accuracy | 0.7690 |" in text
    assert ModelCard(text).data.to_dict() == {
        "license": "mit", "library_name": "timm", "pipeline_tag": "image-classification",
        "tags": ["zoo", "timm"],
    }  # fmt: skip


def test_texts_in_it_are_no_markup(workspace: Workspace, tmp_path: Path) -> None:
    manifest = workspace.store.manifest(workspace.names.resolve(str(REF))[1])
    odd = {"dataset": "a\n# b", "metrics": "from `x`\n<b>|"}
    workspace.commit(replace(manifest, provenance=odd), REF, "test")
    text = exported(workspace, str(REF), tmp_path / "out")
    assert "trained on a?# b\n" in text
    assert "The figures are from ?x???b??. " in text


def test_one_that_was_made_does_not_come_back_and_one_that_was_changed_does(
    workspace: Workspace, tmp_path: Path
) -> None:
    text = exported(workspace, str(REF), tmp_path / "out")
    back = import_folder(workspace, tmp_path / "out", Reference.parse("team/back")).manifest
    assert workspace.store.manifest(back).files == ()
    (tmp_path / "out/README.md").write_text(f"{text}\nOf our meadow.\n")
    back = import_folder(workspace, tmp_path / "out", Reference.parse("team/mine")).manifest
    assert [file.name for file in workspace.store.manifest(back).files] == ["README.md"]
    assert "Of our meadow." in exported(workspace, "team/mine", tmp_path / "again")


def test_it_says_what_a_large_file_beside_is_for(workspace: Workspace, tmp_path: Path) -> None:
    manifest = workspace.store.manifest(workspace.names.resolve(str(REF))[1])
    (tmp_path / CALIBRATION_FILE).write_text("{}")
    file = add_file(workspace.store, tmp_path / CALIBRATION_FILE, name=CALIBRATION_FILE)
    workspace.commit(replace(manifest, files=(file,)), REF, "test")
    assert CALIBRATION_TOLD in exported(workspace, str(REF), tmp_path / "out")


def test_timm_says_why_it_does_not_load_what_only_zoo_loads(
    workspace: Workspace, tmp_path: Path
) -> None:
    with zoo.open(workspace.root) as opened:
        opened.adapt(str(REF), "team/short", truncate="layer2", classes=3)
    text = exported(workspace, "team/short", tmp_path / "out")
    line = (
        "**Only zoo loads this checkpoint**, by `zoo pull` or `zoo import`: timm does not, for it"
    )
    assert text.split("\n\n")[2].startswith(f"{line} is truncated at layer2.0")
    says = r"only zoo loads this, for it is truncated at layer2\.0: zoo pull NAME"
    with pytest.raises(RuntimeError, match=says):
        timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)


def test_nor_does_it_load_an_adapter_beside_its_base(workspace: Workspace) -> None:
    adapted(workspace, str(REF), "team/lora", under="layer1", rank=2)
    manifest = workspace.store.manifest(workspace.names.resolve("team/lora")[1])
    config = json.loads(configuration(manifest)["config.json"])
    assert config["architecture"].startswith("only zoo loads this, for its weights are an adapter")
