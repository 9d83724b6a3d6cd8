from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, tensors

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, UnknownName
from zoo.lookup.details import details
from zoo.workspace import Workspace

NAME = "timm/toynet.a1"
LISTED = CatalogEntry(
    name=NAME,
    backbone="timm",
    architecture="toynet",
    tag="a1",
    license="mit",
    input_size=(3, 8, 8),
    location=Location("hub", "timm/toynet.a1"),
)


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


@pytest.fixture
def listing(zoo: Workspace) -> CatalogEntry:
    zoo.registry.replace_entries("timm", "1", [LISTED], "2026-01-01T00:00:00Z")
    return LISTED


def test_a_checkpoint(zoo: Workspace) -> None:
    digest = add_checkpoint(
        zoo, "team/flowers", classes=("a", "b", "c"), license="mit", metrics={"accuracy": 0.5}
    )
    zoo.move(Reference("team", "flowers", "v1"), digest, "tag")
    found = details(zoo, "team/flowers:v1").to_json()
    manifest = zoo.store.manifest(digest)
    assert found["kind"] == "checkpoint"
    assert found["name"] == "team/flowers:v1"
    assert found["manifest"] == str(digest)
    assert found["refs"] == ["team/flowers", "team/flowers:v1"]
    assert found["bytes"] == manifest.weights[0].size
    assert found["sources"] == []
    assert found["backbone"] == {"plugin": "toy", "architecture": "toynet", "options": {}}
    assert found["head"] == {"kind": "native", "num_classes": 3}
    assert found["classes"] == ["a", "b", "c"]
    assert (found["license"], found["metrics"]) == ("mit", {"accuracy": 0.5})
    json.dumps(found, allow_nan=False)


def test_tensors_are_counted(zoo: Workspace) -> None:
    add_checkpoint(zoo, "team/flowers")
    (weights,) = details(zoo, "team/flowers").to_json()["weights"]
    assert weights["tensors"] == len(tensors())
    assert weights["name"] == "model.safetensors"


def test_a_digest(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, "team/flowers")
    found = details(zoo, str(digest)).to_json()
    assert found["name"] == found["manifest"] == str(digest)
    assert found["refs"] == ["team/flowers"]


def test_an_entry_that_is_not_here(zoo: Workspace, listing: CatalogEntry) -> None:
    found = details(zoo, NAME).to_json()
    assert found["kind"] == "catalog"
    assert found["name"] == NAME
    assert found["sources"] == ["timm"]
    assert found["locations"] == [{"source": "hub", "locator": "timm/toynet.a1"}]
    assert found["pull"] == f"zoo pull {NAME}"
    assert (found["license"], found["input_size"], found["params"]) == ("mit", [3, 8, 8], None)
    json.dumps(found, allow_nan=False)


def test_an_entry_that_is_here_is_a_checkpoint_with_its_sources(
    zoo: Workspace, listing: CatalogEntry
) -> None:
    add_checkpoint(zoo, NAME)
    found = details(zoo, NAME).to_json()
    assert (found["kind"], found["sources"]) == ("checkpoint", ["timm"])


def test_neither_suggests_names(zoo: Workspace, listing: CatalogEntry) -> None:
    with pytest.raises(UnknownName) as caught:
        details(zoo, "timm/toynet.a2")
    assert caught.value.near == (NAME,)


def test_a_damaged_manifest_is_corrupt(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, "team/flowers")
    flip_byte(zoo.store.path("manifests", digest))
    with pytest.raises(Corrupt):
        details(zoo, "team/flowers")
