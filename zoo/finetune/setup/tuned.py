"""Tuned: which parameters of a network's units a strategy trains, where these are not all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import nn

from zoo.backbones.selected import biases, norm_parameters
from zoo.domain.hierarchy import Hierarchy, Unit
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.errors import InvalidOption
from zoo.finetune.setup.network import Network

__all__ = ["tuned_names"]

SELECTED: Mapping[str, Callable[[nn.Module], Iterable[str]]] = {
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
