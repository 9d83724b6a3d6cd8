"""Build a registered network, and find its head by running it once on the meta device."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.backbones.record import Recording, record
from zoo.backbones.untrained import on_meta
from zoo.domain.manifest import Preprocessing
from zoo.domain.surgery import BuildOptions, adapted_preprocessing
from zoo.errors import Unsupported
from zoo_torch.registered import Network, find

__all__ = ["Built", "Map", "build", "built"]


@dataclass(frozen=True, slots=True)
class Built:
    """What a network that was built here carries as ``module.zoo_torch``: the name that it is
    registered under, what its factory was given, how images become its input, the path of its head
    (None for an encoder), and the shape of what enters that, or leaves an encoder, for one image.
    """

    name: str
    options: dict[str, Any]
    preprocessing: Preprocessing
    head: str | None
    features: tuple[int, ...]

    @property
    def num_features(self) -> int:
        """Size of the dimension that holds features: the second of four, or the last."""
        return self.features[1 if len(self.features) == 4 else -1]


def built(module: nn.Module) -> Built:
    """What is known of a network that `build` made."""
    return cast(Built, module.zoo_torch)


def build(name: str, options: BuildOptions) -> nn.Module:
    """The network ``name`` with untrained weights; raises as `zoo_torch.registered.find` does."""
    network = find(name)
    image_size, channels = options.image_size, options.channels
    preprocessing = adapted_preprocessing(network.preprocessing, image_size, channels)
    # An encoder's number of classes is recorded as 0.
    num_classes = options.num_classes or None
    chosen = {"num_classes": num_classes, "image_size": image_size, "channels": channels}
    parameters = inspect.signature(network.factory).parameters
    taken = {key: chosen[key] for key in chosen if chosen[key] is not None and key in parameters}
    if (
        preprocessing.input_size[0] != network.preprocessing.input_size[0]
        and "channels" not in taken
    ):
        raise Unsupported(f"the factory of the network '{name}' takes no 'channels'")
    module = _built(name, network, taken)
    head, features = _examined(
        name, network.head, _probe(name, network, taken, module), preprocessing
    )
    module.zoo_torch = Built(name, taken, preprocessing, head, features)  # type: ignore[assignment]
    if num_classes and "num_classes" not in taken:
        _set_outputs(module, num_classes)
    return module


class Map(nn.Module):
    """Outputs as a map of one place."""

    def forward(self, outputs: Tensor) -> Tensor:
        """From (N, K) to (N, K, 1, 1)."""
        return outputs[..., None, None]


def _built(name: str, network: Network, options: dict[str, Any]) -> nn.Module:
    try:
        module = network.factory(**options)
    except Exception as error:
        raise Unsupported(f"the network '{name}' cannot be made: {error}") from error
    if not isinstance(module, nn.Module):
        raise Unsupported(f"the factory of '{name}' gives a {type(module).__name__}, no nn.Module")
    return module


def _probe(name: str, network: Network, options: dict[str, Any], module: nn.Module) -> nn.Module:
    """Another one like ``module``, on the meta device."""
    with on_meta():
        probe = _built(name, network, options)
    if probe is module:
        raise Unsupported(f"the factory of '{name}' gives one module again and again, not new ones")
    if torch.empty(0).is_meta:  # get_default_device of torch 2.7 heeds no `with`
        module.to("meta")  # a copy, or what was loaded, was made elsewhere
    return probe.to("meta")


def _examined(
    name: str, head: str | None, probe: nn.Module, preprocessing: Preprocessing
) -> tuple[str | None, tuple[int, ...]]:
    """Where the head is, and the shape of its input (or of an encoder's output)."""
    shapes: dict[str, tuple[int, ...]] = {}

    def enter(path: str, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            shapes[path] = tuple(args[0].shape)

    with ExitStack() as hooks:
        for path, child in probe.named_modules():
            note = child.register_forward_pre_hook(lambda _, args, path=path: enter(path, args))
            hooks.enter_context(note)
        try:
            recording = record(probe, torch.zeros(1, *preprocessing.input_size, device="meta"))
        except Exception as error:
            size = " x ".join(map(str, preprocessing.input_size))
            raise Unsupported(
                f"'{name}' cannot be run on an image of {size}, its preprocessing's size: {error}"
            ) from error
    if recording.root.shape is None:
        raise Unsupported(f"'{name}' gives something else than one tensor")
    layer = _last_layer(probe, recording) if head is None else head or None
    if layer is None:
        return None, recording.root.shape
    if layer not in shapes:
        raise Unsupported(f"'{name}' has no head at '{layer}': no such module gets one tensor")
    return layer, shapes[layer]


def _last_layer(module: nn.Module, recording: Recording) -> str | None:
    """The fully connected layer or 1x1 convolution that runs last and gives the outputs."""
    calls = [
        (call[-1].start, path)
        for path, call in recording.calls.items()
        if path and any(True for _ in module.get_submodule(path).parameters(recurse=False))
    ]
    _, path = max(calls, default=(0, ""))
    layer = module.get_submodule(path)
    shape = recording.root.shape or ()
    if isinstance(layer, nn.Linear):
        outputs = layer.out_features
    elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        outputs = layer.out_channels
    else:
        return None
    return path if shape == (1, outputs) else None


def _set_outputs(module: nn.Module, outputs: int) -> None:
    """Give the network's own head so many outputs, which its factory cannot, where it is one layer.

    Any other head stays: weights that do not fit it are refused by whoever loads them.
    """
    head = built(module).head
    old = module if head is None else module.get_submodule(head)
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, outputs, bias=old.bias is not None)
    elif isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1):
        new = nn.Conv2d(old.in_channels, outputs, 1, bias=old.bias is not None)
    else:
        return
    module.set_submodule(cast(str, head), new)
