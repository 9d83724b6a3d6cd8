"""Attributes of modules, typed: torch says of each only that it is a tensor or a module."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.backbones.load import Card

__all__ = ["card", "pretrained_cfg"]


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
