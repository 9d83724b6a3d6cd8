"""Backbones and weights of torchvision (https://github.com/pytorch/vision)."""

from __future__ import annotations

from importlib import metadata

from zoo.domain.hierarchy import TRACE_VERSION

__all__ = ["version"]


def version() -> str:
    """What the hierarchies depend on; told without importing torchvision."""
    return f"{metadata.version('torchvision')}+trace{TRACE_VERSION}"
