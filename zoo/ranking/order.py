"""The order of networks: after probes of all, and after short runs of the finalists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.ranking.combine import combined, finalists, in_order
from zoo.ranking.differences import paired_error, significant_pairs
from zoo.ranking.outcome import Finals
from zoo.ranking.ranked import Ranked

__all__ = ["by_finals", "by_probes"]


def by_probes(rows: Sequence[Ranked], groups: Sequence[str], top: int) -> tuple[Ranked, ...]:
    """Those that were measured, the best first, then the others as they are; ``groups`` are those
    of the images.
    """
    pairs = [(row, row.measured) for row in rows if row.measured]
    if not pairs:
        return tuple(rows)
    scores = [measured.score for _, measured in pairs]
    strengths = [row.prior.strength for row, _ in pairs]
    by_image = [torch.tensor(measured.scores) for _, measured in pairs]
    values = combined(strengths, scores, paired_error(by_image, groups))
    differ = significant_pairs(by_image, groups)
    best = max(range(len(pairs)), key=lambda at: scores[at])
    behind = [(best, at) in differ for at in range(len(pairs))]
    order = in_order(values, behind)
    chosen = finalists(order, strengths, top)
    ranked = [
        replace(pairs[at][0], combined=values[at], behind=behind[at], finalist=at in chosen)
        for at in order
    ]
    return (*ranked, *(row for row in rows if not row.measured))


def by_finals(rows: Sequence[Ranked], finals: Finals, groups: Sequence[str]) -> tuple[Ranked, ...]:
    """The ``rows`` with what short runs came to. If training gained anything, the finalists are
    compared anew, each by what counts: those that are not seen to be behind the best come first.
    All others keep their places; so do all, where a finalist could take no part.
    """
    rows = [replace(row, outcomes=finals.networks.get(str(row.manifest), ())) for row in rows]
    missing = any(row.finalist and not row.outcomes for row in rows)
    if missing or not any(row.trained for row in rows):
        return tuple(rows)
    tried = [at for at, row in enumerate(rows) if row.outcomes]
    by_image = [_scores(rows[at]) for at in tried]
    differ = significant_pairs(by_image, groups)
    common = torch.stack(by_image).isfinite().all(dim=0)
    best = max(range(len(tried)), key=lambda one: by_image[one][common].mean().item())
    for one, at in enumerate(tried):
        # What training has not changed is as far behind as it was.
        before = rows[at].behind and not rows[at].trained
        behind = one != best and (before or (best, one) in differ)
        rows[at] = replace(rows[at], behind=behind)
    return tuple(sorted(rows, key=lambda row: row.behind or not row.outcomes))


def _scores(row: Ranked) -> Tensor:
    """Of each image; NaN where the network was not asked."""
    return torch.tensor([math.nan if x is None else x for x in row.outcomes[0].scores])
