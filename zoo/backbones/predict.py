"""Predict the classes of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.backbones.features import tapped
from zoo.backbones.image_files import named_images, unusable
from zoo.backbones.load import Card
from zoo.backbones.preprocess import Picture, read_image
from zoo.backbones.taps import REFUSALS
from zoo.backbones.trust import UNTOLD, Trust
from zoo.backbones.views import averaged
from zoo.domain.manifest import Manifest
from zoo.domain.result import Result
from zoo.domain.task import TASKS, Task
from zoo.errors import InvalidImage, Unsupported

__all__ = [
    "Picture",
    "Prediction",
    "guessed_preprocessing",
    "guesses",
    "predict",
    "refused",
    "several",
]

LOG = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Prediction(Result):
    """What a checkpoint says of one image.

    Attributes:
        image: The file; of an image or array in memory, its place among those that were given.
        classes: Names of the likeliest classes or labels, best first, an index where names are
            unknown; of numbers that were learned, all names in index order.
        probabilities: Of each of them: softmax over classes, sigmoid of labels; none of numbers.
        outputs: Names of all outputs in index order, as far as they are known: those that the
            ``logits`` are of.
        logits: The value of each of these, exact; ``classes`` are in another order, and fewer.
        calibrated: Whether the probabilities are those of the logits by the temperature that the
            checkpoint keeps.
        abstained: Whether the network is not sure enough to answer; None where it always answers.
        distance: How far the image is from the training images, in units of what 95 % of the
            validation images stay within; None where that is not known.
        unlike: Whether it is unlike them: the distance is above 1.
    """

    _COLUMNS: ClassVar = ("image", "likely")

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    outputs: tuple[str, ...]
    logits: tuple[float, ...]
    calibrated: bool = False
    abstained: bool | None = None
    distance: float | None = None
    unlike: bool | None = None

    @property
    def likely(self) -> str:
        """Classes with their probabilities, or what was learned with its numbers, in a line."""
        values = self.probabilities or self.logits
        pairs = zip(self.classes, values, strict=True)
        return "  ".join(f"{name} {value:.3f}" for name, value in pairs)


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Iterable[Picture] | Picture,
    *,
    top: int = 3,
    bad: list[InvalidImage] | None = None,
    max_pixels: int | None = None,
    trust: Trust = UNTOLD,
    views: int = 1,
) -> Iterator[Prediction]:
    """Predict image by image, so that a result does not depend on its neighbors.

    Args:
        model: A module that `zoo.backbones.load.load` returned.
        images: Image files, folders of them, images, and uint8 arrays (H, W) or (H, W, 3).
        top: How many classes to name.
        bad: Gets the problems of images that are missing or unreadable, which are then skipped.
        max_pixels: Of the largest image that is opened; None: Pillow's limit (`IMAGE_PIXELS`).
        trust: What is known of how far its answers can be trusted.
        views: Of each image, whose probabilities are averaged (`zoo.domain.tta`).

    Raises:
        InvalidImage: Without ``bad``: an image is missing or unreadable.
        Unsupported: The network has no head, gives a map of outputs, not one for each class, or
            such that are NaN or infinite, or does not take images as its own preprocessing makes
            them.
    """
    card = cast(Card, model.zoo)
    if not card.manifest.head.num_classes:
        raise Unsupported(
            "the network has no head: what it gives are features, no classes",
            hint="zoo features NAME DATA --out FILE writes the features; zoo finetune fits a head",
        )
    for warning in guesses(card.manifest):
        LOG.warning(warning)
    device = next(model.parameters()).device
    for name, picture in _each(images):
        try:
            batch = _input(card, name, picture, max_pixels).unsqueeze(0).to(device)
        except InvalidImage as error:
            if bad is None:
                raise
            bad.append(error)
            continue
        logits, distance = _told(model, batch, trust, views)
        if logits.dim() != 1:
            raise Unsupported(
                f"the network gives a map of outputs {tuple(logits.shape)} for such an image"
            )
        if not logits.isfinite().all():
            raise Unsupported(
                f"the network gives NaN or infinite outputs for {name}",
                hint="its weights, or its preprocessing, are damaged: zoo show tells what is known",
            )
        yield _read(name, logits, card, top, trust, distance)


def guesses(manifest: Manifest) -> Iterator[str]:
    """What a reader of predictions should know of where they come from."""
    if "classes" in manifest.unknown:
        yield "the names of the classes are unknown: each is called by its index"
    if guess := guessed_preprocessing(manifest):
        yield guess


def guessed_preprocessing(manifest: Manifest, *stated: str) -> str:
    """That the preprocessing is a guess, all of it or the settings that nobody has ``stated``;
    empty if it is none.
    """
    unknown = [each for each in manifest.unknown if each not in ("classes", *stated)]
    if not unknown:
        return ""
    listed = ", ".join(each.replace("_", " ") for each in unknown)
    taken = f"that of {manifest.backbone.architecture} is taken, a guess that can cost accuracy"
    return f"unknown: {listed}; {taken}"


def _each(images: Iterable[Picture] | Picture) -> Iterator[tuple[str, Picture]]:
    """Each image with what to call it; of folders, all files in them."""
    for number, image in enumerate(several(images)):
        if isinstance(image, str | Path):
            yield from ((str(path), path) for path in named_images([image]))
        else:
            yield f"image {number}", image


def several(images: Iterable[Picture] | Picture) -> Iterable[Picture]:
    """Images, where one may be given alone."""
    return [images] if isinstance(images, str | Path | Image.Image | np.ndarray) else images


def _told(model: nn.Module, batch: Tensor, trust: Trust, views: int) -> tuple[Tensor, float | None]:
    """The logits of an image, and how far it is from the training images."""
    if trust.tap is None or trust.nearness is None:
        return _logits(model, batch, trust, views), None
    with tapped(model, trust.tap) as features:  # the first are of the image itself
        logits = _logits(model, batch, trust, views)
    return logits, float(trust.nearness.distances(features[0].numpy())[0])


def _logits(model: nn.Module, batch: Tensor, trust: Trust, views: int) -> Tensor:
    try:
        if views > 1:
            task = _task(cast(Card, model.zoo))
            return averaged(model, batch, views, task, trust.temperature or 1.0)[0].cpu()
        return cast(Tensor, model(batch)[0].float().cpu())
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise refused(batch.shape[1:], error) from error


def refused(shape: Sequence[int], error: Exception) -> Unsupported:
    """What to raise where a network does not take its own preprocessing's images (C, H, W)."""
    size = " x ".join(map(str, shape))
    return Unsupported(
        f"the network does not take images of {size}, as its preprocessing makes them: "
        f"{str(error) or type(error).__name__:.200}"
    )


