"""Snapshots: weights of a run on disk, until it is done, for blends."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from zoo.backbones.save import save_state

__all__ = ["Snapshots"]


class Snapshots:
    """Weights by name.

    Args:
        folder: Where they are; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep ``tensors`` as ``name``, in the place of others of that name.

        Raises:
            DiskFull: There is no space for them.
        """
        self.folder.mkdir(exist_ok=True)
        partial = self.folder / ".partial"
        save_state(tensors, partial)
        partial.replace(self._path(name))

    def names(self) -> list[str]:
        """All names, ``epoch 2`` before ``epoch 10``."""
        names = (path.stem for path in self.folder.glob("*.safetensors"))
        return sorted(names, key=lambda name: (len(name), name))

    def read(self, name: str) -> dict[str, Tensor]:
        """What was kept as ``name``."""
        tensors: dict[str, Tensor] = load_file(self._path(name))
        return tensors

    def clear(self) -> None:
        """Forget all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"
