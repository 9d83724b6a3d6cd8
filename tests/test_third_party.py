"""A plugin from elsewhere, installed by pip, is as good as a built-in one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.spawned import warm_processes  # noqa: F401 - a fixture
from PIL import Image
from safetensors.torch import save_file

from zoo import plugins
from zoo.contracts import Backbone, Backend, Catalog, Head, Tracker
from zoo.testing.backbones import BackboneSuite
from zoo.testing.heads import HeadSuite
from zoo.testing.remotes import BackendSuite, StoreSuite
from zoo.testing.sources import SourceSuite
from zoo.testing.trackers import Curve, TrackerSuite
from zoo_cli.main import main

PROJECT = Path(__file__).parent / "fixtures" / "zoo-acme"
PAGE = Path(__file__).parent.parent / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages into which zoo-acme was installed, with weights of the small network."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "--no-deps", "--no-build-isolation", "--target", str(folder), str(PROJECT)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def acme(site: Path) -> Iterator[None]:
    """It can be imported from there."""
    sys.path.insert(0, str(site))
    plugins.load.cache_clear()
    torch.manual_seed(0)
    weights = site / "zoo_acme" / "weights"
    weights.mkdir()
    state = plugins.backbone("acme").build("acme_small").state_dict()
    save_file(state, weights / "acme_small.safetensors")
    yield
    sys.path.remove(str(site))
    plugins.load.cache_clear()


def test_it_is_short_and_in_the_documents_word_for_word() -> None:
    files = [path for path in PROJECT.rglob("*.*") if path.suffix in (".py", ".toml")]
    lines = {path.name: len(path.read_text().splitlines()) for path in files}
    assert lines.pop("shelf.py") <= 80
    assert lines.pop("tracker.py") <= 30
    assert sum(lines.values()) <= 125
    blocks = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.M | re.S))
    shown = {path.relative_to(PROJECT).as_posix(): path.read_text() for path in files}
    assert blocks == {name: text for name, text in shown.items() if text}


class TestBackbone(BackboneSuite):
    @pytest.fixture
    def backbone(self, acme: None) -> Backbone:
        return plugins.backbone("acme")

    @pytest.fixture
    def architectures(self) -> list[str]:
        return ["acme_small", "acme_large"]


class TestHead(HeadSuite):
    @pytest.fixture
    def head(self, acme: None) -> Head:
        return plugins.head("acme")


class TestSource(SourceSuite):
    @pytest.fixture
    def source(self, acme: None) -> Catalog:
        return plugins.catalog("acme")

    @pytest.fixture
    def locator(self) -> str:
        return "acme_small.safetensors"


class TestTracker(TrackerSuite):
    @pytest.fixture
    def tracker(self, acme: None) -> Callable[[], Tracker]:
        return lambda: plugins.tracker("acme")

    @pytest.fixture
    def curve(self) -> Curve:
        def read(run: str, name: str) -> list[tuple[int, float]]:
            lines = map(json.loads, Path("acme", f"{run}.jsonl").read_text().splitlines())
            return [(line["step"], line[name]) for line in lines if name in line]

        return read


@pytest.fixture
def backend(acme: None, tmp_path: Path) -> Backend:
    return plugins.remote("acme").connect(f"acme://{tmp_path}/models.db", create=True)


class TestBackend(BackendSuite):
    pass


class TestStore(StoreSuite):
    pass


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


@pytest.mark.long
@pytest.mark.usefixtures("acme", "warm_processes")
def test_it_is_used_by_its_names_alone(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "zoo"))
    monkeypatch.setattr("zoo.exchange.tracing.cores", lambda: 1)
    monkeypatch.chdir(tmp_path)

    def zoo(*arguments: object) -> Any:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert left.value.code == 0, printed.err
        return json.loads(printed.out)

    zoo("init", tmp_path / "zoo", "--json")
    origins = {(each["group"], each["name"]): each for each in zoo("plugins", "--json")}
    for group in ("zoo.backbones", "zoo.heads", "zoo.sources", "zoo.remotes", "zoo.trackers"):
        assert origins[group, "acme"]["origin"] == "zoo-acme 1.0"
        assert origins[group, "acme"]["problem"] is None
    assert zoo("index", "acme", "--deep", "--json")["traced"] == 2
    zoo("pull", "acme/acme_small", "--json")
    assert zoo("tree", "acme/acme_small", "--json")["units"][0]["name"] == "stem"
    trained = zoo(
        "finetune", "acme/acme_small", "--data", images, "--freeze", "stem", "--head", "acme",
        "--epochs", 8, "--save", "team/light", "--log", "acme", "--json",
    )  # fmt: skip
    assert trained["metrics"]["accuracy"] == 1.0
    assert '"finish": "done"' in Path("acme", f"{trained['run']}.jsonl").read_text()
    (answer,) = zoo("predict", "team/light", images / "light" / "0.png", "--json")
    assert answer["classes"][0] == "light"
    shelf = f"acme://{tmp_path}/team.db"
    zoo("push", "team/light", "--to", shelf, "--json")
    assert zoo("verify", shelf, "--json")["damages"] == []
    zoo("init", tmp_path / "other", "--json")
    zoo("--home", tmp_path / "other", "pull", "team/light", "--from", shelf, "--json")
