"""What every head plugin must do. Subclass, and supply the fixture ``head``."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.contracts import Head
from zoo.domain.task import Task
from zoo.errors import Unsupported

__all__ = ["HeadSuite"]

FEATURES, CLASSES, BATCH = 8, 3, 5


class HeadSuite:
    """Conformance to `zoo.contracts.Head`.

    class TestMine(HeadSuite):
        @pytest.fixture
        def head(self): return MyHead()
    """

    def test_outputs_have_the_promised_shape_and_type(self, head: Head) -> None:
        """From features (N, F) to outputs (N, K), float32, whatever F and K are."""
        for features, classes in ((FEATURES, CLASSES), (1, 2), (33, 1000)):
            outputs = head.build(features, classes)(torch.randn(BATCH, features))
            assert outputs.shape == (BATCH, classes)
            assert outputs.dtype == torch.float32

    @pytest.mark.parametrize("task", ["multi-label", "regression"])
    def test_other_tasks_are_served_or_refused(self, head: Head, task: Task) -> None:
        """A head that takes a task gives it a loss that falls, and finite figures."""
        try:
            loss = head.loss(task)
        except Unsupported:
            return
        targets = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0]])
        right, wrong = 4 * targets - 2, 2 - 4 * targets
        if task == "regression":
            right, wrong = targets, targets + 1
        assert loss(right, targets).shape == ()
        assert loss(right, targets) < loss(wrong, targets)
        metrics = head.metrics(right, targets, task)
        assert metrics
        assert all(type(v) is float and math.isfinite(v) for v in metrics.values())
        assert metrics != head.metrics(wrong, targets, task)

    def test_a_few_steps_learn(self, head: Head) -> None:
        """What is trained gets better."""
        torch.manual_seed(0)
        module, loss = head.build(FEATURES, CLASSES), head.loss()
        features, targets = torch.randn(24, FEATURES), torch.arange(24) % CLASSES
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.05)
        before = loss(module(features), targets).item()
        for _ in range(50):
            optimizer.zero_grad()
            loss(module(features), targets).backward()
            optimizer.step()
        assert loss(module(features), targets).item() < 0.7 * before

    def test_loss_is_a_finite_scalar(self, head: Head) -> None:
        """Also for a batch of one and for confident outputs."""
        for size in (1, BATCH):
            outputs = 50 * torch.randn(size, CLASSES)
            value = head.loss()(outputs, torch.arange(size) % CLASSES)
            assert value.shape == ()
            assert math.isfinite(value.item())

    def test_loss_is_lower_for_right_outputs(self, head: Head) -> None:
        """It measures what the metrics measure."""
        targets = torch.tensor([0, 1, 2])
        right = torch.eye(CLASSES) * 5
        assert head.loss()(right, targets) < head.loss()(right.roll(1, dims=0), targets)

    def test_loss_is_a_mean(self, head: Head) -> None:
        """Doubling the batch does not change it."""
        outputs, targets = torch.randn(BATCH, CLASSES), torch.arange(BATCH) % CLASSES
        once = head.loss()(outputs, targets).item()
        twice = head.loss()(outputs.repeat(2, 1), targets.repeat(2)).item()
        assert twice == pytest.approx(once, rel=1e-5)

    def test_accuracy_of_a_case_made_by_hand(self, head: Head) -> None:
        """Three of four right is 0.75, on a 0..1 scale; all metrics are finite floats."""
        outputs = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0], [9.0, 0, 0]])
        metrics = head.metrics(outputs, torch.tensor([0, 1, 2, 1]))
        assert metrics["accuracy"] == 0.75
        assert all(type(v) is float and math.isfinite(v) for v in metrics.values())

    def test_gradient_reaches_features_and_parameters(self, head: Head) -> None:
        """So that the backbone below can be trained too."""
        module = head.build(FEATURES, CLASSES)
        features = torch.randn(BATCH, FEATURES, requires_grad=True)
        head.loss()(module(features), torch.arange(BATCH) % CLASSES).backward()
        assert features.grad is not None
        assert features.grad.abs().sum() > 0
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
