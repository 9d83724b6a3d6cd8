"""Networks are traced without their bytes, where their code lets them."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from zoo.backbones.freeze import freeze
from zoo.backbones.record import meta_copy
from zoo.backbones.trace import trace
from zoo.errors import Unsupported


class Ran(nn.Module):
    """A layer that remembers where it ran."""

    devices: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        self.devices.append(images.device.type)
        return images * self.weight


class Reads(Ran):
    """One that looks at values, which a tensor on the meta device has none of."""

    def forward(self, images: Tensor) -> Tensor:
        self.devices.append(images.device.type)
        return images * self.weight if images.sum() >= 0 else images


@pytest.mark.parametrize(
    ("layer", "devices"), [(Ran, ["meta"]), (Reads, ["meta", "cpu"])], ids=["blind", "reads"]
)
def test_only_code_that_reads_values_is_traced_with_them(
    layer: type[Ran], devices: list[str]
) -> None:
    layer.devices = []
    module = nn.Sequential(layer(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    hierarchy = trace("net", module, input_size=(3, 8, 8), head=("3",))
    assert layer.devices == devices
    assert [unit.name for unit in hierarchy.units] == ["0", "1"]
    assert hierarchy.units[1].shape == (1, 4, 6, 6)


def test_it_has_the_names_shapes_and_ties_and_no_bytes() -> None:
    module = timm.create_model("test_vit")
    module.register_parameter("tied", module.get_parameter("norm.weight"))
    hierarchy = trace("test_vit", module, input_size=(3, 160, 160), head=("head",))
    freeze(module, hierarchy, 2)
    alike = meta_copy(module)
    for kind in ("named_parameters", "named_buffers"):
        mine, theirs = (dict(getattr(net, kind)()) for net in (module, alike))
        assert list(mine) == list(theirs)
        for name, tensor in theirs.items():
            assert tensor.is_meta
            assert (tensor.shape, tensor.dtype, tensor.requires_grad, type(tensor)) == (
                mine[name].shape, mine[name].dtype, mine[name].requires_grad, type(mine[name])
            )  # fmt: skip
    assert alike.get_parameter("tied") is alike.get_parameter("norm.weight")
    assert not any(tensor.is_meta for tensor in module.state_dict().values())


def test_tensors_that_share_bytes_have_none() -> None:
    """Which is the same value, and which another, would be lost; the network itself is traced."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = nn.Parameter(first.weight.detach())
    module = nn.Sequential(first, second, nn.Linear(3, 2))
    with pytest.raises(Unsupported, match="share bytes"):
        meta_copy(module)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), *module)
    names = {name for unit in trace("net", flat, input_size=(3, 8, 8), head=("4",)).units
             for name in unit.parameters}  # fmt: skip
    assert {"2.weight", "3.weight"} <= names
