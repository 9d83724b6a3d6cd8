"""LoRA: layers whose weight is W + B A, of which A and B alone are trained.

The layer computes with the sum itself, as if it were its weight, so that a network gives the same
bits with the adapter beside its weights and merged into them, and so that code which reads a
layer's weight without calling the layer (BEiT, Swin, attention in torch) gets the sum, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain.adapter import FACTORS, is_factor
from zoo.errors import InvalidWeights

__all__ = ["adaptable", "attach", "corrected", "factors", "insert", "merge", "split"]

A, B = FACTORS
Pair = tuple[Tensor, Tensor]
"""A (rank, inputs, …) and B (outputs, rank, 1, …) for a weight (outputs, inputs, …)."""


def weight_of(layer: nn.Module) -> str | None:
    """The name of the weight that an adapter corrects in a layer; None where there is no such."""
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
        return "weight"
    joined = isinstance(layer, nn.MultiheadAttention) and "in_proj_weight" in layer._parameters
    return "in_proj_weight" if joined else None


def adaptable(module: nn.Module, paths: Iterable[str], rank: int) -> Iterator[str]:
    """Those of the layers at ``paths`` that an adapter of this rank makes smaller to train.

    Not a layer whose weight is another's, too, or that is never trained.
    """
    uses = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    for path in paths:
        layer = module.get_submodule(path)
        weight = layer._parameters.get(weight_of(layer) or "")
        if weight is None or not weight.requires_grad or uses.count(id(weight)) > 1:
            continue
        if rank * (len(weight) + weight[0].numel()) < weight.numel():
            yield path


def insert(module: nn.Module, paths: Iterable[str], rank: int, seed: int) -> None:
    """Give the layers at ``paths`` untrained adapters, which change nothing yet: B is zero."""
    generator = torch.Generator().manual_seed(seed)
    for path in paths:
        layer = module.get_submodule(path)
        weight = layer._parameters[str(weight_of(layer))]
        assert weight is not None
        one = torch.empty(rank, *weight.shape[1:])
        bound = 1 / math.sqrt(one[0].numel())  # as linear layers begin
        one.uniform_(-bound, bound, generator=generator)
        _correct(layer, (one, torch.zeros(_shapes(weight, rank)[1])))


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors by name without the factors of an adapter, and these."""
    own = {name: tensor for name, tensor in state.items() if not is_factor(name)}
    return own, {name: tensor for name, tensor in state.items() if is_factor(name)}


def attach(module: nn.Module, tensors: Mapping[str, Tensor], rank: int, *, name: str) -> None:
    """Correct the layers of a network by the factors in ``tensors``.

    Nothing is computed, so that what a stranger wrote takes no memory before it is seen to fit.

    Raises:
        InvalidWeights: They are not of this rank, or not of its layers; ``name`` says whose.
    """
    layers = dict(module.named_modules())
    paths = dict.fromkeys(each.rpartition(".")[0] for each in tensors)
    if not paths:
        raise InvalidWeights(name, "it has no tensors of the adapter that it should have")
    for path in paths:
        layer, pair = layers.get(path), (tensors.get(f"{path}.{A}"), tensors.get(f"{path}.{B}"))
        weight = layer._parameters.get(weight_of(layer) or "") if layer is not None else None
        if layer is None or weight is None:
            raise InvalidWeights(name, f"its adapter is for '{path}', no such layer of the network")
        for factor, key, shape in zip(pair, FACTORS, _shapes(weight, rank), strict=True):
            if factor is None or tuple(factor.shape) != shape or not factor.is_floating_point():
                seen = "missing" if factor is None else f"{factor.dtype} {tuple(factor.shape)}"
                raise InvalidWeights(
                    name, f"'{path}.{key}' of its adapter is {seen}, not of the shape {shape}"
                )
    for path in paths:
        _correct(layers[path], (tensors[f"{path}.{A}"], tensors[f"{path}.{B}"]))


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Make the sums the weights, in memory of their own, and take the adapter off."""
    for layer in list(module.modules()):
        if factors(layer):
            name = str(weight_of(layer))
            whole = getattr(layer, name).detach()
            layer.__class__ = type(layer).__bases__[0]
            for key in FACTORS:
                delattr(layer, key)
            setattr(layer, name, nn.Parameter(whole))


def factors(layer: nn.Module) -> Pair | None:
    """A and B of a layer, if it is corrected."""
    own = layer._parameters
    return (own[A], own[B]) if A in own and B in own else None  # type: ignore[return-value]


def corrected(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """W + B A, computed in float32 whatever autocast says, of the dtype of W."""
    with torch.autocast(weight.device.type, enabled=False):
        product = b.flatten(1).float() @ a.flatten(1).float()
        return (weight.float() + product.view(weight.shape)).to(weight.dtype)


def _shapes(weight: Tensor, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (rank, *weight.shape[1:]), (len(weight), rank, *[1] * (weight.dim() - 2))


def _correct(layer: nn.Module, pair: Pair) -> None:
    for key, value in zip(FACTORS, pair, strict=True):
        layer.register_parameter(key, nn.Parameter(value))
    kind: Any = type(layer)
    layer.__class__ = _kind(kind, str(weight_of(layer)))


@cache
def _kind(kind: type[nn.Module], name: str) -> type[nn.Module]:
    """``kind`` with a weight that is the sum. The parameter itself stays where it is, so that the
    state dict, and whoever asks for parameters, see W, A and B by their names.
    """

    def weight(layer: nn.Module) -> Tensor:
        base, pair = layer._parameters[name], factors(layer)
        assert base is not None
        assert pair is not None
        return corrected(base, *pair)

    return type(kind.__name__, (kind,), {name: property(weight), "__module__": kind.__module__})
