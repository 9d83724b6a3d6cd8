"""Mixed batches: what several processes have of one is what a single process has."""

from __future__ import annotations

import pytest
import torch

from zoo.finetune.dataset.augment import Mix


@pytest.mark.parametrize("shares", [([0, 2, 4, 6], [1, 3, 5]), ([0, 6], [1, 5], [2, 4], [3])])
def test_a_share_is_mixed_as_the_whole_batch(shares: tuple[list[int], ...]) -> None:
    """Each image with its mirror image in the order; also where the batch is odd."""
    mix = Mix(0.4, 1.0, task="classification", outputs=7, smoothing=0.1, seed=3)
    torch.manual_seed(0)
    images, targets = torch.rand(7, 3, 16, 16), torch.arange(7)
    changed = 0
    for step in range(8):
        whole = mix(images.clone(), targets, epoch=1, step=step)
        changed += not torch.equal(whole[0], images)  # a box that is cut may be empty
        for share in shares:
            part = mix(images[share], targets[share], epoch=1, step=step)
            assert torch.equal(part[0], whole[0][share])
            assert torch.equal(part[1], whole[1][share])
    assert changed > 4
