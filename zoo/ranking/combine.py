"""The order of networks: a measurement decides as far as it shows differences, then what is known
of the networks from elsewhere counts, too.

Prior knowledge (`zoo.ranking.prior`) and measured scores have different units. Both are expressed
in standard deviations from the mean of the networks that are compared, and count the same
(docs/adr/0042-ranking.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["combined", "finalists", "in_order", "standardized"]


def standardized(values: Sequence[float | None], error: float = 0.0) -> NDArray[np.float64]:
    """The values in standard deviations from their mean. An unknown value counts as the lowest of
    the known ones: to be unknown is no merit.

    Args:
        values: Of each network.
        error: The standard error of a value, which the networks do not share. The part of the
            spread that it explains says nothing about the networks, and is taken off.
    """
    known = np.array([np.nan if value is None else value for value in values], np.float64)
    if np.isfinite(known).sum() < 2 or not (variance := float(np.nanvar(known, ddof=1))):
        return np.zeros(len(known))
    reliable = max(1 - error * error / variance, 0.0)
    deviations: NDArray[np.float64] = reliable * (known - np.nanmean(known)) / np.sqrt(variance)
    return np.where(np.isnan(deviations), np.nanmin(deviations), deviations)


def combined(
    prior: Sequence[float | None], scores: Sequence[float], error: float = 0.0
) -> list[float]:
    """The mean of both, standardized; ``error`` is that of a score (`standardized`)."""
    both = standardized(prior) + standardized(scores, error)
    return [float(value) for value in both / 2]


def in_order(values: Sequence[float], behind: Sequence[bool]) -> list[int]:
    """Indices of networks, the best first: those that are seen to be ``behind`` the one with the
    best score come last. Otherwise the combined ``values`` decide.
    """
    return sorted(range(len(values)), key=lambda at: (behind[at], -values[at], at))


def finalists(order: Sequence[int], prior: Sequence[float | None], top: int) -> list[int]:
    """The first ``top``, and the one with the best prior, whatever was measured: a choice has to
    beat taking that one always (Renggli et al., "Which Model to Transfer?", CVPR 2022).
    """
    known = [at for at in order if prior[at] is not None]
    static = max(known, key=lambda at: prior[at] or 0.0, default=None)
    first = list(order[:top])
    return first if static is None or static in first else [*first, static]
