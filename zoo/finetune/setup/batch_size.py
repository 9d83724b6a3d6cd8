"""Batch size: as many images as the memory of a device takes, and a learning rate for these."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.backbones.devices import free_on, out_of_memory, random_kept
from zoo.backbones.free_memory import free_memory
from zoo.backbones.taps import REFUSALS
from zoo.domain.recipe import DEFAULTS, Recipe
from zoo.errors import InvalidOption, ZooError
from zoo.finetune.dataset.batches import targets_of
from zoo.finetune.setup.network import autocast, multiplying
from zoo.finetune.setup.optimizer import make_optimizer, parameter_groups

if TYPE_CHECKING:
    from zoo.finetune.setup.prepare import PreparedRun

__all__ = ["fitting_batch", "largest", "that_fits"]

LEAST = 2
"""Images of a batch of each process; batch norm takes no fewer."""
MOST = 1024
"""Images of a batch: with more a GPU is hardly faster, and rules for rates hold less and less."""
STEPS, USUAL = 16, DEFAULTS["batch_size"]
"""Steps of an epoch, at least; but for so many images a batch, which is usual of few."""
SHARE, BESIDE = 0.8, 0.4
"""What a step may take of the memory that is free: by itself, and beside a cache, which takes half
(`zoo.finetune.features.cache.SHARE_OF_DEVICE`)."""
OF_HOST = 0.25
"""The same of the host's memory, where it is only reckoned what a step takes."""
BY_TRYING = ("cuda",)
"""Kinds of devices that tell how much of their memory was in use at most."""
LAYERS = 3
"""Of the largest output of a layer, how many there are at once, beside what is kept for gradients:
what goes in, what comes out, and what is between."""


