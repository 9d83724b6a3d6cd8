"""Backbones and weights of torchvision (https://github.com/pytorch/vision)."""

from __future__ import annotations

from zoo import packages

__all__ = ["version"]


def version() -> str:
    """The library that the hierarchies depend on; told without importing torchvision."""
    return f"torchvision {packages.version('torchvision')}"
