from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from fakes.hub_server import HubServer
from huggingface_hub import constants
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
    """All files that the store holds now, those that were left lying about included."""
    folders = [workspace.root / name for name in ("objects", "manifests", "refs", "tmp")]
    return lambda: sorted(
        path.relative_to(workspace.root).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub of our own, which ``HF_ENDPOINT`` names; nobody's token or cache is seen."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    # The client library reads its variables at import, so they are too late here.
    home = tmp_path / "hf-home"
    home.mkdir()
    harnesses = home / "harnesses.json"
    harnesses.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(harnesses), raising=False)
    huggingface_hub.close_session()
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
        # Before the server ends: its threads wait for connections that the client keeps open.
        huggingface_hub.close_session()
