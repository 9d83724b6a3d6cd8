"""Views: an image as a network is shown it several times, and the mean of what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional

from zoo.domain.task import Task

__all__ = ["averaged"]

KEPT = 7 / 8
"""Of each side of an image, where a part of it is shown."""
PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""Where such parts are, from the top and from the left."""


def averaged(
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    count: int,
    task: Task,
    temperature: float = 1.0,
) -> Tensor:
    """What ``forward`` (N, C, H, W) -> (N, K) says of ``count`` views of each of ``images``, as
    outputs (N, K) float32 on the CPU whose probabilities, by ``temperature``, are the mean of those
    of the views; of numbers, their mean.
    """
    # On the CPU: MPS has no float64.
    outputs = torch.stack([forward(view).cpu().double() for view in islice(_views(images), count)])
    if task == "regression":
        return outputs.mean(dim=0).float()
    scaled = outputs / temperature
    if task == "classification":
        log_mean = scaled.log_softmax(dim=2).logsumexp(dim=0) - torch.tensor(count).log()
        return (temperature * log_mean).float()
    # As logarithms, so that what is nearly sure does not become infinite.
    yes, no = (functional.logsigmoid(each).logsumexp(dim=0) for each in (scaled, -scaled))
    return (temperature * (yes - no)).float()


def _views(images: Tensor) -> Iterator[Tensor]:
    """All of it, parts of it at its size, and each mirrored; the whole image comes first."""
    yield images
    yield images.flip(-1)
    height, width = images.shape[-2:]
    high, wide = max(round(KEPT * height), 1), max(round(KEPT * width), 1)
    for down, right in PLACES:
        top, left = round(down * (height - high)), round(right * (width - wide))
        part = images[..., top : top + high, left : left + wide]
        part = functional.interpolate(
            part, size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )
        yield part
        yield part.flip(-1)
