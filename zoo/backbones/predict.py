"""Predict the classes of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from zoo.backbones.load import Card
from zoo.backbones.preprocess import read_image

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a checkpoint says of one image.

    Attributes:
        image: The file.
        classes: Names of the likeliest classes, best first; an index where names are unknown.
        probabilities: Softmax of each of them.
        logits: All outputs in index order, exact.
    """

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    logits: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "image": self.image,
            "classes": list(self.classes),
            "probabilities": list(self.probabilities),
            "logits": list(self.logits),
        }


@torch.no_grad()
def predict(
    model: nn.Module, images: Iterable[Path | str], *, top: int = 5
) -> Iterator[Prediction]:
    """Predict image by image, so that a result does not depend on its neighbours.

    Args:
        model: A module that `zoo.backbones.load.load` returned.
        images: Image files.
        top: How many classes to name.

    Raises:
        InvalidImage: An image is missing or unreadable.
    """
    card = cast(Card, model.zoo)
    device = next(model.parameters()).device
    for path in images:
        batch = card.preprocess(read_image(path)).unsqueeze(0).to(device)
        logits = model(batch)[0].float().cpu()
        probabilities, order = logits.softmax(0).topk(min(top, len(logits)))
        names = [card.classes[i] if card.classes else str(i) for i in order.tolist()]
        yield Prediction(
            image=str(path),
            classes=tuple(names),
            probabilities=tuple(probabilities.tolist()),
            logits=tuple(logits.tolist()),
        )
