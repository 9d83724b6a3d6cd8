from __future__ import annotations

import json

import pytest

from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.errors import InvalidFreeze

STAGES = {"stem": "stem", "layer1.0": "layer1", "layer1.1": "layer1", "layer2.0": "layer2"}


@pytest.fixture
def hierarchy() -> Hierarchy:
    """A stem, a stage of two units and a stage of one."""
    units = tuple(
        Unit(
            name=name,
            stage=stage,
            depth=depth,
            modules=(name,),
            parameters=(f"{name}.weight",),
            buffers=(),
            params=10,
            shape=(1, 4, 8, 8) if depth else None,
            cut=True,
        )
        for depth, (name, stage) in enumerate(STAGES.items())
    )
    head = HeadPart(
        modules=("fc",), parameters=("fc.weight",), buffers=(), params=5, shape=(1, 3), cut=True
    )
    return Hierarchy(architecture="toynet", units=units, head=head)


@pytest.mark.parametrize(
    ("spec", "frozen"),
    [
        ("none", 0),
        ("all", 4),
        ("stem", 1),
        ("layer1.0", 2),
        ("layer1", 3),
        ("layer2", 4),
        ("layer2.0", 4),
        ("0", 0),
        ("3", 3),
        ("4", 4),
        ("-0", 4),
        ("-1", 3),
        ("-4", 0),
        ("0%", 0),
        ("24.9%", 0),
        ("25%", 1),
        ("50%", 2),
        ("74%", 2),
        ("75%", 3),
        ("99.9%", 3),
        ("100%", 4),
        (" layer1 ", 3),
    ],
)
def test_boundary(hierarchy: Hierarchy, spec: str, frozen: int) -> None:
    assert hierarchy.boundary(spec) == frozen


@pytest.mark.parametrize("share", ["28%", "29%", "57%", "58%"])
def test_a_share_that_is_whole_is_not_rounded_down(hierarchy: Hierarchy, share: str) -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point.
    units = tuple(hierarchy.units[0] for _ in range(100))
    many = Hierarchy(architecture="deep", units=units, head=hierarchy.head)
    assert many.boundary(share) == int(share[:-1])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("5", "toynet has 4 units"),
        ("-5", "toynet has 4 units"),
        ("101%", "at most 100%"),
        ("100.1%", "at most 100%"),
        ("-5%", "no unit or stage"),
        ("half", "no unit or stage"),
        ("1.5", "no unit or stage"),
        ("All", "no unit or stage"),
        ("fc", "no unit or stage"),
        ("", "no unit or stage"),
        ("%", "no unit or stage"),
    ],
)
def test_a_spec_that_fits_nothing_is_refused(hierarchy: Hierarchy, spec: str, reason: str) -> None:
    with pytest.raises(InvalidFreeze, match=reason) as caught:
        hierarchy.boundary(spec)
    assert caught.value.spec == spec


@pytest.mark.parametrize(
    ("spec", "near"), [("layer3", {"layer1", "layer2"}), ("layer1.7", {"layer1.0"}), ("zzz", set())]
)
def test_near_names_are_suggested(hierarchy: Hierarchy, spec: str, near: set[str]) -> None:
    with pytest.raises(InvalidFreeze) as caught:
        hierarchy.boundary(spec)
    assert near <= set(caught.value.near)
    assert bool(near) == bool(caught.value.near)


def test_a_boundary_is_named_after_the_unit_that_follows(hierarchy: Hierarchy) -> None:
    names = [hierarchy.boundary_name(boundary) for boundary in range(5)]
    assert names == ["stem", "layer1.0", "layer1.1", "layer2.0", "head"]


def test_figures_of_the_whole(hierarchy: Hierarchy) -> None:
    assert hierarchy.params == 45
    assert hierarchy.stages == ("stem", "layer1", "layer2")


def test_json_is_read_back_equal(hierarchy: Hierarchy) -> None:
    assert Hierarchy.from_json(json.loads(json.dumps(hierarchy.to_json()))) == hierarchy
