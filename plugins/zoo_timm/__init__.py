"""Backbones and catalog of timm (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from zoo import packages

__all__ = ["version"]


def version() -> str:
    """The library that the hierarchies depend on; told without importing timm."""
    return f"timm {packages.version('timm')}"
