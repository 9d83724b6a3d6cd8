"""Groups of images that stay in one part: of one patient, of one video, or copies of one another.

A network that was trained on one of them knows the others: figures on these would be too good.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Row

__all__ = ["ALL", "FOLDER", "allot", "by_rule", "is_rule", "joined"]

FOLDER = "folder"
ALL = -1
"""In the place of a label: all images, whatever they show."""


def is_rule(group_by: str) -> bool:
    """Whether it is no column of a table, but a rule on paths: ``folder``, or a pattern with a
    group in it.
    """
    return group_by == FOLDER or "(" in group_by


def by_rule(rows: Iterable[Row], group_by: str) -> list[Row]:
    """The rows with the groups that their paths name; a problem where one names none.

    ``folder`` takes the folder that an image lies in, below that of its class; a regular expression
    that is found in the path takes its first group.

    Raises:
        InvalidOption: It is neither.
    """
    rule = _of_folder if group_by == FOLDER else _of_pattern(group_by)
    grouped = []
    for row in rows:
        group = rule(row)
        problem = "" if group else f"has no group: --group-by {group_by} finds none in its path"
        grouped.append(replace(row, group=group, problem=row.problem or problem))
    return grouped


def _of_folder(row: Row) -> str:
    name = PurePosixPath(row.key).parent.name
    return "" if name == row.label else name


def _of_pattern(text: str) -> Callable[[Row], str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InvalidOption(f"--group-by {text} is not a regular expression: {error}") from error
    if not pattern.groups:
        raise InvalidOption(
            f"--group-by {text} has no group in it: put what names the patient, say, in (…)"
        )

    def named(row: Row) -> str:
        match = pattern.search(row.key)
        return (match[1] or "") if match else ""

    return named


def joined(rows: Sequence[Row], digests: Mapping[str, str]) -> list[Row]:
    """The rows with groups put together that share an image; what is alone has none.

    ``digests`` are of images, by key; where there is none, an image has no copies. This is
    union-find: each name points at another one of its set, and at last at the set's own.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (higher := above.setdefault(name, name)) != name:
            above[name] = name = above.setdefault(higher, higher)
        return name

    for row in rows:
        names = [f"key {row.key}"]
        names += [f"group {row.group}"] if row.group else []
        names += [f"copy {digests[row.key]}"] if row.key in digests else []
        for name in names[1:]:
            one, other = sorted((top(names[0]), top(name)))
            above[other] = one
    tops = [top(f"key {row.key}") for row in rows]
    sizes = Counter(tops)
    return [
        replace(row, group=name if sizes[name] > 1 else "")
        for row, name in zip(rows, tops, strict=True)
    ]


def allot(
    labels: Sequence[Iterable[int]],
    groups: Sequence[str],
    shares: Sequence[float],
    seed: int,
    every: bool = False,
) -> list[int]:
    """A part for each item, the same for all of a group; each part has its share of each label as
    nearly as groups allow.

    The largest groups are handed out first, each to the part where the squared distance from its
    share of the counts grows least. Every label is in the first part.

    Args:
        labels: Of each item.
        groups: Of each item; empty: it is alone.
        shares: Of each part, 1 together; 0: it stays empty.
        seed: Of the order among groups of one size.
        every: Whether the other parts should have each label, too, where it is in several groups.
    """
    blocks = _blocks(labels, groups, seed)
    total = Counter[int]()
    for block in blocks:
        total.update(block.counts)
    handed_out = [Counter[int]() for _ in shares]
    used = [part for part, share in enumerate(shares) if share]

    def worse(part: int, block: Block) -> tuple[float, float]:
        """How much the squared distance grows; rounded, so that equal ones are equal anywhere."""
        counts, share = handed_out[part], shares[part]
        grown = sum(
            count * (2 * (counts[name] - share * total[name]) + count) / total[name]
            for name, count in block.counts.items()
        )
        return round(grown, 9), counts[ALL] / share

    for block in blocks:
        block.part = min(used, key=lambda part: worse(part, block))
        handed_out[block.part].update(block.counts)
    _mend(blocks, used, sorted(total) if every else [ALL])
    parts = [0] * len(groups)
    for block in blocks:
        for at in block.items:
            parts[at] = block.part
    return parts


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


def _mend(blocks: list[Block], used: list[int], needed: Sequence[int]) -> None:
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
                spare = (b for b in of(label, 0) if all(len(of(x, 0)) > 1 for x in b.counts))
                for block in spare:
                    block.part = part
                    break
