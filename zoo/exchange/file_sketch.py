"""Samples of the weights in a file, to compare them with checkpoints here by nearness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.domain.manifest import Backbone
from zoo.exchange.wrappers import wrapped_in
from zoo.lookup.match import FileTensor, prefix_of
from zoo.lookup.parent import ParentFinder
from zoo.lookup.units import HEAD, units_like
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.store.nearness import Sketch

__all__ = ["file_sketch", "nearest_architecture"]


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A tensor of a file under the name that its network has for it."""

    name: str
    tensor: FileTensor

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def nbytes(self) -> int:
        return len(self.tensor.data)


def file_sketch(
    workspace: Workspace, backbone: Backbone, tensors: Mapping[str, FileTensor]
) -> Sketch:
    """The sample of a file's tensors as those of a network."""
    from zoo.store.nearness import sketch

    units = units_like(workspace, backbone, tensors)
    # A network that was never traced here has no names to compare with.
    matrix_names = [name for name, tensor in tensors.items() if len(tensor.shape) > 1]
    known = bool(units.tensors)
    prefix = prefix_of(tensors, units.tensors) if known else wrapped_in(matrix_names)

    def matrices() -> Iterator[_Matrix]:
        for name, tensor in tensors.items():
            own = units.own_name(name.removeprefix(prefix))
            if units.unit_of(own) != HEAD:
                yield _Matrix(own, tensor)

    return sketch(matrices(), lambda matrix: matrix.tensor.data)


def nearest_architecture(
    workspace: Workspace,
    plugin: str,
    fits: Mapping[str, Sequence[str]],
    tensors: Mapping[str, FileTensor],
) -> tuple[str, str]:
    """Of several architectures that a file ``fits``, each under some prefixes, that of the
    checkpoint here which it is nearest to, and who says so; empty if it is near none, or a file of
    several networks.
    """
    if len({tuple(prefixes) for prefixes in fits.values()}) != 1:
        return "", ""
    finder, near = ParentFinder(workspace), []
    for name in fits:
        if not workspace.registry.of_architecture(plugin, name, 1):
            continue
        backbone = Backbone(plugin=plugin, architecture=name)
        own = file_sketch(workspace, backbone, tensors)
        if parent := finder.nearest(backbone, own, {}, ()):
            near.append((parent.apart, name, parent.ref))
    if not near:
        return "", ""
    far, name, ref = min(near)
    return name, f"{ref}, from which it is {far:.2g} apart"
