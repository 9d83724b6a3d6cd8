"""Freeze everything below a boundary, totally.

Frozen means four things at once: no gradient asked for, none left over, eval mode that survives
``train()`` (so that batch-norm statistics stand still and dropout is off), and, by
`trainable_parameters`, absence from the optimizer.

A network may also drop values, or keep statistics, by functions that it calls between its units,
and ask its own mode whether to. That mode is one for all of its code. So a module with units on
both sides of the boundary is in eval mode from its entrance until the first unit above the
boundary is entered, and then as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from inspect import unwrap
from types import CodeType

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.domain.hierarchy import Hierarchy, under

__all__ = ["freeze", "frozen_paths", "parametric", "trainable_parameters", "trained_norms"]

FROZEN = "zoo_frozen"
"""Attribute of a module, copied and pickled with it: names of its parameters that were frozen."""

IN_EVAL, HOOKS = "zoo_in_eval", "zoo_hooks"
"""Attributes: of a module, whether it is in eval mode because of us right now; of the network, all
handles of hooks."""


def freeze(
    module: nn.Module,
    hierarchy: Hierarchy,
    boundary: int,
    *,
    statistics: bool = False,
    only: Collection[str] | None = None,
) -> None:
    """Freeze the first ``boundary`` units of ``module`` and thaw all that follows.

    With ``statistics`` the running statistics of batch norms are frozen, too: those above the
    boundary stay in eval mode, and only their weight and bias are trained. A new head has none yet,
    and is left alone. With ``only`` the parameters of these names are all that is trained of the
    units above the boundary.

    Thawed is what was frozen here: what a network itself never trains, such as a table of
    positions or whole numbers, stays as it is. Names are kept: the state dict is as it was.
    """
    # By identity: a compiled module names its parameters otherwise. Not by `get_parameter`: of a
    # layer with an adapter it finds the sum.
    network = getattr(module, "_orig_mod", module)
    own = dict(network.named_parameters(remove_duplicate=False))
    frozen = {
        own[name]
        for unit in hierarchy.units
        for name in unit.parameters
        if unit.depth < boundary or (only is not None and name not in only)
    }
    still = _still(module, hierarchy, boundary)
    norms = set[nn.Module](
        trained_norms(module, hierarchy, boundary).values() if statistics else ()
    )
    for child in module.modules():
        if child in still:
            # On the instance: copied and pickled with its module, and then bound to the copy. (A
            # bound method is pickled by its name, which a module does not have.)
            child.train = partial(_stay_in_eval, child)  # type: ignore[method-assign]
        elif child in norms:
            child.train = partial(_keep_statistics, child)  # type: ignore[method-assign]
        else:
            child.__dict__.pop("train", None)
    # All are thawed before any is frozen: a tensor may be tied into several modules.
    for child in module.modules():
        _thaw(child)
    for child in module.modules():
        _freeze(child, frozen)
    _keep_in_eval(module, hierarchy, boundary)
    # For `train` that was just replaced, or put back, to take effect.
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
    within = _ancestors([*above, *hierarchy.head.modules]) | {""}
    return {*below, *_ancestors(below)} - within


def trained_norms(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> dict[str, _BatchNorm]:
    """Batch norms with running statistics above the ``boundary``, and below the head, by path."""
    still = _still(module, hierarchy, boundary)
    return {
        path: child
        for path, child in module.named_modules()
        if isinstance(child, _BatchNorm) and child.track_running_stats
        if child not in still and not under(path, hierarchy.head.modules)
    }


def trainable_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that are not frozen, each parameter once."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def _thaw(child: nn.Module) -> None:
    """Train what was frozen here of a module's own parameters, without gradients of before."""
    names = child.__dict__.pop(FROZEN, ())
    for name, parameter in child.named_parameters(recurse=False, remove_duplicate=False):
        if name in names:
            parameter.requires_grad_(True)
    for parameter in child.parameters(recurse=False):
        parameter.grad = None


