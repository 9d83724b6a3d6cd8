"""The order of networks: after probes of all, and after short runs of the finalists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.ranking.combine import combined, finalists, in_order
from zoo.ranking.differences import level, paired_error, significant_pairs
from zoo.ranking.outcome import Finals
from zoo.ranking.ranked import OrderedBy, Ranked

__all__ = ["by_finals", "by_probes", "ordered_by"]


def by_probes(rows: Sequence[Ranked], groups: Sequence[str], top: int) -> tuple[Ranked, ...]:
    """Those that were measured, the best first, then the others as they are; ``groups`` are those
    of the images. That a network is larger is no result: such a prior counts only for who is tried.
    """
    pairs = [(row, row.measured) for row in rows if row.measured]
    if not pairs:
        return tuple(rows)
    scores = [measured.score for _, measured in pairs]
    strengths = [row.prior.strength for row, _ in pairs]
    by_image = [torch.tensor(measured.scores) for _, measured in pairs]
    if pairs[0][0].prior.kind == "size":
        values = combined([None] * len(pairs), scores)
    else:
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


def ordered_by(rows: Sequence[Ranked], finals: Finals | None) -> OrderedBy:
    """What orders ``rows`` that are not seen to differ. Short runs do once all finalists took part,
    and training gained anything, or all was tried, so that it is known to gain nothing.
    """
    chosen = [row for row in rows if row.finalist]
    took_part = bool(chosen) and all(row.outcomes for row in chosen)
    tried = all(any(one.kind == "training" for one in row.outcomes) for row in chosen)
    gained = any(row.trained for row in rows)
    if finals and took_part and (gained or (tried and finals.complete)):
        return "short runs"
    sized = any(row.measured and row.prior.kind == "size" for row in rows)
    return "score" if sized else "prior and score"


def by_finals(
    rows: Sequence[Ranked], finals: Finals, groups: Sequence[str], judged: Sequence[str] = ()
) -> tuple[Ranked, ...]:
    """The ``rows`` with what short runs came to, on images of these ``groups``. If training gained
    anything, the finalists are compared anew, each by what counts: those that are not seen to be
    behind the best come first. Else they are compared by the scores that they have, on images of
    the groups ``judged``. Of those that are within one standard error of the best the quickest
    comes first, then the better one. All others keep their places; so do all, where a finalist
    could take no part, or not all was tried.
    """
    rows = [replace(row, outcomes=finals.networks.get(str(row.manifest), ())) for row in rows]
    if ordered_by(rows, finals) != "short runs":
        return tuple(rows)
    gained = any(row.trained for row in rows)
    if gained:
        rows = _compared(rows, groups)
    places = [at for at, row in enumerate(rows) if row.outcomes and not row.behind]
    alike = [rows[at] for at in places]
    for at, row in zip(places, _level_first(alike, groups, judged, gained=gained), strict=True):
        rows[at] = row
    return tuple(rows)


def _level_first(
    rows: Sequence[Ranked], groups: Sequence[str], judged: Sequence[str], *, gained: bool
) -> list[Ranked]:
    pairs = [(row, row.measured) for row in rows if row.measured]
    if gained:
        by_image = [_scores(row) for row, _ in pairs]
    else:
        by_image, groups = [torch.tensor(measured.scores) for _, measured in pairs], judged
    means, near = level(by_image, groups)

    def rank(at: int) -> tuple[bool, float]:
        return not near[at], pairs[at][1].ms if near[at] else -means[at]

    return [pairs[at][0] for at in sorted(range(len(pairs)), key=rank)]


def _compared(rows: list[Ranked], groups: Sequence[str]) -> list[Ranked]:
    """With who is seen to be behind the best finalist; first those that are not."""
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
    return sorted(rows, key=lambda row: row.behind or not row.outcomes)


def _scores(row: Ranked) -> Tensor:
    """Of each image; NaN where the network was not asked."""
    return torch.tensor([math.nan if x is None else x for x in row.outcomes[0].scores])
