from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from fakes.pictures import blank_pictures  # noqa: F401 - a fixture of all tests here
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.workspace import Workspace


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums in one order are bit-equal, on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


@pytest.fixture
def base(workspace: Workspace, tmp_path: Path) -> str:
    """A small residual network, imported; its name."""
    return imported(workspace, tmp_path, "test_resnet")


@pytest.fixture
def transformer(workspace: Workspace, tmp_path: Path) -> str:
    """A small transformer, imported; its name."""
    return imported(workspace, tmp_path, "test_vit")


def imported(workspace: Workspace, folder: Path, architecture: str) -> str:
    torch.manual_seed(4)
    module = timm.create_model(f"{architecture}.r160_in1k")
    save_file(module.state_dict(), folder / "base.safetensors")
    origin = Origin(plugin="timm", architecture=architecture, tag="r160_in1k", license="apache-2.0")
    name = "team/base" if architecture == "test_resnet" else "team/transformer"
    import_file(workspace, folder / "base.safetensors", Reference.parse(name), origin)
    return name


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Twelve drawings each of three kinds: ``2`` bars, ``10`` discs, ``Squares``."""
    root = tmp_path / "shapes"
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
