"""Record one run of a network: which modules are called when, and which values they hand on.

The network runs on the meta device, where a tensor has a shape but no bytes, so that the largest
networks cost no memory and a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from zoo.backbones.eval_mode import eval_mode
from zoo.backbones.shapes import Shapes, storage_of

__all__ = ["Call", "Operation", "Recording", "record"]


@dataclass(slots=True)
class Call:
    """One call of a module.

    Attributes:
        path: The module's name.
        parent: The call that it happened in; None for the root.
        start: Time of entry.
        end: Time of return.
        children: Calls that happened directly in it, in order.
        shape: Shape of the output if that is one tensor.
        outputs: Storages of the tensors that it returned.
    """

    path: str
    parent: Call | None
    start: int
    end: int = 0
    children: list[Call] = field(default_factory=list)
    shape: tuple[int, ...] | None = None
    outputs: tuple[int, ...] = ()


@dataclass(slots=True)
class Operation:
    """One tensor operation: the storages it read, and those it made or wrote."""

    time: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(slots=True)
class Recording:
    """One run.

    Attributes:
        root: The outermost call.
        calls: All calls by module name, in order.
        operations: All operations, in order.
        image: Storage of the input.
        names: Parameter and buffer names by storage; tied ones share a storage.
    """

    root: Call
    calls: dict[str, list[Call]]
    operations: list[Operation]
    image: int
    names: dict[int, tuple[str, ...]]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, whoever calls it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clock = 0
        self.operations: list[Operation] = []
        self._shapes = Shapes()
        self._alive: list[Tensor] = []  # a freed storage's number would be used again

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = self._shapes.run(func, args, kwargs)
        reads = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self._alive += outputs
        read = tuple(storage_of(tensor) for tensor in reads)
        written = {
            storage_of(leaf)
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for leaf in tree_leaves(value)
            if isinstance(leaf, Tensor)
        }
        # An output in a storage that was only read is a view: no new value.
        written |= {storage_of(tensor) for tensor in outputs} - set(read)
        self.clock += 1
        self.operations.append(Operation(self.clock, read, tuple(written)))
        return result


def record(module: nn.Module, images: Tensor) -> Recording:
    """Run ``module`` in eval mode on ``images`` (N, C, H, W) and record it.

    What enters a module is replaced by a copy of it, so that a use inside the module can be told
    from a use beside it. The module is left as it was.
    """
    recorder = _Recorder()
    calls: dict[str, list[Call]] = {}
    stack: list[Call] = []

    def enter(path: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        recorder.clock += 1
        call = Call(path, stack[-1] if stack else None, recorder.clock)
        if stack:
            stack[-1].children.append(call)
        stack.append(call)
        calls.setdefault(path, []).append(call)
        copied = tree_map_only(Tensor, torch.clone, (args, kwargs))
        # The copies are made at the very moment of entry.
        for operation in reversed(recorder.operations):
            if operation.time <= call.start:
                break
            operation.time = call.start
        recorder.clock = call.start
        return copied  # type: ignore[no-any-return]

    def leave(output: Any) -> None:
        call = stack.pop()
        recorder.clock += 1
        call.end = recorder.clock
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        call.outputs = tuple(storage_of(tensor) for tensor in tensors)
        if isinstance(output, Tensor):
            call.shape = tuple(output.shape)

    with _hooked(module, enter, leave), eval_mode(module), torch.no_grad(), recorder:
        module(images)
    names: dict[int, tuple[str, ...]] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        key = storage_of(tensor)
        names[key] = (*names.get(key, ()), name)
    return Recording(calls[""][0], calls, recorder.operations, storage_of(images), names)


@contextmanager
def _hooked(module: nn.Module, enter: Any, leave: Any) -> Iterator[None]:
    with ExitStack() as hooks:
        for path, child in module.named_modules():
            pre = child.register_forward_pre_hook(
                lambda _, args, kwargs, path=path: enter(path, args, kwargs), with_kwargs=True
            )
            post = child.register_forward_hook(lambda _, __, output: leave(output))
            hooks.callback(pre.remove)
            hooks.callback(post.remove)
        yield
