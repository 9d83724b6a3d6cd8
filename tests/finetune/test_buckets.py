"""Gradients are summed over all processes while a backward pass still computes others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from fakes.reads import Reads
from torch import Tensor, nn

from zoo.finetune.ranks import buckets
from zoo.finetune.ranks.ranks import Distributed

LAYER = 4 * 4 + 4
"""Numbers in each of the layers below."""


class Sent:
    """Stands for another process, whose gradients are all 1; where it has some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, has: list[int]) -> None:
        self.sizes: list[int] = []
        self.waited = 0
        monkeypatch.setattr(buckets, "BYTES", LAYER * torch.float32.itemsize)
        monkeypatch.setattr(dist, "all_reduce", self._sum)
        monkeypatch.setattr(
            Distributed, "totals", lambda _, here: [*map(sum, zip(here, has, strict=True))]
        )

    def _sum(self, flat: Tensor, *, async_op: bool) -> Sent:
        assert async_op
        self.sizes.append(flat.numel())
        flat.add_(1)
        return self

    def wait(self) -> None:
        self.waited += 1


@pytest.fixture
def layers() -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(4, 4) for _ in range(3)]


def through(layers: list[nn.Linear], images: Tensor) -> Tensor:
    for layer in layers:
        images = layer(images)
    return images.square().sum()


def parameters(layers: list[nn.Linear]) -> list[nn.Parameter]:
    return [each for layer in layers for each in layer.parameters()]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=["as they lie", "the other way"])
def test_what_is_there_is_sent_while_the_rest_is_computed(
    layers: list[nn.Linear], monkeypatch: pytest.MonkeyPatch, early: bool, order: tuple[int, ...]
) -> None:
    """In one order, whatever order a network computes in; without a number that is waited for."""
    network, moving = [layers[at] for at in order], parameters(layers)
    images, sent, seen = torch.ones(2, 4), Sent(monkeypatch, [1] * 6), list[int]()
    torch.autograd.backward(through(network, images))  # of an earlier batch of the step
    before = [each.grad.clone() for each in moving if each.grad is not None]
    # When the gradient of the layer that is used first is about to be there.
    first: Any = network[0].weight
    watching = first.register_hook(lambda _: seen.append(len(sent.sizes)))
    with Reads() as reads, Distributed(0, 2).summing(moving, early=early):
        torch.autograd.backward(through(network, images))
    watching.remove()
    assert not reads.found
    assert seen == [2 if early and order == (0, 1, 2) else 0]
    assert sent.sizes == [LAYER] * 3
    assert sent.waited == 3
    for each, grad in zip(moving, before, strict=True):
        assert each.grad is not None
        assert torch.allclose(each.grad, 2 * grad + 1)


def test_a_process_without_images_sends_what_the_others_send(
    layers: list[nn.Linear], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no process has a gradient of stays without one: momentum would move it."""
    sent, moving = Sent(monkeypatch, [1, 1, 1, 1, 0, 0]), parameters(layers)
    with Distributed(1, 2).summing(moving, early=True):
        pass
    assert sent.sizes == [LAYER] * 3
    for each in moving[2:]:
        assert each.grad is not None
        assert torch.equal(each.grad, torch.ones_like(each))
    assert moving[0].grad is None
    assert moving[1].grad is None


def test_sums_lie_in_memory_as_their_parameters_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Sent(monkeypatch, [1])
    weight = nn.Parameter(torch.ones(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    with Distributed(0, 2).summing([weight], early=True):
        torch.autograd.backward((weight * torch.arange(48).reshape(weight.shape)).sum())
    assert weight.grad is not None
    assert weight.grad.stride() == weight.stride()
    assert torch.equal(weight.grad, torch.arange(1.0, 49).reshape(weight.shape))
