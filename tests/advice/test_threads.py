"""One thread: for how many images, and that the others are there again."""

from __future__ import annotations

import pytest
import torch

from zoo.advice.threads import FEW, one_thread


@pytest.mark.parametrize(("images", "threads"), [(FEW, 1), (FEW + 1, 2)])
def test_few_images_take_one_thread(images: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread(images):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
