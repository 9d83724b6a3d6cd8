"""Decode: images into batches of a network's input, in their order, in worker processes."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.backbones.image_files import unusable
from zoo.backbones.opening import alone_by
from zoo.backbones.preprocess import EncodedImage, Picture, read_encoded, read_image
from zoo.backbones.reading_processes import context_for, without_script
from zoo.errors import InvalidImage, Unavailable

__all__ = ["Batch", "batches", "decoded"]

AHEAD = 2
"""Batches that each worker makes before they are asked for."""
WORDS = 200
"""Letters of a problem at most: decoders say what they like."""
Named = tuple[str, Picture]


class Batch(NamedTuple):
    """Images that follow one another.

    Attributes:
        names: What each is called.
        problems: Why it gives no image; empty of those that do.
        images: Those that do (N, C, H, W), float32.
    """

    names: tuple[str, ...]
    problems: tuple[str, ...]
    images: Tensor


def decoded(
    preprocess: Callable[[Picture], Tensor],
    name: str,
    picture: Picture,
    max_pixels: int | None = None,
) -> Tensor:
    """An image as the network takes it (C, H, W).

    Raises:
        InvalidImage: It is missing or unreadable.
    """
    if isinstance(picture, str | Path):
        if Path(picture).is_dir() and (problem := unusable(picture)):
            raise problem
        picture = read_image(picture, max_pixels)
    elif isinstance(picture, EncodedImage):
        picture = read_encoded(picture, max_pixels)
    try:
        return preprocess(picture)
    except InvalidImage as error:
        raise InvalidImage(name, error.reason) from error
    except OSError as error:  # opened, and not decoded yet
        raise InvalidImage(name, f"cannot be read: {error}") from error


def batches(
    named: Iterable[Named],
    preprocess: Callable[[Picture], Tensor],
    *,
    size: int,
    workers: int,
    max_pixels: int | None,
    pinned: bool,
) -> Iterator[Batch]:
    """Images in batches of ``size``, the last one of the rest; no more are listed than are decoded.

    Args:
        named: Each image, and what to call it.
        preprocess: What makes the network's input of one.
        size: Of a batch.
        workers: Processes that decode; none: this one does.
        max_pixels: Of the largest image that is opened.
        pinned: In memory from which a GPU copies while it works on.

    Raises:
        Unavailable: A worker was killed.
    """
    images = iter(named)
    context = context_for("cuda" if pinned else "cpu", __name__) if workers else None
    with warnings.catch_warnings(), without_script() if workers else nullcontext():
        # More than there are cores.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            _Decoding(preprocess, max_pixels),
            # It asks for the next one when a worker is free for it.
            batch_sampler=iter(lambda: [*islice(images, size)], []),
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            collate_fn=_batch,
            pin_memory=pinned,
            multiprocessing_context=context,
            worker_init_fn=_beginning(context) if workers else None,
            generator=torch.Generator(),
        )
        iterator = iter(loader)
    while True:
        try:
            batch = next(iterator, None)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise Unavailable(
                "a process that decodes images",
                "it was killed",
                hint="the memory may be too small: --workers 1, or a smaller --batch-size",
            ) from error
        if batch is None:
            return
        yield batch


def _beginning(context: BaseContext | None) -> Callable[[int], None]:
    return partial(_begin, (context or multiprocessing).Lock())


def _begin(lock: object, _: int) -> None:
    alone_by(lock)  # type: ignore[arg-type] # what multiprocessing makes has no class of its own


@dataclass(frozen=True)
class _Decoding(Dataset[tuple[str, str, Tensor | None]]):
    preprocess: Callable[[Picture], Tensor]
    max_pixels: int | None

    def __getitem__(self, named: Named) -> tuple[str, str, Tensor | None]:
        name, picture = named
        try:
            return name, "", decoded(self.preprocess, name, picture, self.max_pixels)
        except InvalidImage as error:
            return name, " ".join(error.reason.split())[:WORDS], None


def _batch(items: list[tuple[str, str, Tensor | None]]) -> Batch:
    names, problems, images = zip(*items, strict=True)
    tensors = [image for image in images if image is not None]
    return Batch(names, problems, torch.stack(tensors) if tensors else torch.empty(0))
