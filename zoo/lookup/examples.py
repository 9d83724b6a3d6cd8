"""Examples: small images of classes, and of what was taken for what, which a run keeps on request.

examples.png    all of them beside and below each other; pixels, and nothing else of their files
examples.json   what each of them shows
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLUMNS", "EXAMPLES", "MOST", "SHEET", "SIDE", "Example", "Examples"]

EXAMPLES, SHEET = "examples.json", "examples.png"
SIDE, COLUMNS = 64, 16
"""Pixels of an image, which is a square; images in a row of the sheet."""
MOST = 256
"""Images of a sheet: a megabyte or two."""


@dataclass(frozen=True, slots=True)
class Example:
    """What an image shows: its class, and the one that it was taken for; empty: its own."""

    true: str
    predicted: str = ""


@dataclass(frozen=True, slots=True)
class Examples:
    """What the images of a sheet show, row by row.

    Attributes:
        side: Pixels of an image.
        columns: Images in a row.
        shown: What each shows.
    """

    side: int
    columns: int
    shown: tuple[Example, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        return self.columns * self.side, -(-len(self.shown) // self.columns) * self.side

    def place(self, number: int) -> tuple[int, int]:
        """Where an image is in the sheet: from the left, and from the top."""
        return number % self.columns * self.side, number // self.columns * self.side
