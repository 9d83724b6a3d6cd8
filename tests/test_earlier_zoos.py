"""Zoos and remotes that earlier versions wrote stay what they were.

``fixtures/zoos/make.sh`` made them: ``before-trust`` with commit 917ff29, ``trust`` with 7a84936,
``one-store`` with 5a45b99, the last one that keeps every manifest as it is.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.program import zoo
from fakes.sampled import sampled
from safetensors.torch import load_file

FIXTURES = Path(__file__).parent / "fixtures" / "zoos"
LINE = {f"team/line{number}" for number in range(34)}


@pytest.fixture(
    scope="module", params=sampled(["before-trust", "trust", "one-store"], ["before-trust"])
)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with such a ``zoo``, which this version has opened: it reads all of it again."""
    folder = tmp_path_factory.mktemp("opened")
    with tarfile.open(FIXTURES / f"{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        zoo("remote", "remove", "shared", "--home", folder / "zoo").done()
    return folder


@pytest.fixture
def earlier(opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, its remote ``shared``, and what commands said of them."""
    shutil.copytree(opened, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "zoo"))
    zoo("remote", "add", "shared", tmp_path / "shared").done()
    return tmp_path


@pytest.fixture
def said(earlier: Path) -> dict[str, Any]:
    """What the earlier version printed of it."""
    return {
        name: json.loads((earlier / f"{name}.json").read_bytes())
        for name in ("tuned", "search", "log")
    }


def test_all_is_sound(earlier: Path) -> None:
    zoo("verify").done()
    zoo("verify", "shared").done()


def test_names_lead_where_they_led(
    earlier: Path, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {row["name"]: row["manifest"] for row in said["search"]}
    assert {"team/base", "team/tuned", "team/v1"} < before.keys()
    monkeypatch.setattr("zoo.exchange.indexing.index_local", lambda *_, **__: None)
    for made_again in (False, True):
        if made_again:
            zoo("reindex").done()
        found = zoo("search", "--limit", "100", "--json").json
        now = {row["name"]: row["manifest"] for row in found if row["kind"] == "checkpoint"}
        assert now.keys() == LINE | {"team/base", "team/tuned", "team/v1"}
        assert before.items() <= now.items()


def test_a_checkpoint_is_what_it_was(earlier: Path, said: dict[str, Any]) -> None:
    shown, before = zoo("show", "team/tuned", "--json").json, said["tuned"]
    for key in ("manifest", "classes", "metrics", "recipe", "preprocessing", "license"):
        assert shown[key] == before[key]
    assert shown["lineage"] == before["lineage"]
    log = zoo("log", "team/tuned", "--json").json
    assert log["history"] == said["log"]["history"]
    assert len(log["descendants"]) == len(LINE)


def test_the_remote_can_be_pulled(
    earlier: Path, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects that are encoded as differences, and a lineage of 36 checkpoints, among them."""
    assert list((earlier / "shared" / "encoded").rglob("*"))
    monkeypatch.setenv("ZOO_HOME", str(earlier / "mine"))
    zoo("clone", earlier / "shared", earlier / "mine").done()
    zoo("fetch").done()
    for name in ("team/base", "team/tuned", "team/line33"):
        zoo("pull", name).done()
        zoo("export", name, earlier / name).done()
    assert zoo("show", "team/tuned", "--json").json["manifest"] == said["tuned"]["manifest"]
    assert len(zoo("log", "team/line33", "--json").json["ancestors"]) == len(LINE) + 2
    base, tuned = (
        load_file(earlier / "team" / name / "model.safetensors") for name in ("base", "tuned")
    )
    stem = base["conv_stem.weight"]
    expected = (torch.arange(stem.numel()) * 2654435761 % 16 - 7.5) / 32
    assert torch.equal(stem, expected.reshape(stem.shape))
    assert torch.equal(stem, tuned["conv_stem.weight"])  # frozen
    zoo("verify").done()


def test_work_goes_on(earlier: Path) -> None:
    """Names, protection, pushes and a prune."""
    zoo("delete", "--restore", "team/gone").done()
    zoo("delete", "team/v1").refused("protected")
    zoo("adapt", "team/tuned", "team/new", "--classes", "5").done()
    zoo("push", "team/new", "--to", "shared").done()
    assert json.loads((earlier / "shared" / "zoo.json").read_bytes()) == {"format": 2}
    assert len(list((earlier / "shared" / "encoded-manifests").rglob("*/*"))) == 1
    zoo("pull", "team/new", "--from", "shared").done()
    zoo("delete", "team/line33").done()
    zoo("prune", "--yes").done()
    zoo("verify").done()
    zoo("verify", "shared").done()
