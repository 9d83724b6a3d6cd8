"""The contact sheet of suspects: what is on it, and what is said below each image."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from zoo.advice.facts import Duplicate, Facts
from zoo.finetune.results.pictures import Tile

__all__ = ["sheet_of"]


def sheet_of(facts: Facts, most: int) -> dict[str, list[Tile]]:
    """The suspects of each kind, ``most`` images at most; those that show the same are side by
    side.
    """
    pairs = most // 2
    across = [pair for pair in facts.duplicates if pair.part != pair.other_part]
    within = [pair for pair in facts.duplicates if pair.part == pair.other_part]
    return {
        "in two splits": _side_by_side(across[:pairs]),
        "the same picture with two labels": _side_by_side(facts.contradictory[:pairs]),
        "labels that are doubted": [
            Tile(
                one.image,
                (
                    f"label {one.of_label:.2f}: {one.label}",
                    f"looks like {one.probability:.2f}: {one.predicted}",
                ),
            )
            for one in facts.doubted[:most]
        ],
        "the same picture twice": _side_by_side(
            [pair for pair in within if pair.label == pair.other_label][:pairs]
        ),
        "like no other image": [
            Tile(one.image, (one.label, f"{one.far:.1f} deviations away"))
            for one in facts.odd[:most]
        ],
    }


def _side_by_side(pairs: Iterable[Duplicate]) -> list[Tile]:
    return list(
        chain.from_iterable(
            (
                Tile(pair.image, (f"{pair.part}: {pair.label}",)),
                Tile(pair.other, (f"{pair.other_part}: {pair.other_label}",)),
            )
            for pair in pairs
        )
    )
