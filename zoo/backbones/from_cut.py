"""Forward from a cut: run the part of a network above it, from recorded inputs at the cut.

Below a cut that nothing trains, every epoch computes the same. What enters the first unit above it
is recorded once; from then on all modules below are stubs that give tensors of the recorded shapes
without computing them, and the record is fed in at the cut. What they give whatever the image is,
such as tables of positions, they go on giving. That this changes nothing is what makes a boundary a
cut (`zoo.backbones.liveness`), and is proven network by network with stubs that give NaN
(`zoo.testing.cuts`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten
from torch.utils.hooks import RemovableHandle

from zoo.backbones.extrapolate import CallOutputs, Hollow, extrapolated, filled
from zoo.backbones.freeze import parametric
from zoo.backbones.record import tensors_in
from zoo.domain.hierarchy import Hierarchy

__all__ = ["CutInputs", "FromCut", "entry_of"]

CutInputs = tuple[tuple[Any, ...], dict[str, object]]
"""Positional and keyword arguments of the first module above a cut."""

Nested = TypeVar("Nested")
PreHook = Callable[..., CutInputs | None]

FEW = (2, 3)
"""Numbers of images from which outputs for larger numbers are extrapolated."""


class FromCut:
    """A network, frozen below one of its cuts, that runs forward from there: behind its first
    ``boundary`` units, or, if these are all, before the head.
    """

    def __init__(self, module: nn.Module, hierarchy: Hierarchy, boundary: int) -> None:
        self.module = module
        self.hierarchy = hierarchy
        self.boundary = boundary
        self._entry = module.get_submodule(entry_of(module, hierarchy, boundary))
        self._below = [
            module.get_submodule(path)
            for unit in hierarchy.units[:boundary]
            for path in unit.modules
        ]
        self._above: dict[nn.Module, Callable[..., object]] = {}  # what runs compiled, and as what
        self._outputs: dict[Hashable, CallOutputs] = {}
        self._few: dict[Hashable, tuple[CallOutputs, CallOutputs]] = {}
        self._learns: Callable[[CutInputs, Tensor], CallOutputs] = self._learn

    def into(self, copy: nn.Module) -> FromCut:
        """The same for a copy of the network, which will never be run below the cut."""
        other = FromCut(copy, self.hierarchy, self.boundary)
        other._outputs, other._learns = self._outputs, self._learns
        return other

    def compiled(self) -> FromCut:
        """The same with each unit above compiled by itself; the network runs as it is elsewhere.

        Units that are alike share what is compiled. The head, which those look into who want
        features, is not.
        """
        other = self.into(self.module)
        paths = (path for unit in self.hierarchy.units[self.boundary :] for path in unit.modules)
        for child in map(self.module.get_submodule, paths):
            # Containers are never called, and hooks, the feed among them, are none of `forward`.
            if type(child).forward is not nn.Module.forward and child not in self._below:
                other._above[child] = torch.compile(child.forward)
        return other

    @torch.no_grad()
    def record(self, images: Tensor) -> CutInputs:
        """The inputs of the first module above the cut for ``images`` (N, C, H, W).

        Nothing above is computed. The tensors may be views of one another.
        """
        with self._before_entry(_stop):
            try:
                self.module(images)
            except _StopForward as reached:
                return reached.inputs
        raise RuntimeError(f"{type(self.module).__name__} did not reach its cut")

    def forward(self, inputs: CutInputs, images: Tensor) -> Tensor:
        """The network's output for inputs at the cut, into which activations may write; with
        gradients, where they are enabled. Of ``images`` only shape, dtype and device matter.
        """
        key = (images.shape, images.dtype, images.device)
        if key not in self._outputs:
            self._outputs[key] = self._learns(inputs, images)
        outputs = self._outputs[key]
        with _compiling(self._above), self._stubbed(outputs), self._before_entry(_feed(inputs)):
            return cast(Tensor, self.module(images))

    def _learn(self, inputs: CutInputs, images: Tensor) -> CallOutputs:
        """The outputs of each module below for this number of images, call by call.

        They are extrapolated from few images, unless the network does not take so few, or does not
        reach its cut with them.
        """
        if len(images) > max(FEW):
            try:
                two, three = self._of_few(images)
                if larger := extrapolated(two, three, len(images)):
                    outputs, reached = self._filled(larger, images)
                    if _shapes(reached) == _shapes(inputs):
                        return outputs
            except torch.OutOfMemoryError:
                raise  # what follows takes more
            except Exception:  # noqa: BLE001, S110 - networks raise whatever they like
                pass
        return self._filled(self._observed(images), images)[0]

    def _of_few(self, images: Tensor) -> tuple[CallOutputs, CallOutputs]:
        # Without the number of images, which is what is extrapolated.
        key = (images.shape[1:], images.dtype, images.device)
        if key not in self._few:
            two, three = (self._observed(images[:few]) for few in FEW)
            self._few[key] = two, three
        return self._few[key]

    def _filled(self, outputs: CallOutputs, images: Tensor) -> tuple[CallOutputs, CutInputs]:
        light = filled(outputs)
        try:
            with self._stubbed(light):
                return light, self.record(images)
        except torch.OutOfMemoryError:
            raise  # copies take more
        except RuntimeError:  # the code between modules wants ordinary memory, to write into
            heavy = _copied(light)
            with self._stubbed(heavy):
                return heavy, self.record(images)

    @torch.no_grad()
    def _observed(self, images: Tensor) -> CallOutputs:
        """The outputs of each module below, call by call: values where they are the same for two
        batches of images that have not a pixel in common, else only the shape.
        """
        first: CallOutputs = [[] for _ in self._below]
        compared: CallOutputs = [[] for _ in self._below]

        def compare(at: int, output: object) -> None:
            call = len(compared[at])
            # By leaves: once torch.export is imported, the copy of a torch.Size is a tuple.
            before, form = tree_flatten(first[at][call])
            pairs = zip(before, tree_leaves(output), strict=True)
            compared[at].append(tree_unflatten([_same_or_hollow(*pair) for pair in pairs], form))
            first[at][call] = None  # one large batch in memory is enough

        # Copies: what comes next may write in place.
        self._watch(torch.zeros_like(images), lambda at, output: first[at].append(_copied(output)))
        self._watch(torch.ones_like(images), compare)
        return compared

    def _watch(self, images: Tensor, see: Callable[[int, object], object]) -> None:
        with ExitStack() as hooks:
            for at, child in enumerate(self._below):
                note = child.register_forward_hook(lambda _, __, output, at=at: see(at, output))
                hooks.enter_context(note)
            self.record(images)

    @contextmanager
    def _stubbed(self, outputs: CallOutputs) -> Iterator[None]:
        instead: dict[nn.Module, Callable[..., object]] = dict(self._above)
        for child, calls in zip(self._below, outputs, strict=True):
            instead[child] = _Stub(calls, child.forward)
        own = {child: child.__dict__.get("forward") for child in instead}
        for child, other in instead.items():
            child.__dict__["forward"] = other
        try:
            yield
        finally:
            for child, forward in own.items():
                del child.__dict__["forward"]
                if forward is not None:
                    child.__dict__["forward"] = forward

    def _before_entry(self, hook: PreHook) -> RemovableHandle:
        # First of all hooks: those of others run again on what is fed in, as on what was recorded.
        return self._entry.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)


def _compiling(modules: Collection[nn.Module]) -> AbstractContextManager[object]:
    """While so many modules run compiled, and may be of one class. Torch counts what it compiles of
    a function, in all modules that have it, and gives up beyond a limit.
    """
    if not modules:
        return nullcontext()
    from torch._dynamo import config  # loads the compiler

    most = len(modules) * config.recompile_limit
    together = max(config.accumulated_recompile_limit, most)
    patch: AbstractContextManager[object] = config.patch(
        recompile_limit=most, accumulated_recompile_limit=together
    )
    return patch


class _Stub:
    """In the place of ``forward``: gives for each call what it gave for that call before the cut.

    Calls past the cut are real: a module without parameters may serve on both sides (Visformer).
    """

    def __init__(self, outputs: list[object], forward: Callable[..., object]) -> None:
        self.left = iter(outputs)
        self.forward = forward

    def __call__(self, *args: object, **kwargs: object) -> object:
        for output in self.left:
            return tree_map_only(Tensor, _own, output)
        return self.forward(*args, **kwargs)


class _StopForward(Exception):
    """No error: it ends a run early."""

    def __init__(self, inputs: CutInputs) -> None:
        super().__init__()
        self.inputs = inputs


def _stop(_: nn.Module, *inputs: Any) -> None:
    raise _StopForward(inputs)


def _feed(inputs: CutInputs) -> PreHook:
    pending = [inputs]
    return lambda _, args, kwargs: pending.pop() if pending else (args, kwargs)


def _same_or_hollow(one: object, other: Tensor) -> object:
    if not isinstance(one, Tensor) or torch.equal(one, other):
        return one
    return Hollow(one.new_zeros(()), tuple(one.shape))


def _shapes(inputs: CutInputs) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors_in(inputs)]


def _own(tensor: Tensor) -> Tensor:
    """A copy of what has memory: code above the cut may write into it."""
    return tensor.clone() if tensor.is_contiguous() else tensor


def _copied(output: Nested) -> Nested:
    return cast(Nested, tree_map_only(Tensor, torch.clone, output))


def entry_of(module: nn.Module, hierarchy: Hierarchy, boundary: int) -> str:
    """The path of the first module above a cut."""
    if boundary == len(hierarchy.units):
        return hierarchy.head.modules[0]
    modules = hierarchy.units[boundary].modules
    return next(iter(parametric(module, modules)), modules[0])
