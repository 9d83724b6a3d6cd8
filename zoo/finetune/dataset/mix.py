"""Mixup and CutMix, through timm: each image of a batch with its mirror image in the batch's order.

(Sources: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019.)
"""

from __future__ import annotations

import torch
from timm.data.mixup import Mixup
from torch import Tensor

from zoo.domain.task import Task
from zoo.finetune.dataset.rng import seeded

__all__ = ["Mix"]

STREAM = 1
"""Keeps these draws apart from those of transforms, which have the same seed."""


class Mix:
    """Mixes batches; what is drawn for a batch depends on the seed, its epoch and its step alone.

    Args:
        mixup: Alpha of mixup; 0: none. With both, each is used for half of the batches.
        cutmix: Alpha of CutMix; 0: none.
        task: What targets are.
        outputs: Number of classes, labels or columns.
        smoothing: Share of a class that is spread over all, or of a label towards one half.
        seed: The run's.
    """

    def __init__(
        self, mixup: float, cutmix: float, *, task: Task, outputs: int, smoothing: float, seed: int
    ) -> None:
        self.seed = seed
        self._mix = Mixup(
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            label_smoothing=smoothing,
            num_classes=outputs,
            # Numbers mix as the shares of labels do.
            multi_label=task != "classification",
        )

    def __call__(
        self, images: Tensor, targets: Tensor, *, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Mixed images, in the memory of ``images``, and targets (N, K) float32.

        ``step`` counts batches within the epoch. Of an odd batch, the image in the middle is its
        own mirror image and stays as it is. The shares that `Batches.epoch` gives to several
        processes are mixed as the whole batch would be.
        """
        with seeded(self.seed, STREAM, epoch, step):
            half, odd = divmod(len(images), 2)
            if not odd:
                return self._mixed(images, targets)
            pairs = torch.tensor([i for i in range(2 * half + 1) if i != half], dtype=torch.long)
            if not half:
                return images, self._targets(targets)
            images[pairs], mixed = self._mixed(images[pairs], targets[pairs])
            # Not before: it draws, too, which a share with no image in the middle does not.
            middle = self._targets(targets[half : half + 1])
            return images, torch.cat([mixed[:half], middle, mixed[half:]])

    def _mixed(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mixed: tuple[Tensor, Tensor] = self._mix(images, targets)
        return mixed

    def _targets(self, targets: Tensor) -> Tensor:
        """Targets in the form of mixed ones."""
        mix = Mixup(
            label_smoothing=self._mix.label_smoothing,
            num_classes=self._mix.num_classes,
            multi_label=self._mix.multi_label,
            prob=0.0,
        )
        twice: Tensor = mix(torch.zeros(2, 1, 1, 1), targets.repeat_interleave(2, dim=0))[1]
        return twice[:1]
