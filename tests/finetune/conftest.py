from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from fakes import threads
from fakes.pictures import blank_pictures  # noqa: F401 - a fixture of all tests here
from fakes.traced import traced_once  # noqa: F401 - as above
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import nn

from zoo.domain.hierarchy import Hierarchy
from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.finetune.strategies import linear
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone

one_thread = pytest.fixture(autouse=True, scope="session")(threads.one_thread)


@pytest.fixture(autouse=True)
def few_cs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe chooses among three strengths of regularization; `test_linear.py` has all seven."""
    monkeypatch.setattr(linear, "CS", (0.01, 0.1, 1.0))


ARCHITECTURES = {"base": "test_resnet", "transformer": "test_vit"}


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[frozenset[str]], Path]:
    """A zoo with the checkpoints of the named fixtures, to be copied: an import takes a while."""

    @cache
    def template(names: frozenset[str]) -> Path:
        folder = tmp_path_factory.mktemp("template")
        with closing(Workspace.create(folder / "zoo")) as workspace:
            for name in sorted(names):
                imported(workspace, folder, ARCHITECTURES[name])
        return folder / "zoo"

    return template


@pytest.fixture
def workspace(
    templates: Callable[[frozenset[str]], Path], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Workspace]:
    """A zoo with what the test asks for, `base` or `transformer`, and nothing else."""
    template = templates(frozenset(ARCHITECTURES.keys() & request.fixturenames))
    shutil.copytree(template, tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def shared(
    templates: Callable[[frozenset[str]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A zoo with `base` and what the tests of a file have done in it; its name is ``team/base``."""
    root = tmp_path_factory.mktemp("shared") / "zoo"
    shutil.copytree(templates(frozenset({"base"})), root)
    with closing(Workspace(root)) as workspace:
        yield workspace


@pytest.fixture
def base(workspace: Workspace, tmp_path: Path) -> str:
    """A small residual network, imported; its name."""
    return imported(workspace, tmp_path, "test_resnet")


@pytest.fixture
def transformer(workspace: Workspace, tmp_path: Path) -> str:
    """A small transformer, imported; its name."""
    return imported(workspace, tmp_path, "test_vit")


def imported(workspace: Workspace, folder: Path, architecture: str) -> str:
    name = "team/base" if architecture == "test_resnet" else "team/transformer"
    if Reference.parse(name) in workspace.store.refs():
        return name
    torch.manual_seed(4)
    module = timm.create_model(f"{architecture}.r160_in1k")
    save_file(module.state_dict(), folder / "base.safetensors")
    origin = Origin(plugin="timm", architecture=architecture, tag="r160_in1k", license="apache-2.0")
    import_file(workspace, folder / "base.safetensors", Reference.parse(name), origin)
    return name


@pytest.fixture
def shapes(drawn: Path, tmp_path: Path) -> Path:
    """Twelve drawings each of three kinds: ``2`` bars, ``10`` discs, ``Squares``."""
    return Path(shutil.copytree(drawn, tmp_path / "shapes"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "shapes"
    for name in ("2", "10", "Squares"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (32, 32), (number * 9, 60, 120))
            draw, at = ImageDraw.Draw(image), number % 6 + 4
            if name == "2":
                draw.rectangle((at, 2, at + 4, 30), fill=(250, 250, 40))
            elif name == "10":
                draw.ellipse((at, at, at + 16, at + 16), fill=(40, 250, 40))
            else:
                draw.rectangle((at, at, at + 14, at + 14), outline=(250, 40, 40), width=3)
            image.save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def untouched() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3)


@pytest.fixture
def model(untouched: nn.Module) -> nn.Module:
    return deepcopy(untouched)


@pytest.fixture(scope="session")
def hierarchy(untouched: nn.Module) -> Hierarchy:
    return TimmBackbone().hierarchy("test_resnet", untouched)