def _freeze(child: nn.Module, frozen: Collection[nn.Parameter]) -> None:
    """Let those of the module's own parameters that are ``frozen`` ask for no gradient."""
    asking = {
        name: parameter
        for name, parameter in child.named_parameters(recurse=False)
        if parameter.requires_grad and parameter in frozen
    }
    for parameter in asking.values():
        parameter.requires_grad_(False)
    if asking:
        child.__dict__[FROZEN] = [*asking]


def _stay_in_eval(self: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    self.training = False
    for child in self.children():
        child.train(False)
    return self


def _still(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> set[nn.Module]:
    """All modules that are frozen as a whole."""
    paths = frozen_paths(hierarchy, boundary)
    return {child for path in paths for child in module.get_submodule(path).modules()}


def _keep_statistics(self: nn.Module, mode: bool = True) -> nn.Module:
    type(self).train(self, mode)
    self.training = False
    return self


def _keep_in_eval(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> None:
    """Run code between the first ``boundary`` units in eval mode, and undo an earlier call."""
    network = getattr(module, "_orig_mod", module)  # of a compiled one
    for handle in network.__dict__.pop(HOOKS, ()):
        handle.remove()
    hooks = []
    for path, container in _containers(network, hierarchy, boundary):
        hooks.append(container.register_forward_pre_hook(_enter))
        hooks.append(container.register_forward_hook(_leave, always_call=True))
        first = _first_above(hierarchy, boundary, path)
        last = hierarchy.units[boundary - 1]
        owned = {f"{path}.{name}".lstrip(".") for name, _ in container.named_buffers(recurse=False)}
        if boundary == len(hierarchy.units) and not owned & set(last.buffers):
            # What is dropped before a head is the head's.
            done = network.get_submodule(last.modules[-1])
            hooks.append(done.register_forward_hook(partial(_leave, container)))
        elif first is not None:
            entry = network.get_submodule(first)
            hooks.append(entry.register_forward_pre_hook(partial(_leave, container)))
    if hooks:
        network.__dict__[HOOKS] = hooks


def _ancestors(paths: Iterable[str]) -> set[str]:
    """Paths of the modules that the modules at ``paths`` lie in, but for the network itself."""
    return {path[:at] for path in paths for at, sign in enumerate(path) if sign == "."}


def _containers(
    network: nn.Module, hierarchy: Hierarchy, boundary: int
) -> Iterator[tuple[str, nn.Module]]:
    """The modules with units on both sides whose code asks for its mode, and their paths."""
    below = [path for unit in hierarchy.units[:boundary] for path in unit.modules]
    above = [path for unit in hierarchy.units[boundary:] for path in unit.modules]
    both = _ancestors(below) & _ancestors([*above, *hierarchy.head.modules])
    for path in ["", *sorted(both)] if below else ():
        container = network.get_submodule(path)
        if _asks(type(container)):
            yield path, container


def _first_above(hierarchy: Hierarchy, boundary: int, container: str) -> str | None:
    """The first module above the boundary, of those within ``container``."""
    units = [unit.modules for unit in hierarchy.units[boundary:]]
    prefix = f"{container}." if container else ""
    paths = (path for modules in (*units, hierarchy.head.modules) for path in modules)
    return next((path for path in paths if path.startswith(prefix)), None)


def _asks(kind: type[nn.Module]) -> bool:
    """Whether code of a class, or of one that it inherits from, asks for ``training``."""
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    members = (unwrap(value) for cls in own for value in vars(cls).values())
    return any("training" in _names(getattr(member, "__code__", None)) for member in members)


def _names(code: CodeType | None) -> set[str]:
    if code is None:
        return set()
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _enter(container: nn.Module, _: object) -> None:
    if container.training:
        container.training = False
        setattr(container, IN_EVAL, True)


def _leave(container: nn.Module, *_: object) -> None:
    if getattr(container, IN_EVAL, False):
        container.training = True
        setattr(container, IN_EVAL, False)
