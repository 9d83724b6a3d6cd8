"""Digest: the name of immutable bytes, with the algorithm that made it."""

from __future__ import annotations

import re
from typing import Self

from zoo.errors import InvalidReference

__all__ = ["Digest", "digests_in", "digits_of"]

TEXT = re.compile(r"(?:blake3|sha256):[0-9a-f]{64}")
IN_TEXT = re.compile(rb"blake3:[0-9a-f]{64}")
BEGINNING = re.compile(r"blake3:([0-9a-f]{4,64})|([0-9a-f]{8,64})")


def digits_of(text: str) -> str:
    """The first digits of a BLAKE3 digest, as people write it: four or more behind the algorithm,
    or eight or more alone, which could be a word else. Empty if ``text`` is neither.
    """
    match = BEGINNING.fullmatch(text)
    return match[1] or match[2] if match else ""


class Digest(str):
    """A 256-bit digest: the text ``algorithm:hex``, as manifests and messages have it.

    A text, so that hashing and comparing thousands of them, in sets and tables, costs next to
    nothing; no other text is one.
    """

    __slots__ = ()

    def __new__(cls, algorithm: str, digits: str) -> Self:
        """The digest ``algorithm:digits``; raises as `parse`.

        Args:
            algorithm: ``blake3`` for names in the store, ``sha256`` for whole files.
            digits: 64 lower-case hexadecimal digits.
        """
        return cls.parse(f"{algorithm}:{digits}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.algorithm, self.hex)  # else it would be copied as one text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``.

        Raises:
            InvalidReference: The text is not a digest.
        """
        # A digest becomes a file name: nothing but hex may get through.
        if not TEXT.fullmatch(text):
            raise InvalidReference(f"not a digest: '{text}'")
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """``blake3`` or ``sha256``."""
        return self[:6]

    @property
    def hex(self) -> str:
        """The digits."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first twelve hex digits, for tables."""
        return self.hex[:12]


def digests_in(data: bytes) -> set[Digest]:
    """All names in the store that a document has, whatever its format: manifests and snapshots of
    any version write them so.
    """
    return {Digest.parse(each.decode()) for each in IN_TEXT.findall(data)}
