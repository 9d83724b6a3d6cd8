"""Kept rows: what a pass over images computed of each, by the bytes of the image.

So whoever asks for advice again, corrects labels, adds images or ranks networks waits for images
that are new only. It lies among the caches of training, and goes with these, the least recently
used first. A digest of the bytes lies beside them and is compared: losing all of it costs time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.errors import DiskFull, Unsupported
from zoo.finetune.features.cache import make_way, room
from zoo.store.atomic import write_whole

__all__ = ["KeptRows"]

DESCRIPTION = "description.json"


@dataclass(slots=True)
class KeptRows:
    """Tensors (N, …), each with a row for every image of which a digest is known.

    Attributes:
        folder: Where caches lie.
        what: All that decides what is in a row but the image, plain data.
        images: Digests of images, in the order of the rows.
        tensors: By name.
    """

    folder: Path
    what: Mapping[str, object]
    images: list[str] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, what: Mapping[str, object]) -> KeptRows:
        """What is kept of that; nothing if it is damaged."""
        kept = cls(folder, what)
        try:
            about = json.loads((kept.home / DESCRIPTION).read_bytes())
            file = kept.home / f"{about['digest']}.safetensors"
            whole = about["what"] == what and _digest(file) == about["digest"]
            tensors = load_file(file) if whole else {}
            if tensors and {len(each) for each in tensors.values()} == {len(about["images"])}:
                os.utime(kept.home)  # the least recently used goes first
                kept.images, kept.tensors = about["images"], tensors
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            pass  # it is damaged, not there, or goes just now
        return kept

    @property
    def home(self) -> Path:
        """The folder of these rows."""
        text = json.dumps(self.what, sort_keys=True)
        return self.folder / blake3(text.encode()).hexdigest()

    def of(self, images: Sequence[str]) -> dict[str, Tensor]:
        """The rows of these, all of which are known, in their order."""
        at = {digest: row for row, digest in enumerate(self.images)}
        rows = torch.tensor([at[digest] for digest in images])
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    def add(self, images: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        """Add rows, and keep all; of what the disk has no room for, nothing."""
        known = self.tensors or {name: tensor[:0] for name, tensor in tensors.items()}
        self.tensors = {name: torch.cat([known[name], tensors[name]]) for name in tensors}
        self.images = [*self.images, *images]
        with suppress(OSError, DiskFull, Unsupported):
            self._save()

    def _save(self) -> None:
        data = save(self.tensors)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (limit := room(self.folder, len(data))):
            return
        make_way(self.folder, limit - len(data))
        digest = blake3(data, max_threads=blake3.AUTO).hexdigest()
        about = {"what": self.what, "images": self.images, "digest": digest}
        # Not as safetensors writes a file: that would be for this user alone.
        write_whole(self.home / f"{digest}.safetensors", [data])
        write_whole(self.home / DESCRIPTION, [json.dumps(about).encode()])
        for file in self.home.glob("*.safetensors"):
            if file.stem != digest:
                file.unlink(missing_ok=True)


def _digest(file: Path) -> str:
    return blake3(max_threads=blake3.AUTO).update_mmap(file).hexdigest()
