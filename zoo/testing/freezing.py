"""Total freezing, as checks on a network: what training, copies, files and compilers may not undo.

Each check works on a copy of the network that is given, frozen at the middle of its depth.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from tempfile import TemporaryFile
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.backbones.freeze import freeze, frozen_paths, trainable_parameters
from zoo.backbones.record import tensors_in
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit

__all__ = [
    "OPTIMIZERS",
    "check_batch_mates",
    "check_compiled",
    "check_copies",
    "check_modes",
    "check_saved",
    "check_training",
    "copied",
]

MUCH = 2**27
"""Bytes of copies after which garbage is collected, which takes as long as a small check."""
RATE = 1e-3
SEED = 0
STEPS = 3
TRACE = 1e-4
"""Of the largest gradient of all."""
LARGEST = 100.0
"""Norm that gradients are clipped to: batch norms over two small images can make them a hundred
thousand times as large (EfficientViM), and the next loss no number."""


class _Uncollected:
    nbytes = 0


def copied(module: nn.Module) -> nn.Module:
    """A copy of ``module``.

    Frozen copies hold themselves and their gradients until they are collected: of a network of 400
    million parameters, those of earlier checks would not fit in memory beside this one.
    """
    nbytes = sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
    _Uncollected.nbytes += nbytes
    if _Uncollected.nbytes > MUCH:
        gc.collect()
        _Uncollected.nbytes = nbytes
    return copy.deepcopy(module)


@dataclass(frozen=True)
class Frozen:
    """A copy of a network frozen at its middle, with gradients left over from before."""

    module: nn.Module
    below: Sequence[Unit]
    above: Sequence[Unit | HeadPart]
    still: set[str]

    @classmethod
    def middle(cls, module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> Frozen:
        """The copy. ``images`` (N, C, H, W) are what the gradients are left over from."""
        boundary = max(len(hierarchy.units) // 2, 1)
        frozen = copied(module)
        # Gradients from before: freezing has to drop them.
        frozen(images[:1]).sum().backward()
        frozen.train().eval()  # drops what eval mode made some networks remember (LeViT)
        freeze(frozen, hierarchy, boundary)
        units = hierarchy.units
        still = frozen_paths(hierarchy, boundary)
        return cls(frozen, units[:boundary], (*units[boundary:], hierarchy.head), still)

    def values(self) -> set[str]:
        """Names of the parameters and buffers that may not change."""
        return {name for unit in self.below for name in (*unit.parameters, *unit.buffers)}

    def trainable(self) -> set[str]:
        """Names of the parameters that are trained."""
        return {name for part in self.above for name in part.parameters}


def check_training(
    module: nn.Module, hierarchy: Hierarchy, images: Tensor, optimizer: str = "adamw"
) -> None:
    """Assert that three steps move nothing below the boundary, bit for bit, and all above, but for
    what hardly a gradient reaches with nothing frozen either; and so in the moving average.

    ``adamw`` is handed what is trainable, as it should be; ``sgd`` is handed everything, as often
    happens.
    """
    frozen = Frozen.middle(module, hierarchy, images)
    average = ModelEmaV3(frozen.module, use_warmup=True)
    optimize = OPTIMIZERS[optimizer](frozen.module)
    if optimizer == "adamw":
        held = [id(p) for group in optimize.param_groups for p in group["params"]]
        assert sorted(held) == sorted(
            id(frozen.module.get_parameter(name)) for name in frozen.trainable()
        )
    reached = _train(frozen.module, images, optimize, average)
    # An average of infinities is NaN (Gemma4's clamps that are off).
    infinite = {name for name, buffer in module.named_buffers() if buffer.isinf().any()}
    for trained, spared in ((frozen.module, set()), (average.module, infinite)):
        moved = _moved(module, trained) - spared
        assert not moved & frozen.values(), sorted(moved & frozen.values())
        assert reached <= moved, sorted(reached - moved)
    assert reached <= frozen.trainable()
    if unreached := frozen.trainable() - reached:
        unreached &= _clearly_reached(copied(module), images)
        assert not unreached, sorted(unreached)
    assert reached


def check_modes(module: nn.Module, frozen: Frozen) -> None:
    """Assert that ``module``, which is ``frozen`` or should be like it, asks for exactly the
    gradients above the boundary, and that ``train()`` reaches exactly the modules above.
    """
    module.train()
    for child in module.modules():
        child.train()
    names = [name for name, _ in trainable_parameters(module)]
    assert set(names) == frozen.trainable() & {name for name, _ in module.named_parameters()}
    assert len(names) == len(set(names))
    assert all(p.grad is None for p in module.parameters() if not p.requires_grad)
    still = {child for path in frozen.still for child in module.get_submodule(path).modules()}
    for name, child in module.named_modules():
        assert child.training == (child not in still), name


def check_copies(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> None:
    """Assert that a copy is frozen too, and stays so when the original is thawed, wholly."""
    frozen = Frozen.middle(module, hierarchy, images)
    check_modes(frozen.module, frozen)
    other = copied(frozen.module)
    freeze(frozen.module, hierarchy, 0)
    frozen.module.train()
    for child in frozen.module.modules():
        assert child.training
        assert "train" not in child.__dict__
    assert all(parameter.requires_grad for parameter in frozen.module.parameters())
    check_modes(other, frozen)


def check_saved(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> None:
    """Assert that the state dict has the names it had, that loading one thaws nothing, and that a
    module saved whole comes back frozen.
    """
    frozen = Frozen.middle(module, hierarchy, images)
    state = frozen.module.state_dict()
    assert list(state) == list(module.state_dict())
    for assign in (False, True):
        frozen.module.load_state_dict(_through_file(state), assign=assign)
        check_modes(frozen.module, frozen)
    loaded = _through_file(frozen.module)
    check_modes(loaded, frozen)
    assert not _moved(module, loaded)
    freeze(loaded, hierarchy, 0)
    assert all(child.training for child in loaded.train().modules())


def check_compiled(
    module: nn.Module, hierarchy: Hierarchy, images: Tensor, *, backend: str = "eager"
) -> None:
    """Assert that a compiled network is frozen and thawed as an ordinary one is: graphs made
    before are not used again.
    """
    torch.compiler.reset()
    frozen = Frozen.middle(module, hierarchy, images)
    network = frozen.module
    compiled: nn.Module = torch.compile(network, backend=backend)  # type: ignore[assignment]
    freeze(compiled, hierarchy, 0)
    _train(compiled, images, OPTIMIZERS["sgd"](compiled))
    assert _moved(module, network) & frozen.values()
    freeze(compiled, hierarchy, len(frozen.below))
    before = copied(network)
    reached = _train(compiled, images, OPTIMIZERS["adamw"](compiled))
    assert reached
    assert not _moved(before, network) & frozen.values()
    check_modes(network, frozen)


def check_batch_mates(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> None:
    """Assert that what leaves a frozen unit for one image in train mode is what leaves it in eval
    mode, whatever other image is beside it.
    """
    frozen = Frozen.middle(module, hierarchy, images)
    first, second = images[:2]
    paths = [unit.modules[-1] for unit in frozen.below]
    expected = _leaving(frozen.module.eval(), paths, torch.stack([first, second]))
    for mate in (second, 3 * second - 1):
        left = _leaving(frozen.module.train(), paths, torch.stack([first, mate]))
        for path in paths:
            for one, other in zip(left[path], expected[path], strict=True):
                assert torch.equal(one, other), path


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "adamw": lambda module: torch.optim.AdamW(
        (parameter for _, parameter in trainable_parameters(module)), lr=RATE, weight_decay=0.1
    ),
    "sgd": lambda module: torch.optim.SGD(
        module.parameters(), lr=RATE, momentum=0.9, weight_decay=0.1
    ),
}
"""Makers of optimizers that could move a frozen weight: by decay, and by momentum."""


def _train(
    module: nn.Module, images: Tensor, optimizer: Optimizer, average: ModelEmaV3 | None = None
) -> set[str]:
    """Three steps; the names of the parameters that a gradient reached."""
    reached: set[str] = set()
    with torch.random.fork_rng(devices=[]):
        # Else drop-path leaves out the same block in every step once in a while.
        torch.manual_seed(SEED)
        for step in range(STEPS):
            module.train()
            outputs = module(images).flatten(1)
            # Large ones (Gemma4's are 300) leave a loss and gradients of nothing after one step.
            outputs = outputs / outputs.detach().abs().max().clamp(min=1)
            loss = nn.functional.cross_entropy(outputs, torch.tensor([0, 1]))
            assert loss.isfinite()
            loss.backward()  # type: ignore[no-untyped-call]
            reached |= {
                name
                for name, parameter in module.named_parameters()
                if parameter.grad is not None and parameter.grad.any()
            }
            nn.utils.clip_grad_norm_(module.parameters(), LARGEST)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            if average:
                average.update(module, step=step + 1)
    return reached


def _clearly_reached(module: nn.Module, images: Tensor) -> set[str]:
    """Names of the parameters whose gradients are no mere traces, as they are where untrained
    layers have left next to nothing of an image (MobileViT).
    """
    module.train()(images).flatten(1).log_softmax(1)[:, 0].sum().backward()
    size = {
        name: float(parameter.grad.abs().max())
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return {name for name, largest in size.items() if largest > TRACE * max(size.values())}


def _moved(before: nn.Module, after: nn.Module) -> set[str]:
    """Names of the parameters and buffers that differ."""
    values = dict([*after.named_parameters(), *after.named_buffers()])
    return {
        name
        for name, value in (*before.named_parameters(), *before.named_buffers())
        if not torch.equal(value, values[name])
    }


def _through_file(value: object) -> Any:
    with TemporaryFile() as file:
        torch.save(value, file)
        file.seek(0)
        return torch.load(file, weights_only=not isinstance(value, nn.Module))


@torch.no_grad()
def _leaving(module: nn.Module, paths: Sequence[str], images: Tensor) -> dict[str, list[Tensor]]:
    """The first image's part of what leaves the first call of each of ``paths`` for two images."""
    halves: dict[str, list[Tensor]] = {}

    def keep(path: str, output: object) -> None:
        # Copies: what comes next may write in place.
        parts = [tensor[: len(tensor) // 2].clone() for tensor in tensors_in(output)]
        halves.setdefault(path, parts)

    with ExitStack() as hooks:
        for path in paths:
            child = module.get_submodule(path)
            note = child.register_forward_hook(lambda _, __, out, path=path: keep(path, out))
            hooks.enter_context(note)
        module(images)
    return halves
