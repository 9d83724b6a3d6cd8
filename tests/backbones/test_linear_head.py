"""The linear head against the conformance suite, and what is its own."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.backbones.linear_head import LinearHead
from zoo.testing.heads import HeadSuite


class TestLinearHead(HeadSuite):
    @pytest.fixture
    def head(self) -> LinearHead:
        return LinearHead()


def test_first_loss_is_that_of_not_knowing() -> None:
    torch.manual_seed(0)
    layer = LinearHead().build(512, 10)
    outputs = layer(torch.randn(64, 512))
    loss = LinearHead().loss()(outputs, torch.arange(64) % 10).item()
    assert loss == pytest.approx(math.log(10), rel=0.05)
    assert not layer.bias.any()


def test_metrics_hold_the_loss_in_nats() -> None:
    metrics = LinearHead().metrics(torch.zeros(4, 5), torch.tensor([0, 1, 2, 3]))
    assert metrics == {"accuracy": 0.25, "loss": pytest.approx(math.log(5))}
