"""Select parameters by what they are: biases, or those of normalization."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from zoo.domain.hierarchy import Hierarchy

__all__ = ["biases", "lowest_unit", "norm_parameters"]


def biases(module: nn.Module) -> Iterator[str]:
    """Names of biases, those of norms and of joined projections (``q_bias``) too.

    Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning", ACL 2022.
    """
    return (
        name
        for name, _ in module.named_parameters()
        if (last := name.rpartition(".")[2]) == "bias" or last.endswith("_bias")
    )


def norm_parameters(module: nn.Module) -> Iterator[str]:
    """Names of the weights and biases of normalization layers, which their classes are called
    after in every library.
    """
    for path, child in module.named_modules():
        if "norm" in type(child).__name__.lower():
            for name, parameter in child.named_parameters(path, recurse=False):
                if parameter.dim() and max(parameter.shape) == parameter.numel():
                    yield name


def lowest_unit(hierarchy: Hierarchy, names: frozenset[str]) -> int:
    """The depth of the first unit that has a parameter of ``names``; that of the head if none."""
    depths = (unit.depth for unit in hierarchy.units if not names.isdisjoint(unit.parameters))
    return min(depths, default=len(hierarchy.units))
