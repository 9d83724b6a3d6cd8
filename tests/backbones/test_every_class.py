"""The conformance suite, every cut by poison and by training from it, freezing, and every head, on
each of timm's classes.

`make check-backbones` runs this; ``classes.json`` names the smallest architecture of each class. It
is run at the smallest images that it takes, with everything that drops values at random switched
on. What was found of its cuts is printed at the end (``docs/hierarchy.md`` has it).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from backbones.smallest import CLASSES, SmallImages, smallest
from torch import nn

from zoo import plugins
from zoo.domain.hierarchy import under
from zoo.testing.backbones import BackboneSuite, Network
from zoo.testing.cuts import check_cuts
from zoo.testing.freezing import check_compiled
from zoo_timm.backbone import TimmBackbone

pytestmark = pytest.mark.backbones

HEADS = ("linear", "mlp", "cosine")
NOT_REAL = "test_"  # tiny by name: they do not stand for what people use


@pytest.fixture(params=list(CLASSES.values()), ids=list(CLASSES), scope="module")
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(architecture: str) -> SmallImages:
    return smallest(architecture)


@pytest.fixture(scope="module")
def network(architecture: str, backbone: SmallImages) -> Network:
    torch.manual_seed(0)
    module = backbone.build(architecture).eval()
    images = torch.randn(2, *backbone.preprocessing(module).input_size)
    return Network(architecture, module, backbone.hierarchy(architecture, module), images)


class TestConformance(BackboneSuite):
    @pytest.fixture
    def architectures(self, architecture: str) -> list[str]:
        return [architecture]

    @pytest.fixture
    def networks(self, network: Network) -> list[Network]:
        return [network]

    def test_cuts_are_proven(  # type: ignore[override]
        self, network: Network, record_property: Callable[[str, object], None]
    ) -> None:
        """As in the suite, and written down."""
        inference, training = check_cuts(network.module, network.hierarchy, network.images)
        units = network.hierarchy.units
        inner = (unit.cut for unit in units[1:])
        counts = (len(units), sum(inner), sum(inference[1:]), sum(training[1:]))
        kind, size = type(network.module).__name__, network.images.shape[-1]
        record_property("table", " | ".join(map(str, (kind, network.architecture, size, *counts))))


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's own
def test_freezing_survives_compiling(network: Network) -> None:
    check_compiled(network.module, network.hierarchy, network.images)


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_fits(network: Network, kind: str) -> None:
    """In both modes; a step reaches all of the head, and nothing else when all is frozen."""
    backbone, head = TimmBackbone(), plugins.head(kind)
    module = copy.deepcopy(network.module)
    backbone.replace_head(module, 5, lambda features: head.build(features, 5))
    paths = backbone.head_modules(module)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(under(name, paths))
    outputs = module.train()(network.images)
    assert tuple(outputs.shape) == (2, 5)
    head.loss()(outputs, torch.tensor([0, 4])).backward()
    trained = {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }
    assert trained
    assert all(parameter.grad is not None for parameter in trained.values())
    assert tuple(module.eval()(network.images).shape) == (2, 5)


def test_the_list_is_that_of_the_installed_timm() -> None:
    found: dict[str, tuple[float, str]] = {}
    for name in timm.list_models():
        with torch.device("meta"):
            module: nn.Module = TimmBackbone().build(name)
        size = sum(parameter.numel() for parameter in module.parameters())
        key = type(module).__name__
        real = (float("inf") if name.startswith(NOT_REAL) else size, name)
        found[key] = min(found.get(key, real), real)
    assert {key: name for key, (_, name) in sorted(found.items())} == CLASSES
