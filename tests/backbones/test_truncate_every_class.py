"""Truncation of each of timm's model classes, at units from the first to the last.

`make check-backbones` runs this. What was found is printed at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from backbones.smallest import CLASSES
from torch import Tensor, nn

from zoo.backbones.load import assign
from zoo.backbones.surgery import SurgeryBackbone
from zoo.backbones.taps import Tap
from zoo.backbones.untrained import on_meta
from zoo.domain.surgery import Surgery
from zoo.errors import Unsupported
from zoo.testing.backbones import check_coverage
from zoo_timm.backbone import TimmBackbone

pytestmark = pytest.mark.backbones

REFUSED = {
    "CrossVit": ["patch_embed.0"],
    "LevitDistilled": ["stages.2.blocks.3"],
    "RepVit": ["stages.3.blocks.1"],
    "SelecSls": ["features.3"],
    "TNT": ["blocks.4"],
}
"""Units where these classes cannot end; ``docs/surgery.md`` says why."""
SIDES = (64, 128)
"""Of images for networks that take any: their own are not needed to see that bits are equal."""


@torch.no_grad()
def tapped(module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    """What leaves the tap's module in a run of the whole network, pooled."""
    left: list[Tensor] = []
    with module.get_submodule(tap.path).register_forward_hook(
        # The rest of a pair is a size or coordinates; and what follows may write into it.
        lambda _, __, out: left.append((out if isinstance(out, Tensor) else out[0]).clone())
    ):
        module(images)
    (output,) = left
    output = tap.activation(output) if tap.activation else output
    places = [d for d in range(1, output.dim()) if d != tap.dimension]
    return output.mean(places) if places else output


def input_size(plugin: TimmBackbone, module: nn.Module) -> tuple[int, int, int]:
    """The smallest size of images that was found to do; the network is on the meta device."""
    channels, *native = plugin.preprocessing(module).input_size
    for side in SIDES:
        # Each class refuses what does not fit in a way of its own.
        with suppress(AssertionError, RuntimeError, ValueError):
            module.eval()(torch.zeros(1, channels, side, side, device="meta"))
            return channels, side, side
    return channels, native[0], native[1]


@pytest.mark.parametrize("architecture", CLASSES.values(), ids=CLASSES.keys())
def test_truncated_is_tapped(
    architecture: str, record_property: Callable[[str, object], None]
) -> None:
    """Bit for bit; and what is left is described in full."""
    plugin = TimmBackbone()
    torch.manual_seed(0)
    whole = plugin.build(architecture).eval()
    with on_meta():
        meta = plugin.build(architecture)
    units = plugin.hierarchy(architecture, meta).units
    images = torch.randn(1, *input_size(plugin, meta))
    depths = sorted({1, max(len(units) // 2, 1), len(units)})
    refused: dict[str, str] = {}
    for depth in depths:
        name = units[depth - 1].name
        try:
            backbone = SurgeryBackbone(plugin, Surgery(truncate=name), architecture)
        except Unsupported as error:
            refused[name] = str(error)
            continue
        with on_meta():
            state = backbone.fit_weights(backbone.build(architecture), whole.state_dict())
        module = assign(lambda: backbone.build(architecture), state, backbone, name=name)  # noqa: B023
        assert backbone._end is not None
        (tap,) = backbone._end.taps
        wanted = tapped(whole, tap, images)
        with torch.no_grad():
            assert torch.equal(module(images), wanted), name
        hierarchy = backbone.hierarchy(architecture, module)
        check_coverage(module, hierarchy)
        assert hierarchy.head.shape == tuple(wanted.shape)
        assert [unit.name for unit in hierarchy.units] == [unit.name for unit in units[:depth]]
    record_property(
        "table", f"{type(whole).__name__} | {architecture} | {len(depths) - len(refused)} of "
        f"{len(depths)} truncated | {'; '.join(refused.values())}",
    )  # fmt: skip
    assert list(refused) == REFUSED.get(type(whole).__name__, []), refused