def _input(card: Card, name: str, picture: Picture, max_pixels: int | None) -> Tensor:
    if isinstance(picture, str | Path):
        if Path(picture).is_dir() and (problem := unusable(picture)):
            raise problem
        picture = read_image(picture, max_pixels)
    try:
        return card.preprocess(picture)
    except InvalidImage as error:
        raise InvalidImage(name, error.reason) from error
    except OSError as error:  # opened, and not decoded yet
        raise InvalidImage(name, f"cannot be read: {error}") from error


def _task(card: Card) -> Task:
    learned = (card.manifest.recipe or {}).get("task")
    return next((task for task in TASKS if task == learned), "classification")


def _read(
    path: str, logits: Tensor, card: Card, top: int, trust: Trust, distance: float | None
) -> Prediction:
    names = card.classes or tuple(str(index) for index in range(len(logits)))
    task = _task(card)
    shares, order = torch.empty(0), list(range(len(logits)))
    abstained, calibrated = None, task != "regression" and trust.temperature is not None
    if task != "regression":
        scaled = logits / (trust.temperature or 1.0)
        likely = scaled.sigmoid() if task == "multi-label" else scaled.softmax(0)
        if trust.answers:
            abstained = float(likely.max()) < trust.answers.confidence
        shares, indices = likely.topk(min(top, len(logits)))
        order = indices.tolist()
    return Prediction(
        image=path,
        classes=tuple(names[index] for index in order),
        probabilities=tuple(shares.tolist()),
        outputs=tuple(names),
        logits=tuple(logits.tolist()),
        calibrated=calibrated,
        abstained=abstained,
        distance=distance,
        unlike=None if distance is None else distance > 1,
    )
