"""Matrix: how many images of each class were taken for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["Matrix"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """How many images of each class were predicted to be of each.

    Attributes:
        classes: Their names.
        counts: A row for each class that images show, a column for each that was predicted.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def sound(self) -> bool:
        """Whether it is a square of whole numbers that are not negative."""
        square = [len(self.classes)] * len(self.classes)
        fine = all(type(count) is int and count >= 0 for row in self.counts for count in row)
        return fine and bool(self.classes) and [*map(len, self.counts)] == square

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read what was written as plain data.

        Raises:
            ValueError: It is no matrix.
        """
        classes = data.get("classes") if isinstance(data, Mapping) else None
        counts = data.get("counts") if isinstance(data, Mapping) else None
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("its matrix has no classes")
        if not isinstance(counts, list) or not all(isinstance(row, list) for row in counts):
            raise ValueError("its matrix has no counts")
        matrix = cls(tuple(classes), tuple(map(tuple, counts)))
        if not matrix.sound:
            raise ValueError("its matrix is no square of counts")
        return matrix
