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


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """``cases`` of a long test: each ``step``-th; those between only with `make test-whole`."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)),
                     marks=pytest.mark.whole if number % step else ())
        for number, case in enumerate(cases)
    ]  # fmt: skip
