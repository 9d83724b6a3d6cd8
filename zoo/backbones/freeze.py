"""Freeze everything below a boundary, totally.

Frozen means four things at once: no gradient asked for, none left over, eval mode that survives
``train()`` (so that batch-norm statistics stand still and dropout is off), and, by
`trainable_parameters`, absence from the optimizer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from torch import nn

from zoo.backbones.keep_in_eval import ancestors, keep_in_eval
from zoo.domain.hierarchy import Hierarchy

__all__ = ["freeze", "frozen_paths", "parametric", "trainable_parameters"]

FROZEN = "zoo_frozen"
"""Attribute of a module, copied and pickled with it: names of its parameters that were frozen."""


def freeze(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> None:
    """Freeze the first ``boundary`` units of ``module`` and thaw all that follows.

    Thawed is what was frozen here: what a network itself never trains, such as a table of
    positions or whole numbers, stays as it is. Names are kept: the state dict is as it was.
    """
    # By identity: a compiled module names its parameters otherwise.
    frozen = {
        module.get_parameter(name)
        for unit in hierarchy.units[:boundary]
        for name in unit.parameters
    }
    still = {
        child
        for path in frozen_paths(hierarchy, boundary)
        for child in module.get_submodule(path).modules()
    }
    for child in module.modules():
        if child in still:
            # On the instance: copied and pickled with its module, and then bound to the copy. (A
            # bound method is pickled by its name, which a module does not have.)
            child.train = partial(_stay_in_eval, child)  # type: ignore[method-assign]
        else:
            child.__dict__.pop("train", None)
    for child in module.modules():
        _thaw(child)
    for child in module.modules():
        _freeze(child, frozen)
    keep_in_eval(module, hierarchy, boundary)
    module.train(module.training)


def parametric(module: nn.Module, paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` in ``module`` at or below which there are parameters."""
    return [path for path in paths if any(True for _ in module.get_submodule(path).parameters())]


def frozen_paths(hierarchy: Hierarchy, boundary: int) -> set[str]:
    """Paths of all modules that are frozen as a whole: those of the first ``boundary`` units, and
    what holds nothing but such.
    """
    below = [path for unit in hierarchy.units[:boundary] for path in unit.modules]
    above = [path for unit in hierarchy.units[boundary:] for path in unit.modules]
    within = ancestors([*above, *hierarchy.head.modules]) | {""}
    return {*below, *ancestors(below)} - within


def trainable_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that are not frozen, each parameter once."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def _thaw(child: nn.Module) -> None:
    for name in child.__dict__.pop(FROZEN, ()):
        child.get_parameter(name).requires_grad_(True)
    for parameter in child.parameters(recurse=False):
        parameter.grad = None


def _freeze(child: nn.Module, frozen: Collection[nn.Parameter]) -> None:
    """Let those of the module's own parameters that are ``frozen`` ask for no gradient."""
    names = [
        name
        for name, parameter in child.named_parameters(recurse=False)
        if parameter.requires_grad and parameter in frozen
    ]
    for name in names:
        child.get_parameter(name).requires_grad_(False)
    if names:
        child.__dict__[FROZEN] = names


def _stay_in_eval(self: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    self.training = False
    for child in self.children():
        child.train(False)
    return self
