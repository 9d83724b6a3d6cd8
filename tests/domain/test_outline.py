"""Whether tensors are those of an outline, and with how many outputs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.manifest import Preprocessing
from zoo.domain.outline import Outline, Shape

PART = {"modules": ("a",), "parameters": ("a.w",), "buffers": (), "params": 4, "cut": True}
HEAD = HeadPart(modules=("fc",), parameters=(), buffers=(), params=8, shape=(1, 2), cut=True)
UNIT = Unit(name="a", stage="a", depth=0, shape=None, **PART)  # type: ignore[arg-type]
OUTLINE = Outline(
    hierarchy=Hierarchy(architecture="net", units=(UNIT,), head=HEAD),
    shapes={"a.w": (4,), "fc.weight": (2, 4), "fc.bias": (2,)},
    outputs=2,
    per_output=("fc.weight", "fc.bias"),
    preprocessing={
        "": Preprocessing(
            input_size=(3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic",
            crop_pct=0.9, crop_mode="center",
        )
    },
    settings={"input_size": [3, 8, 8]},
)  # fmt: skip
ENCODER = replace(OUTLINE, shapes={"a.w": (4,)}, outputs=0, per_output=())


@pytest.mark.parametrize(
    ("weight", "bias", "outputs"),
    [
        ((2, 4), (2,), 2),
        ((7, 4), (7,), 7),
        ((7, 4), (2,), None),
        ((7, 5), (7,), None),
        ((0, 4), (0,), None),  # it is built without a head then
        ((), (), None),
    ],
)
def test_a_head_of_any_number_of_outputs_fits(
    weight: Shape, bias: Shape, outputs: int | None
) -> None:
    found = {"a.w": (4,), "fc.bias": bias, "fc.weight": weight}
    assert OUTLINE.fits(found) == outputs
    assert OUTLINE.fits({**found, "a.w": (5,)}) is None
    assert OUTLINE.fits({**found, "more": (1,)}) is None
    assert OUTLINE.fits({name: shape for name, shape in found.items() if name != "a.w"}) is None


def test_an_encoder_has_no_outputs() -> None:
    assert ENCODER.fits({"a.w": (4,)}) == 0
    assert ENCODER.fits({"a.w": (4,), "fc.weight": (2, 4)}) is None


def test_it_is_plain_data() -> None:
    assert Outline.from_json(OUTLINE.to_json()) == OUTLINE
