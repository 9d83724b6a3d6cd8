"""Kept rows: what a pass over images computed of each, by the bytes of the image.

So whoever asks for advice again, corrects labels, adds images or ranks networks waits for images
that are new only. It lies among the caches of training, and goes with these, the least recently
used first. Each pass adds a file, which is called as its bytes hash: nobody rewrites what another
process adds, and memory holds what is asked for. Losing all of it costs time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo.domain.limits import JSON_FILE_BYTES
from zoo.errors import MALFORMED, DiskFull, Unsupported, ZooError
from zoo.finetune.features.cache import make_way, room
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular

__all__ = ["KeptRows", "networks_kept"]

DESCRIPTION = "description.json"
IMAGES = "images"


class _Rows(NamedTuple):
    """What one pass added: the place of each image among the rows of its tensors."""

    places: Mapping[str, int]
    tensors: Mapping[str, Tensor]


@dataclass(slots=True)
class KeptRows:
    """Tensors (N, …), each with a row for every image of which a digest is known.

    Attributes:
        folder: Where caches lie.
        what: All that decides what is in a row but the image, plain data.
        images: Digests of the images of which there are rows.
    """

    folder: Path
    what: Mapping[str, object]
    images: set[str] = field(default_factory=set)
    _passes: list[_Rows] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, what: Mapping[str, object], wanted: Set[str]) -> KeptRows:
        """What is kept of that, from those passes that had images which are ``wanted``; without
        files that are damaged, which are deleted.
        """
        kept = cls(folder, what)
        for file in _files(kept.home):
            with suppress(OSError):  # it goes just now
                if _digest(file) != file.stem:
                    file.unlink()
                elif (rows := _read(file)) and not wanted.isdisjoint(rows.places):
                    kept._take(rows)
        with suppress(OSError):  # not there, or a colleague's
            os.utime(kept.home)  # the least recently used goes first
        return kept

    @property
    def home(self) -> Path:
        """The folder of these rows."""
        text = json.dumps(self.what, sort_keys=True)
        return self.folder / blake3(text.encode()).hexdigest()

    def of(self, images: Sequence[str]) -> dict[str, Tensor]:
        """The rows of these, all of which are known, in their order."""
        first = self._passes[0].tensors
        rows = {name: each.new_empty(len(images), *each.shape[1:]) for name, each in first.items()}
        for places, tensors in self._passes:
            here = [at for at, image in enumerate(images) if image in places]
            chosen = torch.tensor([places[images[at]] for at in here], dtype=torch.int64)
            for name, into in rows.items():
                into[here] = tensors[name][chosen]
        return rows

    def add(self, images: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        """Add rows, and keep them; what the disk has no room for is only known here."""
        self._take(_Rows({image: at for at, image in enumerate(images)}, tensors))
        with suppress(OSError, DiskFull, Unsupported):
            self._save(images, tensors)

    def _take(self, rows: _Rows) -> None:
        self._passes.append(rows)
        self.images.update(rows.places)

    def _save(self, images: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        data = save(dict(tensors), {IMAGES: json.dumps(images)})
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (limit := room(self.folder, len(data))):
            return
        # Of a network whose rows take all there is, the earlier ones: what is mapped stays.
        make_way(self.folder, limit - len(data))
        digest = blake3(data, max_threads=blake3.AUTO).hexdigest()
        # Not as safetensors writes a file: that would be for this user alone.
        write_whole(self.home / f"{digest}.safetensors", [data])
        if not (self.home / DESCRIPTION).exists():
            write_whole(self.home / DESCRIPTION, [json.dumps(self.what).encode()])


def networks_kept(folder: Path, images: Set[str], size: int | None, batch_size: int) -> set[str]:
    """The networks of which rows of all these ``images`` are kept, in batches of that size; None is
    any ``size`` of images. It reads no row: whether files are whole is seen when they are.
    """
    found = set[str]()
    for home in folder.glob("*/"):
        with suppress(OSError, ZooError, *MALFORMED):  # it is none of these
            what = json.loads(read_regular(home / DESCRIPTION, JSON_FILE_BYTES))
            fits = size in (None, what["preprocessing"]["input_size"][-1])
            if fits and what["batch"] == batch_size and images <= _images_in(home):
                found.add(str(what["network"]))
    return found


def _files(home: Path) -> list[Path]:
    """Where rows may be: a pipe of that name would be waited for."""
    return [file for file in home.glob("*.safetensors") if file.is_file()]


def _images_in(home: Path) -> set[str]:
    images = set[str]()
    for file in _files(home):
        with suppress(OSError, SafetensorError, *MALFORMED), safe_open(file, "pt") as opened:
            images.update(json.loads(opened.metadata()[IMAGES]))
    return images


def _read(file: Path) -> _Rows | None:
    """What is in a file that is whole; None if that is something else."""
    try:
        with safe_open(file, "pt") as opened:
            images: list[str] = json.loads(opened.metadata()[IMAGES])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, *MALFORMED):
        return None
    return _Rows({image: at for at, image in enumerate(images)}, tensors)


def _digest(file: Path) -> str:
    return blake3(max_threads=blake3.AUTO).update_mmap(file).hexdigest()
