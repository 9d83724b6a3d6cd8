"""Teacher: a checkpoint whose outputs for the training images are learned beside their classes.

Hinton et al., "Distilling the Knowledge in a Neural Network" (2015). It is shown what the network
is shown: an image that nothing was changed of through its own preprocessing, else the very image
that was made of it, at its size and normalized for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.backbones.load import Card, load
from zoo.backbones.taps import REFUSALS
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.progress import Progress
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.store import Store

__all__ = ["Teacher", "check_teacher", "distillation_loss", "make_teacher"]

NAMED = 3
"""Classes that are named where they differ."""


@dataclass
class Teacher:
    """A network that is asked, and what it said.

    Attributes:
        model: It, in eval mode, on the device that is trained on.
        shown: How images are made for the network that is trained.
        columns: Which of its outputs are those of the network that is trained, in their order.
        progress: Shows how far it is.
    """

    model: nn.Module
    shown: Preprocessing
    columns: list[int]
    progress: Progress
    said: dict[int, Tensor] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return cast(Card, self.model.zoo).manifest

    @property
    def own(self) -> Preprocessing:
        """How images are made for it."""
        return self.manifest.preprocessing

    def of_all(self, batches: Batches, view: int) -> Tensor:
        """Its outputs (N, K) for all samples, each image as in the epoch ``view`` of ``batches``;
        asked once.
        """
        if view not in self.said:
            plain = not batches.transform.random
            if plain:  # through its own preprocessing
                transform = training_transform(self.own, self.manifest.backbone.plugin)
                batches = Batches(
                    batches.dataset,
                    batches.samples,
                    transform,
                    batches.size,
                    device=batches.device,
                    once=True,
                )
            outputs = []
            with self.progress("asking the teacher", len(batches.samples)) as task:
                for images, _, _ in batches.view(view):
                    device = next(self.model.parameters()).device
                    ask = self._outputs if plain else self.of_images
                    outputs.append(ask(images.to(device)).cpu())
                    task.advance(len(images))
            self.said[view] = torch.cat(outputs)
        return self.said[view]

    def of_images(self, images: Tensor) -> Tensor:
        """Its outputs (N, K) for ``images`` as they are made for the network that is trained."""
        shape = (1, -1, 1, 1)
        mean, std, own_mean, own_std = (
            images.new_tensor(each).reshape(shape)
            for each in (self.shown.mean, self.shown.std, self.own.mean, self.own.std)
        )
        size = self.own.input_size[1:]
        changed = (images * std + mean - own_mean) / own_std
        if images.shape[-2:] != size:
            changed = functional.interpolate(
                changed, size=size, mode="bicubic", align_corners=False, antialias=True
            )
        return self._outputs(changed)

    @torch.no_grad()
    def _outputs(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.model(images).float()
        return outputs[:, self.columns]


def check_teacher(name: str, known: Manifest, task: Task, classes: tuple[str, ...]) -> list[int]:
    """Which outputs of the checkpoint ``name`` are those of ``classes``, in their order.

    Raises:
        InvalidOption: It learned something else.
    """
    learned = (known.recipe or {}).get("task", "classification")
    if task == "regression" or learned != task:
        raise InvalidOption(f"{name} is no teacher here: it tells {learned}, and this is {task}")
    place = {label: at for at, label in enumerate(known.classes)}
    lacks, more = [c for c in classes if c not in place], [*(place.keys() - {*classes})]
    if lacks or more:
        parts = [
            f"{word} {', '.join(sorted(some)[:NAMED])}{', …' if len(some) > NAMED else ''}"
            for word, some in (("lacks", lacks), ("has", more))
            if some
        ]
        raise InvalidOption(
            f"the teacher {name} has other classes than the images: it {', and '.join(parts)}"
        )
    return [place[label] for label in classes]


def make_teacher(
    store: Store,
    digest: str,
    columns: list[int],
    shown: Preprocessing,
    device: torch.device,
    progress: Progress,
) -> Teacher:
    """The checkpoint ``digest`` as a teacher of a network whose images are made as ``shown``; for
    ``columns`` see `check_teacher`.

    Raises:
        InvalidOption: It does not take such images.
        MissingObject, InvalidWeights: It cannot be loaded.
    """
    model = load(store, Digest.parse(digest), device=str(device)).requires_grad_(False)
    teacher = Teacher(model, shown, columns, progress)
    channels, own = shown.input_size[0], teacher.own.input_size[0]
    if channels != own:
        raise InvalidOption(f"the teacher takes {own} channels, and the network {channels}")
    try:
        teacher.of_images(torch.zeros(1, *shown.input_size, device=device))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise InvalidOption(f"the teacher does not run: {error}") from error
    return teacher


def distillation_loss(outputs: Tensor, taught: Tensor, task: Task, temperature: float) -> Tensor:
    """How far outputs (N, K) are from the teacher's, times the temperature's square, so that its
    gradients are as large as those of other losses; the mean over images.
    """
    if task == "classification":
        own, other = ((each / temperature).log_softmax(dim=1) for each in (outputs, taught))
        far = functional.kl_div(own, other, reduction="batchmean", log_target=True)
    else:
        target = (taught / temperature).sigmoid()
        far = functional.binary_cross_entropy_with_logits(outputs / temperature, target)
    return far * temperature**2
