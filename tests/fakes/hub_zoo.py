"""A zoo with one small checkpoint, and repositories with small networks, for tests of the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save

from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.workspace import Workspace

__all__ = ["make_zoo", "repository", "sharded", "weights"]

NET = "test_resnet"


@cache
def weights(seed: int = 0) -> bytes:
    """A network of timm's, in a safetensors file; another one for each ``seed``."""
    return save(_state(seed), {"format": "pt"})


@cache
def _config() -> bytes:
    how: Any = timm.create_model(NET, num_classes=3).pretrained_cfg
    known = {key: how[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    config: dict[str, Any] = {"architecture": NET, "num_classes": 3, "pretrained_cfg": known}
    return json.dumps(config).encode()


def _state(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model(NET, num_classes=3).state_dict()


def repository(seed: int = 0, **more: bytes) -> Mapping[str, bytes]:
    """The files of a repository that timm loads."""
    return {"model.safetensors": weights(seed), "config.json": _config(), **more}


def sharded(seed: int) -> Mapping[str, bytes]:
    """The same, with the weights in two files."""
    state = _state(seed)
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:20],
             "model-00002-of-00002.safetensors": names[20:]}  # fmt: skip
    index = {"weight_map": {name: part for part, names in parts.items() for name in names}}
    files = {part: save({name: state[name] for name in names}, {"format": "pt"})
             for part, names in parts.items()}  # fmt: skip
    return {**files, "model.safetensors.index.json": json.dumps(index).encode(),
            "config.json": _config()}  # fmt: skip


def make_zoo(root: Path) -> Path:
    """A zoo with ``team/net``."""
    root.parent.mkdir(parents=True, exist_ok=True)
    file = root.parent / "net.safetensors"
    file.write_bytes(weights(100))
    workspace = Workspace.create(root)
    origin = Origin(plugin="timm", architecture=NET, license="apache-2.0")
    import_file(workspace, file, Reference.parse("team/net"), origin)
    workspace.close()
    return root
