"""A little real training on scikit-learn's digits, which makes the benchmarks' fine-tunes."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn


def train(model: nn.Module, *, steps: int, rate: float) -> None:
    """Take ``steps`` AdamW steps with all that asks for gradients; modes are left as they are."""
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    images = nn.functional.interpolate(images, (64, 64)).expand(-1, 3, -1, -1)
    labels = torch.tensor(digits.target)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        batch = torch.arange(step * 16, step * 16 + 16) % len(images)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
