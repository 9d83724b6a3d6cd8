"""Backbones and catalog of timm (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from importlib import metadata

from zoo.domain.hierarchy import TRACE_VERSION

__all__ = ["version"]


def version() -> str:
    """What the hierarchies depend on; told without importing timm."""
    return f"{metadata.version('timm')}+trace{TRACE_VERSION}"
