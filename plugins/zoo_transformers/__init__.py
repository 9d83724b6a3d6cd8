"""Image backbones of transformers (https://github.com/huggingface/transformers)."""

from __future__ import annotations

from importlib import metadata

from zoo.domain.hierarchy import TRACE_VERSION

__all__ = ["version"]


def version() -> str:
    """What the hierarchies depend on; told without importing transformers, or having it."""
    try:
        library = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        library = "none"
    return f"{library}+trace{TRACE_VERSION}"
