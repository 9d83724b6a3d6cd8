"""McNemar's exact test, as SciPy has it."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from zoo.domain.paired import EXACT, Paired, mcnemar


@pytest.mark.parametrize(
    ("better", "worse"),
    [(0, 0), (1, 0), (3, 3), (2, 0), (6, 0), (1, 9), (500, 500), (480, 520), (EXACT, 0),
     (700, 301), (560, 500), (10_300, 10_000), (20_000, 3)],
)  # fmt: skip
def test_p_is_that_of_a_binomial_test(better: int, worse: int) -> None:
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(float(expected), rel=1e-8)
    assert mcnemar(worse, better) == mcnemar(better, worse)


def test_in_words() -> None:
    many = Paired(images=93, better=9, worse=1, test="mcnemar", p=mcnemar(9, 1))
    assert many.in_words("a", "b") == "they differ on 10 of 93 images, p = 0.021: a is better"
    few = Paired(images=93, better=1, worse=2, test="mcnemar", p=mcnemar(1, 2))
    assert (
        few.in_words("a", "b") == "they differ on 3 of 93 images, p = 1: no difference can be seen"
    )
