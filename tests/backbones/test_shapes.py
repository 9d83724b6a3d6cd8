"""Operations without bytes: those alike are run once, and nothing else is different."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
import torch
from fakes.sampled import sampled
from torch import Tensor
from torch._ops import OpOverload

from zoo import plugins
from zoo.backbones.record import Shapes, storage_of

ATEN = torch.ops.aten
IMAGES = torch.zeros(2, 3, 4, 4, device="meta")


class Counted:
    """An operation that knows how often it was run."""

    def __init__(self, func: Any) -> None:
        self.func, self._schema, self.runs = func, func._schema, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return self.func(*args, **kwargs)


def runs(func: Any, *calls: tuple[Any, ...]) -> tuple[int, list[Any]]:
    """How often ``func`` was run for these calls, and what they gave."""
    counted, shapes = Counted(func), Shapes()
    return_values = [shapes.run(cast("OpOverload", counted), args, {}) for args in calls]
    return counted.runs, return_values


def test_alike_ones_are_run_once_and_give_tensors_of_their_own() -> None:
    another = torch.zeros_like(IMAGES)
    times, (one, two) = runs(ATEN.add.Tensor, (IMAGES, IMAGES), (another, IMAGES))
    assert times == 1
    assert (one.shape, one.stride(), one.dtype) == (two.shape, two.stride(), two.dtype)
    assert storage_of(one) != storage_of(two)


def test_several_outputs_are_several_again() -> None:
    call = (IMAGES, [4], None, None, 1e-5)
    times, (one, two) = runs(ATEN.native_layer_norm.default, call, call)
    assert times == 1
    assert [part.shape for part in one] == [part.shape for part in two]
    assert len({storage_of(part) for part in (*one, *two)}) == 6


@pytest.mark.parametrize(
    ("func", "calls"),
    [
        (ATEN.add.Tensor, [(IMAGES, IMAGES), (IMAGES, IMAGES[:1])]),
        (ATEN.add.Tensor, [(IMAGES, IMAGES), (IMAGES, IMAGES.transpose(2, 3))]),
        (ATEN.add.Tensor, [(IMAGES, IMAGES), (IMAGES, IMAGES.double())]),
        (ATEN.mul.Scalar, [(IMAGES.long(), 2), (IMAGES.long(), 2.0), (IMAGES.long(), True)]),
        (ATEN.mean.dim, [(IMAGES, [2, 3]), (IMAGES, [2, 3], True), (IMAGES, [2])]),
    ],
)
def test_what_differs_is_run_itself(func: Any, calls: list[tuple[Any, ...]]) -> None:
    times, found = runs(func, *calls)
    assert times == len(calls)
    for args, value in zip(calls, found, strict=True):
        expected: Tensor = func(*args)
        assert (value.shape, value.dtype) == (expected.shape, expected.dtype)


def test_views_and_writes_are_run_each_time() -> None:
    for func, call in (
        (ATEN.view.default, (IMAGES, [2, 48])),
        (ATEN._unsafe_view.default, (IMAGES, [2, 48])),
        (ATEN.add_.Tensor, (IMAGES, IMAGES)),
    ):
        times, found = runs(func, call, call)
        assert times == 2
        assert {storage_of(tensor) for tensor in found} == {storage_of(IMAGES)}


def test_bytes_are_computed_with() -> None:
    ones = torch.ones(2)
    times, (one, two) = runs(ATEN.add.Tensor, (ones, ones), (ones * 2, ones))
    assert times == 2
    assert (one.tolist(), two.tolist()) == ([2, 2], [3, 3])


@pytest.mark.parametrize(
    "architecture",
    sampled(["test_resnet", "test_vit", "test_convnext"], ["test_resnet", "test_vit"]),
)
def test_hierarchies_are_as_if_each_was_run(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = plugins.backbone("timm")
    with torch.device("meta"):
        module = backbone.build(architecture)
    run, counts = Shapes.run, Counter[str]()

    def counted(self: Shapes, func: Any, args: Any, kwargs: Any) -> Any:
        counts["asked"] += 1
        wrapped = Counted(func)
        result = run(self, cast("OpOverload", wrapped), args, kwargs)
        counts["run"] += wrapped.runs
        return result

    monkeypatch.setattr(Counted, "__eq__", lambda one, other: one.func is other.func)
    monkeypatch.setattr(Counted, "__hash__", lambda one: hash(one.func))
    monkeypatch.setattr(Shapes, "run", counted)
    found = backbone.hierarchy(architecture, module)
    assert counts["run"] < counts["asked"]
    monkeypatch.setattr(Shapes, "run", lambda _, func, args, kwargs: func(*args, **kwargs))
    assert backbone.hierarchy(architecture, module) == found
