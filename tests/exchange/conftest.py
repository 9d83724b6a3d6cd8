from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from fakes.checkpoints import files_of
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from safetensors.torch import save_file

from zoo.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


@pytest.fixture
def resnet() -> torch.nn.Module:
    """A network of timm's with weights that are not its initial ones."""
    torch.manual_seed(2)
    module = timm.create_model("test_resnet.r160_in1k").eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 50)
    return module


@pytest.fixture
def resnet_file(resnet: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "resnet.safetensors"
    save_file(resnet.state_dict(), path, {"format": "pt", "note": "kept verbatim"})
    return path


@pytest.fixture
def kept(workspace: Workspace) -> Callable[[], list[str]]:
    return partial(files_of, workspace)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub of our own, which ``HF_ENDPOINT`` names; nobody's token or cache is seen."""
    yield from own_hub(monkeypatch, tmp_path)
