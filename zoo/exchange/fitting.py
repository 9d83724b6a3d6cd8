"""Of several descriptions of a network, the one that its own weights fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from zoo.domain.digest import Digest
from zoo.errors import InvalidWeights, MissingPackage, UnknownName, Unsupported

__all__ = ["first_that_fits"]

T = TypeVar("T")

UNFIT = (InvalidWeights, MissingPackage, UnknownName, Unsupported)


def first_that_fits(described: Sequence[T], keep: Callable[[T], Digest]) -> Digest:
    """What ``keep`` makes of the first description whose weights are those of its network.

    Raises:
        InvalidWeights, MissingPackage, UnknownName, Unsupported: None is; why the first is not.
    """
    refusals = []
    for each in described:
        try:
            return keep(each)
        except UNFIT as error:
            refusals.append(error)
    raise refusals[0]
