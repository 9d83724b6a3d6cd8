"""Which of two networks is better is told either way, and only by more than chance explains."""

from __future__ import annotations

import pytest

from zoo.domain.paired import Paired, mcnemar


@pytest.mark.parametrize(
    ("better", "worse", "first", "words"),
    [(9, 1, True, "a is better"), (1, 9, False, "b is better"),
     (2, 1, False, "no difference can be seen"), (0, 0, False, "no difference can be seen")],
)  # fmt: skip
def test_which_is_better(better: int, worse: int, first: bool, words: str) -> None:
    found = Paired(images=93, better=better, worse=worse, test="mcnemar", p=mcnemar(better, worse))
    assert found.first_is_better is first
    assert found.in_words("a", "b").endswith(f": {words}")


def test_of_groups_groups_are_counted() -> None:
    found = Paired(images=93, groups=12, better=2, worse=1, test="sign", p=mcnemar(2, 1))
    assert found.in_words("a", "b").startswith("they differ on 3 of 12 groups of images,")
