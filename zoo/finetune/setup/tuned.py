"""Tuned: which parameters of a network's units a strategy trains, where these are not all; and
adapters, which have to be there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain

from torch import nn

from zoo.backbones.lora import adaptable, insert
from zoo.backbones.selected import biases, norm_parameters
from zoo.domain.adapter import FACTORS, is_factor
from zoo.domain.hierarchy import Hierarchy, Unit
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.errors import InvalidOption
from zoo.finetune.setup.network import Network

__all__ = ["tuned_names", "with_adapters"]

SELECTED: Mapping[str, Callable[[nn.Module], Iterable[str]]] = {
    "lora": lambda model: (name for name, _ in model.named_parameters() if is_factor(name)),
    "bitfit": biases,
    "norms": norm_parameters,
}


def tuned_names(recipe: Recipe, network: Network, hierarchy: Hierarchy) -> frozenset[str] | None:
    """Names of the parameters of units that the recipe trains; None: all of those not frozen.

    Raises:
        InvalidOption: The units that it trains in have none of the kind.
        UnknownName: No unit or stage has a name that it gives.
    """
    if recipe.strategy not in ADAPTERS:
        return None
    units = _units(recipe, hierarchy)
    within = {name for unit in units for name in unit.parameters}
    tuned = within.intersection(SELECTED[recipe.strategy](network.model))
    if not tuned:
        named = f"in {units[0].name} and above" if units else "where all units are frozen"
        raise InvalidOption(
            f"the strategy {recipe.strategy} has nothing to train: "
            f"{network.planned.backbone.architecture} has no {ADAPTERS[recipe.strategy]} {named}"
        )
    return frozenset(tuned)


def with_adapters(recipe: Recipe, model: nn.Module, hierarchy: Hierarchy) -> Hierarchy:
    """Give the units that the recipe trains in untrained adapters; the units with these.

    Raises:
        UnknownName: No unit or stage has a name that it gives.
    """
    added: dict[int, list[str]] = {}
    for unit in _units(recipe, hierarchy):
        layers = dict.fromkeys(name.rpartition(".")[0] for name in unit.parameters)
        added[unit.depth] = [*adaptable(model, layers, recipe.rank)]
    insert(model, chain.from_iterable(added.values()), recipe.rank, recipe.seed)
    units = [_with(unit, added.get(unit.depth, ())) for unit in hierarchy.units]
    return replace(hierarchy, units=tuple(units))


def _with(unit: Unit, layers: Iterable[str]) -> Unit:
    factors = (f"{layer}.{factor}" for layer in layers for factor in FACTORS)
    return replace(unit, parameters=(*unit.parameters, *factors))


def _units(recipe: Recipe, hierarchy: Hierarchy) -> tuple[Unit, ...]:
    """Those that the recipe names, or does not freeze."""
    (phase,) = recipe.plan()
    if recipe.at == "head":
        return hierarchy.units[hierarchy.boundary(phase.freeze) :]
    for name in recipe.units:
        hierarchy.find(name)
    return tuple(
        unit for unit in hierarchy.units if {unit.name, unit.stage}.intersection(recipe.units)
    )
