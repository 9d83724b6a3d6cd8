"""Image backbones of transformers (https://github.com/huggingface/transformers)."""

from __future__ import annotations

from importlib import metadata

__all__ = ["version"]


def version() -> str:
    """The library that the hierarchies depend on; told without importing it, or having it."""
    try:
        library = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        library = "none"
    return f"transformers {library}"
