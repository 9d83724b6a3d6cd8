"""Predict the classes of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.image_files import SUFFIXES, named_images
from zoo.backbones.load import Card
from zoo.backbones.preprocess import read_image
from zoo.backbones.taps import REFUSALS
from zoo.domain.result import Result
from zoo.errors import InvalidImage, Unsupported

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Prediction(Result):
    """What a checkpoint says of one image.

    Attributes:
        image: The file.
        classes: Names of the likeliest classes or labels, best first, an index where names are
            unknown; of numbers that were learned, all names in index order.
        probabilities: Of each of them: softmax over classes, sigmoid of labels; none of numbers.
        logits: All outputs in index order, exact.
    """

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    logits: tuple[float, ...]


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Iterable[Path | str],
    *,
    top: int = 5,
    bad: list[InvalidImage] | None = None,
) -> Iterator[Prediction]:
    """Predict image by image, so that a result does not depend on its neighbors.

    Args:
        model: A module that `zoo.backbones.load.load` returned.
        images: Image files, and folders of them.
        top: How many classes to name.
        bad: Gets the problems of images that are missing or unreadable, which are then skipped.

    Raises:
        InvalidImage: Without ``bad``: an image is missing or unreadable.
        Unsupported: The network gives a map of outputs, not one for each class, or does not take
            images as its own preprocessing makes them.
    """
    card = cast(Card, model.zoo)
    device = next(model.parameters()).device
    for path in named_images(images):
        try:
            batch = _input(card, path).unsqueeze(0).to(device)
        except InvalidImage as error:
            if bad is None:
                raise
            bad.append(error)
            continue
        logits = _logits(model, batch)
        if logits.dim() != 1:
            raise Unsupported(
                f"the network gives a map of outputs {tuple(logits.shape)} for such an image"
            )
        yield _read(str(path), logits, card, top)


def _logits(model: nn.Module, batch: Tensor) -> Tensor:
    try:
        return cast(Tensor, model(batch)[0].float().cpu())
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        size = " x ".join(map(str, batch.shape[1:]))
        raise Unsupported(
            f"the network does not take images of {size}, as its preprocessing makes them: "
            f"{str(error) or type(error).__name__:.200}"
        ) from error


def _input(card: Card, path: Path) -> Tensor:
    if path.is_dir():
        raise InvalidImage(path, f"is a folder without images ({', '.join(sorted(SUFFIXES))})")
    image = read_image(path)
    try:
        return card.preprocess(image)
    except InvalidImage as error:
        raise InvalidImage(path, error.reason) from error


def _read(path: str, logits: Tensor, card: Card, top: int) -> Prediction:
    names = card.classes or tuple(str(index) for index in range(len(logits)))
    task = (card.manifest.recipe or {}).get("task", "classification")
    shares, order = torch.empty(0), list(range(len(logits)))
    if task != "regression":
        likely = logits.sigmoid() if task == "multi-label" else logits.softmax(0)
        shares, indices = likely.topk(min(top, len(logits)))
        order = indices.tolist()
    return Prediction(
        image=path,
        classes=tuple(names[index] for index in order),
        probabilities=tuple(shares.tolist()),
        logits=tuple(logits.tolist()),
    )
