"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from zoo.backbones.freeze import trainable_parameters
from zoo.domain.hierarchy import under
from zoo.domain.recipe import Recipe
from zoo.errors import Diverged

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from zoo.domain.progress import Task

__all__ = ["evaluate", "optimizer", "schedule", "train"]

WARMUP = 0.1


def train(
    model: nn.Module,
    batches: DataLoader[tuple[Tensor, int]],
    loss: nn.Module,
    recipe: Recipe,
    head: Sequence[str],
    task: Task,
) -> list[float]:
    """Train what is not frozen; the loss of every step.

    Args:
        model: Frozen to the recipe's depth, on the device to train on.
        batches: Images (N, C, H, W) and labels (N,).
        loss: From outputs and labels to a scalar.
        recipe: Epochs and rates.
        head: Paths of the head's modules, which have the full rate.
        task: Told of every image.

    Raises:
        Diverged: The loss is no number any more.
    """
    device = next(model.parameters()).device
    optimize = optimizer(model, recipe, head)
    rates = schedule(optimize, recipe.epochs * len(batches))
    losses: list[float] = []
    for epoch in range(recipe.epochs):
        model.train()
        for images, labels in batches:
            value = loss(model(images.to(device)), labels.to(device))
            optimize.zero_grad(set_to_none=True)
            value.backward()
            optimize.step()
            rates.step()
            losses.append(value.item())
            if not math.isfinite(losses[-1]):
                raise Diverged(len(losses), recipe.lr)
            task.advance(len(images), f"epoch {epoch + 1}/{recipe.epochs}, loss {losses[-1]:.3f}")
    return losses


def optimizer(model: nn.Module, recipe: Recipe, head: Sequence[str]) -> AdamW:
    """AdamW over exactly the trainable parameters: the head at the full rate, the rest at its
    share; no weight decay on vectors (norms, biases).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable_parameters(model):
        rate = recipe.lr * (1 if under(name, head) else recipe.backbone_lr_ratio)
        decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return AdamW(
        [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    )


def schedule(optimize: AdamW, steps: int) -> LambdaLR:
    """Linear warm-up over a tenth of the steps, then a cosine to zero. One factor for all groups,
    so that their ratios hold at every step.
    """
    warm = max(int(steps * WARMUP), 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))

    return LambdaLR(optimize, factor)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: DataLoader[tuple[Tensor, int]], task: Task
) -> tuple[Tensor, Tensor]:
    """Outputs (N, K) and labels (N,) of a whole split, in eval mode, on the CPU."""
    device = next(model.parameters()).device
    model.eval()
    outputs, targets = [], []
    for images, labels in batches:
        outputs.append(model(images.to(device)).float().cpu())
        targets.append(labels)
        task.advance(len(images))
    return torch.cat(outputs), torch.cat(targets)
