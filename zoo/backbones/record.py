"""Record one run of a network: which modules are called when, and which values they hand on.

The network runs on the meta device, where a tensor has a shape but no bytes, so that the largest
networks cost no memory and a fraction of a second.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.flop_counter import flop_registry

from zoo.errors import Unsupported

__all__ = [
    "Call",
    "Operation",
    "Recording",
    "Shapes",
    "eval_mode",
    "meta_copy",
    "record",
    "storage_of",
    "tensors_in",
]


def storage_of(tensor: Tensor) -> int:
    """What tells the memory of one tensor from another's; views share it."""
    return int(tensor.untyped_storage()._cdata)


def tensors_in(*values: object) -> list[Tensor]:
    """All tensors in nested lists, tuples, dictionaries, and the like."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """While it is open, a module and all in it are in eval mode; afterwards each is as it was."""
    # One by one, as `train` of a frozen module does nothing (`zoo.backbones.freeze`).
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy of ``module`` on the meta device; it costs no memory, and running it hardly any time.

    Raises:
        Unsupported: Two of its parameters or buffers share bytes, but are not the same tensor.
            What else it holds raises what it likes when it is copied.
    """
    # deepcopy takes what is in the memo for a copy that is made already: no bytes are read.
    memo: dict[int, Tensor] = {}
    storages: set[int] = set()
    for _, tensor in (*module.named_parameters(), *module.named_buffers()):
        if storage_of(tensor) in storages:
            raise Unsupported("there is no meta copy of tensors that share bytes")
        storages.add(storage_of(tensor))
        like = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            like = nn.Parameter(like, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = like
    return copy.deepcopy(module, memo)


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
    """One tensor operation: the storages it read, and those it made or wrote; its
    multiply-accumulates, if it is a convolution or a product of matrices.
    """

    time: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    macs: int = 0


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


class Shapes:
    """Runs operations on tensors without bytes, those alike only once.

    torch finds the shape of a batch norm's output in a millisecond of Python. A network of a
    hundred equal blocks asks for the same one a hundred times: half the time of tracing it.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[list[Tensor], TreeSpec]] = {}

    def run(self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        """What ``func`` gives; new tensors on the meta device when the like was seen before.

        Operations that write to what they read, that give views of it or something else than
        tensors, and those that read any bytes are run each time.
        """
        tensors = tensors_in(args, kwargs)
        # An alias is no new tensor: it must share the storage of what it is a view of.
        aliases = any(argument.alias_info is not None for argument in func._schema.arguments)
        if not tensors or not all(tensor.is_meta for tensor in tensors) or aliases:
            return func(*args, **kwargs)
        key = (func, _key(args), _key(kwargs))
        if key in self._known:
            outputs, form = self._known[key]
            another = [
                torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="meta")
                for each in outputs
            ]
            return tree_unflatten(another, form)
        result = func(*args, **kwargs)
        outputs, form = tree_flatten(result)
        if _are_new(outputs, {storage_of(tensor) for tensor in tensors}):
            self._known[key] = (outputs, form)
        return result


def _key(value: object) -> Hashable:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(one)) for name, one in sorted(value.items()))
    return (type(value), value)  # 1, 1.0 and True are equal, and make different types of numbers


def _are_new(outputs: Sequence[object], read: set[int]) -> bool:
    """Whether all are tensors, each in a storage of its own."""
    storages = {storage_of(output) for output in outputs if isinstance(output, Tensor)}
    return len(storages) == len(outputs) and not storages & read


_Inputs = tuple[tuple[object, ...], dict[str, object]]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, whoever calls it, and is told of calls of modules."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clock = 0
        self.operations: list[Operation] = []
        self.calls: dict[str, list[Call]] = {}
        self._stack: list[Call] = []
        self._shapes = Shapes()
        self._alive: list[Tensor] = []  # a freed storage's number would be used again

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = self._shapes.run(func, args, kwargs or {})
        outputs = tensors_in(result)
        self._alive += outputs
        read = tuple(storage_of(tensor) for tensor in tensors_in(args, kwargs))
        written = {
            storage_of(tensor)
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tensors_in(value)
        }
        # An output in a storage that was only read is a view: no new value.
        written |= {storage_of(tensor) for tensor in outputs} - set(read)
        self.clock += 1
        count = flop_registry.get(func._overloadpacket)
        macs = count(*args, **(kwargs or {}), out_val=result) // 2 if count else 0
        self.operations.append(Operation(self.clock, read, tuple(written), macs))
        return result

    def enter(self, path: str, inputs: _Inputs) -> _Inputs:
        """A module is called; in the place of what enters it, a copy of that."""
        self.clock += 1
        call = Call(path, self._stack[-1] if self._stack else None, self.clock)
        if call.parent:
            call.parent.children.append(call)
        self._stack.append(call)
        self.calls.setdefault(path, []).append(call)
        copied: _Inputs = tree_map_only(Tensor, torch.clone, inputs)
        # The copies are made at the very moment of entry.
        for operation in reversed(self.operations):
            if operation.time <= call.start:
                break
            operation.time = call.start
        # Nor do they take time: what a parent computes before a call is told from what it computes
        # after it by times alone.
        self.clock = call.start
        return copied

    def leave(self, output: object) -> None:
        """The module that was entered last returned."""
        call = self._stack.pop()
        self.clock += 1
        call.end = self.clock
        call.outputs = tuple(storage_of(tensor) for tensor in tensors_in(output))
        if isinstance(output, Tensor):
            call.shape = tuple(output.shape)


def record(module: nn.Module, images: Tensor) -> Recording:
    """Run ``module`` in eval mode on ``images`` (N, C, H, W) and record it.

    What enters a module is replaced by a copy of it, so that a use inside the module can be told
    from a use beside it. The module is left as it was.
    """
    recorder = _Recorder()
    with ExitStack() as hooks, eval_mode(module), torch.no_grad(), recorder:
        for path, child in module.named_modules():
            pre = child.register_forward_pre_hook(
                lambda _, args, kwargs, path=path: recorder.enter(path, (args, kwargs)),
                with_kwargs=True,
            )
            hooks.enter_context(pre)
            hooks.enter_context(child.register_forward_hook(lambda *call: recorder.leave(call[-1])))
        module(images)
    names: dict[int, tuple[str, ...]] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        key = storage_of(tensor)
        names[key] = (*names.get(key, ()), name)
    root = recorder.calls[""][0]
    return Recording(root, recorder.calls, recorder.operations, storage_of(images), names)
