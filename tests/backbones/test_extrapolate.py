"""What is given for many images, from what is given for two and for three."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zoo.backbones.extrapolate import Hollow, extrapolated, filled

LIKE = torch.zeros(())
TABLE = torch.arange(9.0).reshape(3, 3)


def given(two: Any, three: Any) -> Any:
    """For seven images, by one call of one module; None: nothing is told."""
    found = extrapolated([[two]], [[three]], 7)
    return found[0][0] if found else None


def empty(*shape: int) -> Hollow:
    return Hollow(LIKE, shape)


def test_shapes_grow_with_the_images() -> None:
    assert given(empty(2, 5, 4), empty(3, 5, 4)) == empty(7, 5, 4)
    assert given(empty(8, 3), empty(12, 3)) == empty(28, 3)  # four windows of each
    assert given((empty(2), empty(1, 2)), (empty(3), empty(1, 3))) == (empty(7), empty(1, 7))


def test_what_is_the_same_for_all_images_stays() -> None:
    assert given(TABLE, TABLE.clone()) is TABLE
    assert given((TABLE, None, 4, "x"), (TABLE, None, 4, "x"))[1:] == (None, 4, "x")


@pytest.mark.parametrize(
    ("two", "three"),
    [
        (TABLE[:2], TABLE),
        (torch.ones(2, 4), torch.ones(3, 4)),
        (torch.ones(2, 2), torch.ones(3, 3)),
        (torch.tensor(2), torch.tensor(3)),
        (torch.ones(2), torch.ones(2).double()[:1]),
        (2, 3),
        (2, 2.0),
        (empty(2, 3), empty(3, 3, 1)),
        (empty(2, 3), torch.ones(3, 3)),
        (torch.ones(2, 3), empty(3, 3)),
        (empty(4, 3), empty(4, 3)),  # padded to four
        (empty(2, 3), empty(4, 3)),  # to an even number
        (empty(3, 3), empty(4, 3)),
        (empty(2, 3), empty(1, 3)),
        ([empty(2)], (empty(3),)),
    ],
)
def test_what_does_not_tell_is_not_guessed(two: Any, three: Any) -> None:
    assert given(two, three) is None


def test_a_module_must_be_called_as_often() -> None:
    assert extrapolated([[1, 1]], [[1]], 7) is None


def test_hollow_ones_are_filled_without_memory() -> None:
    [[outputs]] = filled([[(empty(7, 5), TABLE)]])
    assert isinstance(outputs, tuple)
    tensor, table = outputs
    assert isinstance(tensor, torch.Tensor)
    assert (tuple(tensor.shape), tensor.dtype) == ((7, 5), LIKE.dtype)
    assert tensor.untyped_storage().nbytes() == LIKE.nbytes
    assert table is TABLE