def fitting_batch(prepared: PreparedRun) -> tuple[Recipe, str]:
    """The recipe with the largest batch that fits, a power of two for each process, and its
    learning rate scaled to that; and that in words.

    Raises:
        InvalidOption: Nobody knows how much memory the device has.
    """
    recipe, world = prepared.recipe, prepared.ranks.world_size
    count = len(prepared.dataset.train)
    most = min(MOST, max(count // STEPS, min(USUAL, count)))
    images = min(prepared.ranks.gather(largest(prepared, most // world))) * world
    sized = replace(recipe, batch_size=images)
    why = f"what fits on {prepared.device}" if 2 * images <= most else "the largest that is tried"
    remark = f"batch size {images}, {why}"
    if all(phase.own_rate for phase in recipe.plan()):
        return sized, remark
    factor, rule = _scale(recipe.optimizer, images / USUAL)
    rate = float(f"{recipe.lr * factor:.3g}")
    return replace(sized, lr=rate), f"{remark}; learning rate {rate:g}, {rule} {recipe.lr:g}"


def _scale(optimizer: str, larger: float) -> tuple[float, str]:
    """How many times the rate of 32 images a batch that is so many times as large has: as timm's
    ``train.py``, its square root for optimizers that divide by the size of gradients.
    """
    if any(name in optimizer.lower() for name in ("ada", "lamb")):
        return math.sqrt(larger), f"the square root of {larger:g} times"
    return larger, f"{larger:g} times"


def largest(prepared: PreparedRun, most: int) -> int:
    """The largest power of two of images up to ``most`` whose step fits on the device; at least
    `LEAST`. Weights and random numbers are afterwards as they were.
    """
    return _doubled(prepared, LEAST, most)


def that_fits(prepared: PreparedRun, most: int) -> int | None:
    """As `largest`, for a training that has failed for want of memory: 0 where not even `LEAST`
    images fit, None where that cannot be tried, as of several processes only one may have failed.
    """
    if prepared.ranks.world_size > 1:
        return None
    prepared.model.zero_grad(set_to_none=True)
    with suppress(*REFUSALS, ZooError):
        return _doubled(prepared, 0, most)
    return None


def _doubled(prepared: PreparedRun, size: int, most: int) -> int:
    """The largest that fits: from ``size`` on, which is not tried, twice as many each time."""
    with random_kept(prepared.device):
        step = _Step(prepared)
        while (more := 2 * size or LEAST) <= most and step.fits(more):
            size = more
    return size


class _Step:
    """A step of the phase that trains the most, of a copy of the network, on images without
    anything in them. It runs whole, as it does where a cache is filled.
    """

    def __init__(self, prepared: PreparedRun) -> None:
        copy = deepcopy(prepared.model)
        self.prepared = replace(prepared, network=replace(prepared.network, model=copy))
        self.device, self.recipe = prepared.device, prepared.recipe
        self.prepared.freeze(prepared.lowest)
        self.model = copy.train()
        phase = next((x for x, at in prepared.phases if at == prepared.lowest), None)
        self.optimizer: Optimizer | None = None
        if phase:
            groups = parameter_groups(copy, prepared.hierarchy, phase, self.recipe)
            self.optimizer = make_optimizer(groups, self.recipe)
        # Before the first step: from that on there is what the optimizer keeps, which counts, too.
        self.budget, self.each = self._budget(), 0.0
        if self.device.type not in BY_TRYING:
            self.each = self._measured()

    def fits(self, images: int) -> bool:
        """Whether a step of so many does."""
        if self.each:
            return images * self.each <= self.budget
        try:
            return peak(self.device, lambda: self.run(images)) <= self.budget
        except Exception as error:
            if not out_of_memory(error, self.device):
                raise
            return False
        finally:
            self.model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()

    def _budget(self) -> float:
        if self.device.type in BY_TRYING:
            cached = self.recipe.cache and any(self.prepared.boundaries)
            used = torch.cuda.memory_allocated(self.device)
            return used + free_on(self.device) * (BESIDE if cached else SHARE)
        if self.device.type in ("cpu", "mps"):
            return free_memory() * OF_HOST
        raise InvalidOption(f"nobody knows what memory {self.device} has: give a batch size")

    def _measured(self) -> float:
        """Bytes for each image: what is kept for gradients, and the largest outputs of layers."""
        few, more = (self._kept(images) for images in (2, 4))
        return (more - few) / 2

    def _kept(self, images: int) -> int:
        kept: dict[int, int] = {}
        outputs = [0]

        def keep(value: Tensor) -> Tensor:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        def note(_: nn.Module, __: object, output: object) -> None:
            outputs.append(output.nbytes if isinstance(output, Tensor) else 0)

        teacher = self.prepared.teacher
        networks = [self.model, *([teacher.model] if teacher else [])]
        hooks = [child.register_forward_hook(note) for each in networks for child in each.modules()]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            self.run(images)
        for hook in hooks:
            hook.remove()
        return sum(kept.values()) + LAYERS * max(outputs)

    def run(self, images: int) -> None:
        """One step; a teacher is asked before, of batches of all processes where images stay as
        they are.
        """
        prepared, dataset = self.prepared, self.prepared.dataset
        if prepared.teacher:
            prepared.teacher.of_images(self._empty(images * prepared.ranks.world_size))
        empty = self._empty(images)
        samples = [dataset.train[at % len(dataset.train)] for at in range(images)]
        targets = targets_of(samples, dataset.task).to(self.device)
        with torch.set_grad_enabled(self.optimizer is not None):
            with autocast(self.model, self.recipe.precision):
                outputs = self.model(empty)
            with multiplying(self.recipe.precision):
                loss = prepared.loss(outputs.float(), targets)
                if self.optimizer:
                    loss.backward()
                    self.optimizer.step()
                    self.optimizer.zero_grad(set_to_none=True)

    def _empty(self, images: int) -> Tensor:
        size = self.prepared.network.planned.preprocessing.input_size
        lies = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        return torch.zeros(images, *size, device=self.device).contiguous(memory_format=lies)


def peak(device: torch.device, work: Callable[[], None]) -> int:
    """Bytes of a CUDA device that are in use at most while ``work`` is done."""
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device)
