"""A plugin from elsewhere, installed by pip, is as good as a built-in one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from zoo import plugins
from zoo.testing.backbones import BackboneSuite
from zoo.testing.heads import HeadSuite
from zoo.testing.sources import SourceSuite

PROJECT = Path(__file__).parent / "fixtures" / "zoo-acme"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages into which zoo-acme was installed, with weights of the small network."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "--no-deps", "--no-build-isolation", "--target", str(folder), str(PROJECT)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def acme(site: Path) -> Iterator[Any]:
    """The module, imported from there."""
    sys.path.insert(0, str(site))
    plugins.load.cache_clear()
    module = importlib.import_module("zoo_acme")
    torch.manual_seed(0)
    (site / "acme_weights").mkdir()
    state = module.AcmeBackbone().build("acme_small").state_dict()
    save_file(state, site / "acme_weights" / "acme_small.safetensors")
    yield module
    sys.path.remove(str(site))
    plugins.load.cache_clear()


class TestBackbone(BackboneSuite):
    @pytest.fixture
    def backbone(self, acme: Any) -> Any:
        return acme.AcmeBackbone()

    @pytest.fixture
    def architectures(self) -> list[str]:
        return ["acme_small", "acme_large"]


class TestHead(HeadSuite):
    @pytest.fixture
    def head(self, acme: Any) -> Any:
        return acme.AcmeHead()


class TestSource(SourceSuite):
    @pytest.fixture
    def source(self, acme: Any) -> Any:
        return acme.AcmeSource()

    @pytest.fixture
    def locator(self) -> str:
        return "acme_small.safetensors"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Dark and light noise, in class folders."""
    draw = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            pixels = draw.normal(level, 20, (32, 32, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path / "images"


def test_it_is_used_by_its_names_alone(acme: Any, site: Path, tmp_path: Path, images: Path) -> None:
    path = os.pathsep.join([str(site), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "ZOO_HOME": str(tmp_path / "zoo")}

    def zoo(*arguments: object) -> Any:
        command = [sys.executable, "-m", "zoo_cli", *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    zoo("init", tmp_path / "zoo", "--json")
    origins = {(each["group"], each["name"]): each for each in zoo("plugins", "--json")}
    for group in ("zoo.backbones", "zoo.heads", "zoo.sources"):
        assert origins[group, "acme"]["origin"] == "zoo-acme 1.0"
        assert origins[group, "acme"]["problem"] is None
    assert zoo("index", "acme", "--deep", "--json")["traced"] == 1
    zoo("pull", "acme/acme_small", "--json")
    assert zoo("tree", "acme/acme_small", "--json")["units"][0]["name"] == "stem"
    trained = zoo(
        "finetune", "acme/acme_small", "--data", images, "--freeze", "stem", "--head", "acme",
        "--epochs", 8, "--save", "team/light", "--json",
    )  # fmt: skip
    assert trained["metrics"]["accuracy"] == 1.0
    (answer,) = zoo("predict", "team/light", images / "light" / "0.png", "--json")
    assert answer["classes"][0] == "light"
