"""Networks to be ranked."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import timm
import torch
from fakes.hub_zoo import weights
from safetensors.torch import load, save

from zoo.domain.reference import Reference
from zoo.exchange.importing import Origin, import_file
from zoo.workspace import Workspace

__all__ = ["BLIND", "OTHER", "add_networks"]

BLIND, OTHER = "team/blind", "team/other"


def add_networks(root: Path) -> Path:
    """Add one that sees nothing to the zoo, and a larger one of another kind."""
    blind = {name: value * 0 for name, value in load(weights(1)).items()}
    torch.manual_seed(0)
    other: Any = timm.create_model("test_efficientnet", num_classes=3)
    with closing(Workspace(root)) as workspace:
        for name, architecture, state in (
            (BLIND, "test_resnet", blind),
            (OTHER, "test_efficientnet", other.state_dict()),
        ):
            file = root.parent / "net.safetensors"
            file.write_bytes(save(state, {"format": "pt"}))
            origin = Origin(plugin="timm", architecture=architecture, license="apache-2.0")
            import_file(workspace, file, Reference.parse(name), origin)
    return root
