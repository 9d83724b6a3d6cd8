"""Tensor names: which tensors of two checkpoints are one, whatever their files call them.

Files that a library wrote have the names of its first version, or of another library; what is
trained here has the network's own. Needs no library of networks.
"""

from __future__ import annotations

from collections.abc import Collection

from zoo import plugins
from zoo.domain.manifest import Manifest, Tensor

__all__ = ["names_among", "tensors_as"]


def names_among(plugin: str, names: Collection[str], others: Collection[str]) -> dict[str, str]:
    """For each of ``names`` the one of ``others`` that is the same tensor of a network of
    ``plugin``; left out is what has none.
    """
    theirs = set(others)
    pairs = {name: name for name in names if name in theirs}
    left, free = set(names) - theirs, theirs - pairs.keys()
    if not left or not free:
        return pairs
    # Either may be the one with the network's own names.
    there = plugins.own_names(plugin, others, names)
    back = {own: other for other, own in plugins.own_names(plugin, names, others).items()}
    for name in sorted(left):
        other = there.get(name, "") if there.get(name) in free else back.get(name, "")
        if other in free:
            pairs[name] = other
            free.remove(other)  # a stranger's file may have two names for one
    return pairs


def tensors_as(names: Collection[str], base: Manifest) -> dict[str, Tensor]:
    """The tensors of ``base`` by those of ``names`` that mean them, or else by their own."""
    tensors = {tensor.name: tensor for tensor in base.tensors}
    among = names_among(base.backbone.plugin, tensors, names)
    return {among.get(name, name): tensor for name, tensor in tensors.items()}
