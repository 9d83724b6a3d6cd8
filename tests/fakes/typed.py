"""What torch, timm and the facade say of several types, where a test knows which one it is."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo import Zoo
from zoo.backbones.load import Card
from zoo.lookup.details import CheckpointDetails

__all__ = ["card", "pretrained_cfg", "shown"]


def card(module: nn.Module) -> Card:
    """What a loaded module carries."""
    found = module.zoo
    assert isinstance(found, Card)
    return found


def pretrained_cfg(module: nn.Module) -> dict[str, Any]:
    """timm's settings of one of its networks."""
    found: object = module.pretrained_cfg
    assert isinstance(found, dict)
    return found


def shown(zoo: Zoo, name: str) -> CheckpointDetails:
    """What `show` tells of a checkpoint that is here."""
    found = zoo.show(name)
    assert isinstance(found, CheckpointDetails)
    return found
