"""What a network costs: also of one that hands a parameter of its own to a module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo.ranking import cost


class Pooled(nn.Module):
    """Pools by attention with a query that it learns, as SigLIP and CaiT do."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.ones(1, 1, 3))
        self.query = nn.Linear(3, 3, bias=False)
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Of images (N, 3, H, W), pooled features (N, 1, 3)."""
        keys = images.flatten(2).transpose(1, 2) + self.fixed
        query = self.query(self.latent).expand(len(images), 1, 3)
        return nn.functional.scaled_dot_product_attention(query, keys, keys)


def test_a_network_that_pools_by_attention_is_counted_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "TIMES", 1)
    network = Pooled()
    ms, macs = cost.cost_of(network, (3, 4, 4), torch.device("cpu"))
    assert ms > 0
    assert macs == 3 * 3 + 2 * 16 * 3  # the query; its products with keys, and weights with values
    wanting = {name for name, each in network.named_parameters() if each.requires_grad}
    assert wanting == {"latent", "query.weight"}
