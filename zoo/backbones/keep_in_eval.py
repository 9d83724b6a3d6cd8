"""Keep a module that is frozen in part in eval mode while it runs its frozen part.

A network may drop values, or keep statistics, by functions that it calls between its units, and ask
its own mode whether to. That mode is one for all of its code. So such a module, which has units on
both sides of the boundary, is in eval mode from its entrance until the first unit above it is
entered, and then as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from inspect import unwrap
from types import CodeType
from typing import Any

from torch import nn

from zoo.domain.hierarchy import Hierarchy

__all__ = ["keep_in_eval", "ancestors"]

IN_EVAL, HOOKS = "zoo_in_eval", "zoo_hooks"
"""Attributes: of a module, whether it is in eval mode because of us right now; of the network, all
handles of hooks."""


def keep_in_eval(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> None:
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


def ancestors(paths: Iterable[str]) -> set[str]:
    """Paths of the modules that the modules at ``paths`` lie in, but for the network itself."""
    return {path[:at] for path in paths for at, sign in enumerate(path) if sign == "."}


def _containers(
    network: nn.Module, hierarchy: Hierarchy, boundary: int
) -> Iterator[tuple[str, nn.Module]]:
    """The modules with units on both sides whose code asks for its mode, and their paths."""
    below = [path for unit in hierarchy.units[:boundary] for path in unit.modules]
    above = [path for unit in hierarchy.units[boundary:] for path in unit.modules]
    both = ancestors(below) & ancestors([*above, *hierarchy.head.modules])
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


def _enter(container: nn.Module, _: Any) -> None:
    if container.training:
        container.training = False
        setattr(container, IN_EVAL, True)


def _leave(container: nn.Module, *_: Any) -> None:
    if getattr(container, IN_EVAL, False):
        container.training = True
        setattr(container, IN_EVAL, False)
