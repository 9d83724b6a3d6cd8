"""What a test runs over: a few for each change, the rest with ``make test-long``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

__all__ = ["every", "sampled"]


def sampled(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """``cases`` for ``parametrize``; those not among ``quick`` are long.

    Raises:
        ValueError: ``quick`` has something that is no case.
    """
    cases = list(cases)
    if unknown := [case for case in quick if case not in cases]:
        raise ValueError(f"no such cases: {unknown}")
    return [
        pytest.param(case, id=str(case), marks=() if case in quick else pytest.mark.long)
        for case in cases
    ]


def every(
    step: int, cases: Iterable[Any], *, beside: pytest.MarkDecorator = pytest.mark.whole
) -> list[Any]:
    """``cases``, of which those between each ``step``-th are marked: of a long test they are only
    for `make test-whole`, or with ``pytest.mark.long`` for `make test-long`.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)),
                     marks=beside if number % step else ())
        for number, case in enumerate(cases)
    ]  # fmt: skip
