"""Outline: what building an architecture once has told of it. Pure data, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from zoo.domain.hierarchy import Hierarchy, tuples
from zoo.domain.manifest import Preprocessing
from zoo.domain.plain import Json

__all__ = ["Outline"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An architecture as its library builds it: enough to see whether weights fit.

    Attributes:
        hierarchy: Its units.
        shapes: Of all tensors that a file of its weights holds.
        outputs: Of its own head; 0 if it has none.
        per_output: The tensors whose first dimension is the number of outputs, whatever that is;
            all others stay as they are.
        preprocessing: By pretrained tag; "" is the one that it has where no tag is named.
        settings: What its library has for it where nothing else is asked for.
    """

    hierarchy: Hierarchy
    shapes: Mapping[str, Shape]
    outputs: int
    per_output: tuple[str, ...]
    preprocessing: Mapping[str, Preprocessing]
    settings: Mapping[str, Any]

    def fits(self, tensors: Mapping[str, Shape]) -> int | None:
        """The number of outputs with which the network has exactly these tensors; None: none."""
        heads = [tensors[name] for name in self.per_output if tensors.get(name)]
        outputs = heads[0][0] if heads else self.outputs
        if heads and not outputs:
            return None  # without outputs it is built without a head
        changed = {name: (outputs, *self.shapes[name][1:]) for name in self.per_output}
        return outputs if dict(tensors) == {**self.shapes, **changed} else None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Inverse of `to_json`."""
        return cls(
            hierarchy=Hierarchy.from_json(data["hierarchy"]),
            shapes={name: tuple(shape) for name, shape in data["shapes"].items()},
            outputs=data["outputs"],
            per_output=tuple(data["per_output"]),
            preprocessing={
                tag: Preprocessing(**tuples(how)) for tag, how in data["preprocessing"].items()
            },
            settings=data["settings"],
        )
