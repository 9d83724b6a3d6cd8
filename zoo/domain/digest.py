"""Digest: the name of immutable bytes, with the algorithm that made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from zoo.errors import InvalidReference

__all__ = ["Digest"]

ALGORITHMS = ("blake3", "sha256")
HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A 256-bit digest; prints as ``algorithm:hex``.

    Attributes:
        algorithm: ``blake3`` for names in the store, ``sha256`` for whole files.
        hex: 64 lower-case hexadecimal digits.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        # A digest becomes a file name: nothing but hex may get through.
        if self.algorithm not in ALGORITHMS or not HEX.fullmatch(self.hex):
            raise InvalidReference(f"not a digest: '{self.algorithm}:{self.hex}'")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``.

        Raises:
            InvalidReference: The text is not a digest.
        """
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)

    @property
    def short(self) -> str:
        """The first twelve hex digits, for tables."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
