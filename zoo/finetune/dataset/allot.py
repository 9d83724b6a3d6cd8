"""Allot items to parts, so that groups stay together and each part has its share of each label."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["allot"]

ALL = -1
"""In the place of a label: all images, whatever they show."""


def allot(
    labels: Sequence[Iterable[int]],
    groups: Sequence[str],
    shares: Sequence[float],
    seed: int,
    every: bool = False,
    seen: Sequence[bool] = (),
) -> list[int]:
    """A part for each item with its labels, the same for all of a group; "" is no group.

    Each part has its share of each label as nearly as groups allow, of 0 none at all: the largest
    groups are handed out first, each to the part where the squared distance from its share of the
    counts grows least. ``seed`` orders groups of one size. Every label is in the first part; with
    ``every`` also in the others, where it is in several groups.

    Groups of which an item is ``seen`` are not in the last part, but for labels of which the others
    are less than half of its share there.
    """
    blocks = _blocks(labels, groups, seed)
    for block in blocks:
        block.seen = bool(seen) and any(seen[at] for at in block.items)
    shelves = _Shelves(shares, blocks)
    rest = shelves.unseen_first(blocks) if any(block.seen for block in blocks) else blocks
    last = len(shares) - 1
    for block in rest:
        fits = not block.seen or shelves.lacking.issuperset(block.counts.keys() - {ALL} or {ALL})
        shelves.hand_out(block, [part for part in shelves.used if fits or part != last])
    _mend_blocks(blocks, shelves.used, sorted(shelves.total) if every else [ALL])
    parts = [0] * len(groups)
    for block in blocks:
        for at in block.items:
            parts[at] = block.part
    return parts


class _Shelves:
    """The parts, and how many of each label they have."""

    def __init__(self, shares: Sequence[float], blocks: Sequence[Block]) -> None:
        self.shares, self.total = shares, Counter[int]()
        for block in blocks:
            self.total.update(block.counts)
        self.handed_out = [Counter[int]() for _ in shares]
        self.used = [part for part, share in enumerate(shares) if share]
        self.lacking: set[int] = set()
        """Labels of which what is not seen is too few for the last part."""

    def worse(self, part: int, block: Block) -> tuple[float, float]:
        """How much the squared distance grows; rounded, so that equal ones are equal anywhere."""
        counts, share, total = self.handed_out[part], self.shares[part], self.total
        grown = sum(
            count * (2 * (counts[name] - share * total[name]) + count) / total[name]
            for name, count in block.counts.items()
        )
        return round(grown, 9), counts[ALL] / share

    def hand_out(self, block: Block, parts: Sequence[int]) -> None:
        """Give it to that of the ``parts`` where it fits best."""
        block.part = min(parts, key=lambda part: self.worse(part, block))
        self.handed_out[block.part].update(block.counts)

    def unseen_first(self, blocks: Sequence[Block]) -> list[Block]:
        """Give what is not seen to the last part, then to others but the first; what is left."""
        last, given = len(self.shares) - 1, set[Block]()
        for part in reversed(self.used[1:]):
            others = [block for block in blocks if not block.seen and block not in given]
            left = sum(len(block.items) for block in others)
            # Some are to be trained on.
            if part != last and left < 2 * self.shares[part] * self.total[ALL]:
                continue
            for block in others:
                if self.worse(part, block)[0] < 0:
                    self.hand_out(block, [part])
                    given.add(block)
        share, counts = self.shares[last], self.handed_out[last]
        self.lacking = {
            name for name, all_ in self.total.items() if counts[name] < share * all_ / 2
        }
        return [block for block in blocks if block not in given]


def _blocks(labels: Sequence[Iterable[int]], groups: Sequence[str], seed: int) -> list[Block]:
    """A block for each group, the largest first."""
    members: dict[str, list[int]] = defaultdict(list)
    for at, group in enumerate(groups):
        members[group or f"alone {at}"].append(at)
    blocks = [
        Block(items, Counter(label for at in items for label in (ALL, *labels[at])))
        for items in members.values()
    ]
    random.Random(f"{seed} groups").shuffle(blocks)  # noqa: S311 - a split, not a secret
    return sorted(blocks, key=lambda block: -len(block.items))


@dataclass(eq=False)
class Block:
    """Items that stay together, how many have each label, and the part that they go to."""

    items: list[int]
    counts: Counter[int]
    part: int = 0
    seen: bool = False


def _mend_blocks(blocks: list[Block], used: list[int], needed: Sequence[int]) -> None:
    """Every label in the first part; then those that are ``needed`` in the others, where the first
    can spare a group.
    """

    def of(label: int, part: int) -> list[Block]:
        """The smallest first."""
        return [b for b in reversed(blocks) if b.part == part and label in b.counts]

    for label in sorted({label for block in blocks for label in block.counts}):
        if not of(label, 0):
            next(block for part in used[1:] for block in of(label, part)).part = 0
    for part in reversed(used[1:]):
        for label in needed:
            if not of(label, part):
                of_first = sorted(of(label, 0), key=lambda block: block.seen)
                spare = (b for b in of_first if all(len(of(x, 0)) > 1 for x in b.counts))
                for block in spare:
                    block.part = part
                    break
