"""Predict the classes of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.backbones.decode import decoded
from zoo.backbones.features import tapped
from zoo.backbones.image_files import named_images
from zoo.backbones.load import Card
from zoo.backbones.preprocess import EncodedImage, Picture
from zoo.backbones.taps import REFUSALS
from zoo.backbones.trust import UNTOLD, Trust
from zoo.backbones.views import averaged
from zoo.domain.manifest import Manifest
from zoo.domain.result import Result
from zoo.domain.task import task_of
from zoo.errors import InvalidImage, InvalidOption, Unsupported

__all__ = [
    "Picture",
    "Prediction",
    "BatchPredictions",
    "card_of",
    "each_image",
    "guessed_preprocessing",
    "guesses",
    "likely",
    "output_names",
    "predict",
    "refused",
    "several",
    "predict_batch",
]

LOG = logging.getLogger("zoo")
ROUNDING = 1e-5
"""Of a probability, by how much less of it still answers: batches of other sizes, and with features
that were cached, give other last bits, and the images at the threshold are counted as answered."""


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
    card = card_of(model)
    device = next(model.parameters()).device
    for name, picture in each_image(images):
        try:
            batch = decoded(card.preprocess, name, picture, max_pixels).unsqueeze(0).to(device)
        except InvalidImage as error:
            if bad is None:
                raise
            bad.append(error)
            continue
        yield _read(name, predict_batch(model, batch, [name], trust, views), card, top, trust)


def card_of(model: nn.Module) -> Card:
    """The card of a module whose predictions are asked for; what they rest on is logged.

    Raises:
        Unsupported: It has no head.
    """
    card = cast(Card, model.zoo)
    if not card.manifest.head.num_classes:
        raise Unsupported(
            "the network has no head: what it gives are features, no classes",
            hint="zoo features NAME DATA --out FILE writes the features; zoo finetune fits a head",
        )
    for warning in guesses(card.manifest):
        LOG.warning(warning)
    return card


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


def each_image(images: Iterable[Picture] | Picture) -> Iterator[tuple[str, Picture]]:
    """Each image with what to call it; of folders, all files in them."""
    for number, image in enumerate(several(images)):
        if isinstance(image, str | Path):
            yield from ((str(path), path) for path in named_images([image]))
        else:
            yield image.name if isinstance(image, EncodedImage) else f"image {number}", image


def several(images: Iterable[Picture] | Picture) -> Iterable[Picture]:
    """Images, where one may be given alone.

    Raises:
        InvalidOption: It is neither an image nor several.
    """
    if isinstance(images, str | Path | Image.Image | np.ndarray):
        return [images]
    if not isinstance(images, Iterable):
        raise InvalidOption(f"images are paths, images or arrays, not {images!r:.60}")
    return images


class BatchPredictions(NamedTuple):
    """What a network says of a batch of images.

    Attributes:
        logits: (N, outputs), float32 on the CPU.
        distances: How far each is from the training images; None where that is not known.
    """

    logits: Tensor
    distances: list[float] | None


@torch.no_grad()
def predict_batch(
    model: nn.Module, images: Tensor, names: Sequence[str], trust: Trust, views: int
) -> BatchPredictions:
    """What a network says of images (N, C, H, W), which are on its device; raises as `predict`."""
    if trust.tap is None or trust.nearness is None:
        logits, distances = _logits(model, images, trust, views), None
    else:
        with tapped(model, trust.tap) as features:  # the first are of the images themselves
            logits = _logits(model, images, trust, views)
        distances = trust.nearness.distances(features[0].numpy()).tolist()
    if logits.dim() != 2:
        raise Unsupported(
            f"the network gives a map of outputs {tuple(logits.shape[1:])} for such an image"
        )
    if not (fine := logits.isfinite().all(dim=1)).all():
        name = names[fine.tolist().index(False)]
        raise Unsupported(
            f"the network gives NaN or infinite outputs for {name}",
            hint="its weights, or its preprocessing, are damaged: zoo show tells what is known",
        )
    return BatchPredictions(logits, distances)


def _logits(model: nn.Module, images: Tensor, trust: Trust, views: int) -> Tensor:
    try:
        if views > 1:
            task = task_of(cast(Card, model.zoo).manifest)
            return averaged(model, images, views, task, trust.temperature or 1.0)
        outputs = model(images)
        if not isinstance(outputs, Tensor):
            raise TypeError("it gives no tensor")
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise refused(images.shape[1:], error) from error
    return outputs.float().cpu()


def refused(shape: Sequence[int], error: Exception) -> Unsupported:
    """What to raise where a network does not take its own preprocessing's images (C, H, W)."""
    size = " x ".join(map(str, shape))
    return Unsupported(
        f"the network does not take images of {size}, as its preprocessing makes them: "
        f"{str(error) or type(error).__name__:.200}"
    )


class Likely(NamedTuple):
    """The likeliest outputs of a batch of images.

    Attributes:
        shares: Their probabilities (N, top), the largest first.
        indices: Which outputs they are (N, top).
        abstained: Whether the network is not sure enough to answer; None where it always answers.
    """

    shares: Tensor
    indices: Tensor
    abstained: list[bool] | None


def likely(logits: Tensor, card: Card, top: int, trust: Trust) -> Likely | None:
    """The ``top`` likeliest outputs by ``logits`` (N, outputs); None if they are numbers."""
    task = task_of(card.manifest)
    if task == "regression":
        return None
    scaled = logits / (trust.temperature or 1.0)
    probabilities = scaled.sigmoid() if task == "multi-label" else scaled.softmax(1)
    shares, indices = probabilities.topk(min(top, logits.shape[1]), dim=1)
    abstained = None
    if trust.answers:
        least = trust.answers.confidence * (1 - ROUNDING)
        abstained = [share < least for share in shares[:, 0].tolist()]
    return Likely(shares, indices, abstained)


def output_names(card: Card, count: int) -> tuple[str, ...]:
    """What the ``count`` outputs are called: by their indices where names are unknown."""
    return card.classes or tuple(map(str, range(count)))


def _read(
    path: str, predictions: BatchPredictions, card: Card, top: int, trust: Trust
) -> Prediction:
    logits = predictions.logits[0].tolist()
    names, likeliest = output_names(card, len(logits)), likely(predictions.logits, card, top, trust)
    order = likeliest.indices[0].tolist() if likeliest else range(len(logits))
    distance = None if predictions.distances is None else predictions.distances[0]
    return Prediction(
        image=path,
        classes=tuple(names[index] for index in order),
        probabilities=tuple(likeliest.shares[0].tolist()) if likeliest else (),
        outputs=tuple(names),
        logits=tuple(logits),
        calibrated=likeliest is not None and trust.temperature is not None,
        abstained=likeliest.abstained[0] if likeliest and likeliest.abstained else None,
        distance=distance,
        unlike=None if distance is None else distance > 1,
    )
