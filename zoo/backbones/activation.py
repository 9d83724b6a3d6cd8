"""The activation that directly follows a unit, where it belongs to no unit.

AlexNet's and VGG's last hidden layer has its own as a module between the last unit and the head;
DenseNet's last norm is followed by a function in the network's own code. What is learned from such
a unit is learned from what the activation gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Activation", "Following", "watching"]

NAMES = "gelu hardswish leaky_relu relu relu6 silu"
ACTIVATIONS = {getattr(functional, name) for name in NAMES.split()} | {
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}
"""What is looked for behind a unit; modules such as `nn.ReLU` call them, too."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A call of a function, as the network does it. It can be copied and pickled.

    Attributes:
        function: One of `ACTIVATIONS`.
        rest: What it gets after the tensor.
        options: What it gets by name, but for the tensor.
    """

    function: Callable[..., Tensor]
    rest: tuple[object, ...] = ()
    options: dict[str, object] = field(default_factory=dict)

    def __call__(self, tensor: Tensor) -> Tensor:
        """What it makes of ``tensor``, which stays as it is."""
        # It may write into what it gets, which others may hold.
        return self.function(tensor.clone(), *self.rest, **self.options)


class Following(TorchFunctionMode):
    """Watches for activations of what was seen, outside of the units' modules.

    Attributes:
        behind: What was found, by the name that was seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.behind: dict[str, Activation] = {}
        self._inside = 0
        self._seen: dict[int, tuple[str, object]] = {}

    def see(self, name: str, value: object) -> None:
        """Look for what is done with ``value``, and call it ``name``."""
        self._seen[id(value)] = name, value  # kept alive: another would have its number

    def enter(self, *_: object) -> None:
        """A unit's module runs from now on."""
        self._inside += 1

    def leave(self, *_: object) -> None:
        """It returned."""
        self._inside -= 1

    def __torch_function__(
        self,
        func: Callable[..., Tensor],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> Tensor:
        keywords = kwargs or {}
        if func in ACTIVATIONS and not self._inside:
            (value, *rest) = args or (keywords["input"],)
            if id(value) in self._seen:
                options = {name: option for name, option in keywords.items() if name != "input"}
                name, _ = self._seen[id(value)]
                self.behind[name] = Activation(func, tuple(rest), options)
        return func(*args, **keywords)


@contextmanager
def watching(module: nn.Module, owned: Iterable[str]) -> Iterator[Following]:
    """Watch runs of ``module`` outside of the modules at the paths ``owned``, those of units and
    of the head.
    """
    following = Following()
    with ExitStack() as hooks:
        for path in owned:
            child = module.get_submodule(path)
            hooks.enter_context(child.register_forward_pre_hook(following.enter))
            # Always: the run of a truncated network ends by an exception.
            hooks.enter_context(child.register_forward_hook(following.leave, always_call=True))
        hooks.enter_context(following)
        yield following
