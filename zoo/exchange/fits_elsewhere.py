"""Which network of another library refused weights are of, among those that are called alike. It
imports torch, and the libraries that have such names.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from zoo import plugins
from zoo.backbones.untrained import on_meta
from zoo.domain.near import near_names
from zoo.errors import ZooError
from zoo.exchange.wrappers import wrapped_in

__all__ = ["fits_elsewhere"]

GROUP = "zoo.backbones"
HEAD_TENSORS = 2
"""So many tensors may have another shape: a head with other outputs."""
Shapes = Mapping[str, tuple[int, ...]]


def fits_elsewhere(plugin: str, architecture: str, shapes: Shapes) -> str:
    """What to add to the refusal of weights as those of ``architecture``: that they are those of
    another plugin's network whose name is near; empty if they are of none.
    """
    prefix = wrapped_in(shapes)
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    for other in plugins.names(GROUP):
        if other == plugin:
            continue
        with suppress(ZooError):  # a plugin that cannot be used has no network for anybody
            for name in near_names(architecture, plugins.architectures(other)):
                if _fits(_shapes_of(other, name), own):
                    return f"; its names and shapes are those of {other}/{name}"
    return ""


def _shapes_of(plugin: str, architecture: str) -> Shapes:
    with plugins.blaming(GROUP, plugin), on_meta():
        module = plugins.backbone(plugin).build(architecture)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _fits(theirs: Shapes, own: Shapes) -> bool:
    other = [name for name in own if own[name] != theirs.get(name)]
    return own.keys() == theirs.keys() and len(other) <= HEAD_TENSORS
