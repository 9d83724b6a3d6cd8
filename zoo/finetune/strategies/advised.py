"""The strategy ``auto`` where advice is known for the network, the images and their size."""

from __future__ import annotations

from dataclasses import replace

from zoo.domain.recipe import DEFAULTS, Recipe
from zoo.errors import InvalidOption
from zoo.finetune.setup.prepare import Prepared
from zoo.lookup.history import known_advice
from zoo.workspace import Workspace

__all__ = ["as_advised"]


def as_advised(workspace: Workspace, prepared: Prepared, asked: Recipe) -> tuple[Recipe, str]:
    """The recipe that `zoo.Zoo.advise` chose, and that in words; or the one that was ``asked`` for,
    where it leaves nothing open, nothing was advised, or only probes were compared.

    Options that are given count more: those of the advice are for what is left at its default.
    """
    if asked.strategy != "auto":
        return asked, ""
    size = prepared.network.planned.preprocessing.input_size[1:]
    known = known_advice(workspace, str(prepared.parent), prepared.dataset.digest, size)
    if known is None or not known.trained:
        return asked, ""
    given = {name for name, default in DEFAULTS.items() if getattr(asked, name) != default}
    options = {name: value for name, value in known.options.items() if name not in given}
    said = f"the advice of {known.at[:10]} for these images ({known.name})"
    try:
        recipe = replace(asked, **options)
    except (InvalidOption, TypeError) as error:
        return asked, f"{said} is not followed: {str(error).splitlines()[0]}"
    return recipe, f"{said} is followed"
