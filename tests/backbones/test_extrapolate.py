"""What is given for many images, from what is given for two and for three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.backbones.extrapolate import extrapolated, hollow

LIKE = torch.zeros(())


def given(two: Any, three: Any, count: int = 7) -> Any:
    """Of one call of one module."""
    found = extrapolated([[two]], [[three]], count)
    return found[0][0] if found else None


def empty(*shape: int) -> Tensor:
    return hollow(LIKE, shape)


def test_shapes_grow_with_the_images() -> None:
    found = given(empty(2, 5, 4), empty(3, 5, 4))
    assert (found.shape, found.untyped_storage().nbytes()) == ((7, 5, 4), LIKE.nbytes)
    assert given(empty(8, 3), empty(12, 3)).shape == (28, 3)  # four windows of each
    assert given(empty(3, 2), empty(4, 2)).shape == (8, 2)  # one more than images


def test_what_is_the_same_for_all_images_stays() -> None:
    table = torch.arange(6.0).reshape(2, 3)
    assert given(table, table.clone()) is table
    assert given((table, None, 4, "x"), (table, None, 4, "x"))[1:] == (None, 4, "x")


def test_what_is_repeated_for_each_image_is_repeated() -> None:
    token = torch.arange(4.0).reshape(1, 4)
    found = given(token.repeat(2, 1), token.repeat(3, 1))
    assert torch.equal(found, token.repeat(7, 1))
    assert found.is_contiguous()


def test_what_does_not_tell_is_not_guessed() -> None:
    rows = torch.arange(9.0).reshape(3, 3)
    assert given(rows[:2], rows) is None  # each row another: what comes next?
    assert given(2, 3) is None
    assert given(2, 2.0) is None
    assert given(empty(2, 3), empty(3, 3, 1)) is None
    assert given(empty(2, 3), torch.ones(3, 3)) is None
    assert given([empty(2)], (empty(3),)) is None
    assert extrapolated([[1, 1]], [[1]], 7) is None  # called once less
