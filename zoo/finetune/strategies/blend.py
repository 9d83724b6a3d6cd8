"""Blend weights of one run: means that nothing was trained for, chosen on the validation split.

WiSE-FT goes from the first weights towards the last in a straight line (Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022). A greedy soup is the mean of the weights of epochs,
taken in from the best on as long as the mean does not lose by it (Wortsman et al., "Model soups",
ICML 2022).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from zoo.backbones.save import save_state
from zoo.finetune.loop.ema import between

__all__ = ["TENTHS", "Kept", "interpolated", "soup"]

TENTHS = range(1, 10)


class Kept:
    """Weights of a run on disk, until it is done.

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
        found = (path.stem for path in self.folder.glob("*.safetensors"))
        return sorted(found, key=lambda name: (len(name), name))

    def read(self, name: str) -> dict[str, Tensor]:
        """What was kept as ``name``."""
        found: dict[str, Tensor] = load_file(self._path(name))
        return found

    def clear(self) -> None:
        """Forget all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def interpolated(
    first: Mapping[str, Tensor], last: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Weights ``share`` of the way from ``first`` to ``last``; counters are those of the last."""
    return {
        name: between(first[name], value, share) if value.is_floating_point() else value
        for name, value in last.items()
    }


def soup(
    kept: Kept, score: Callable[[Mapping[str, Tensor], int], tuple[float, float]]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The greedy soup of all that is kept, and the names of what is in it.

    Args:
        kept: The ingredients.
        score: How good weights are, given how many they are a mean of; the greater, the better,
            and what comes first counts.
    """
    scores = {name: score(kept.read(name), 1) for name in kept.names()}
    first, *rest = sorted(scores, key=lambda name: scores[name], reverse=True)
    inside, best, mean = [first], scores[first][0], kept.read(first)
    for name in rest:
        tried = interpolated(kept.read(name), mean, len(inside) / (len(inside) + 1))
        reached, _ = score(tried, len(inside) + 1)
        if reached >= best:
            inside, best, mean = [*inside, name], reached, tried
    return mean, tuple(inside)
