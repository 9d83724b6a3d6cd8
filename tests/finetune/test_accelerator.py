"""On an accelerator, where there is one."""

from __future__ import annotations

import pytest
import torch

from zoo.backbones.devices import pick_device

ACCELERATOR = torch.accelerator.current_accelerator(check_available=True)
needs_accelerator = pytest.mark.skipif(ACCELERATOR is None, reason="no accelerator here")


@pytest.mark.gpu
@needs_accelerator
def test_auto_takes_the_accelerator() -> None:
    assert ACCELERATOR is not None
    assert pick_device("auto") == ACCELERATOR.type


@pytest.mark.skipif(ACCELERATOR is not None, reason="there is an accelerator here")
def test_auto_takes_the_processor_where_there_is_none() -> None:
    assert pick_device("auto") == "cpu"
