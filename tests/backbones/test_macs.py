"""Multiply-accumulates of units: what torch counts of the whole network, divided among them."""

from __future__ import annotations

import pytest
import torch
from fakes.sampled import sampled
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.backbones.trace import trace
from zoo.backbones.untrained import on_meta
from zoo.domain.hierarchy import Hierarchy
from zoo_timm.backbone import TimmBackbone
from zoo_timm.known import outline

KINDS = ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_lite0", "coat_tiny",
         "crossvit_tiny_240", "levit_128", "swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224",
         "xcit_nano_12_p8_224", "volo_d1_224", "mixer_s32_224")  # fmt: skip


def counted(module: nn.Module, size: tuple[int, int, int]) -> dict[str, int]:
    """Of each module, what torch counts; "" is the whole network."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *size, device="meta"))
    root = type(module).__name__
    found = {
        path.removeprefix(root).removeprefix("."): sum(each.values()) // 2
        for path, each in counter.get_flop_counts().items()
    }
    return {**found, "": counter.get_total_flops() // 2}


def total(hierarchy: Hierarchy) -> int:
    assert all(unit.macs is not None for unit in hierarchy.units)
    return sum(unit.macs or 0 for unit in hierarchy.units) + (hierarchy.head.macs or 0)


@pytest.mark.parametrize("architecture", sampled(KINDS, KINDS[:3]))
def test_none_is_lost_and_none_counts_twice(architecture: str) -> None:
    backbone = TimmBackbone()
    with on_meta():
        module = backbone.build(architecture).eval()
    size = backbone.preprocessing(module).input_size
    told = backbone.hierarchy(architecture, module)
    assert total(told) == counted(module, size)[""] > 0
    known = outline(architecture)
    assert known
    assert [unit.macs for unit in known.hierarchy.units] == [unit.macs for unit in told.units]
    assert known.hierarchy.head.macs == told.head.macs


def test_each_unit_has_those_of_its_modules_at_the_size_that_is_asked_for() -> None:
    backbone = TimmBackbone()
    with on_meta():
        module = backbone.build("test_resnet").eval()
    found = {}
    for side in (32, 160):
        told = backbone.hierarchy("test_resnet", module, input_size=(3, side, side))
        expected = counted(module, (3, side, side))
        for unit in told.units:
            assert unit.macs == sum(expected.get(path, 0) for path in unit.modules), unit.name
        assert told.head.macs == expected["fc"]
        found[side] = told
    first = found[32].units[0]
    # 3 x 3 of 3 channels to each of the first convolution's, at half the height and width.
    assert first.macs == 3 * 3 * 3 * 16 * 16 * 16
    assert total(found[160]) > 20 * total(found[32])


class Functional(nn.Module):
    """A network that multiplies outside of its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Of images (N, 8, 1, 1), logits (N, 2)."""
        hidden = self.one(images.flatten(1))
        hidden = hidden @ self.one.weight
        out: torch.Tensor = self.head(self.two(hidden))
        return out


def test_what_is_computed_between_units_is_of_the_one_before() -> None:
    told = trace("x", Functional(), input_size=(8, 1, 1), head=("head",))
    assert [(unit.name, unit.macs) for unit in told.units] == [("one", 128), ("two", 64)]
    assert told.head.macs == 16


def test_it_is_kept_and_an_older_hierarchy_has_none() -> None:
    told = trace("x", Functional(), input_size=(8, 1, 1), head=("head",))
    data = told.to_json()
    assert Hierarchy.from_json(data).units[0].macs == 128
    for part in (*data["units"], data["head"]):
        del part["macs"]
    older = Hierarchy.from_json(data)
    assert [unit.macs for unit in older.units] == [older.head.macs] * 2 == [None] * 2
    assert older == told, "the units are the same"
