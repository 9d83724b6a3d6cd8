"""Of every class of timm: a sound hierarchy of its smallest architecture, and total freezing of a
few that differ most. `make test` looks at a few, `make test-long` at all of them, and
`make check-backbones` proves the rest (`test_every_class`).
"""

from __future__ import annotations

import copy
import shutil
from functools import lru_cache
from pathlib import Path

import pytest
import timm
import torch
from backbones.smallest import CLASSES, smallest
from fakes.sampled import sampled

from zoo.backbones.freeze import freeze
from zoo.backbones.untrained import on_meta
from zoo.domain.hierarchy import Hierarchy, under
from zoo.domain.surgery import BuildOptions
from zoo.testing import freezing
from zoo.testing.backbones import Network, check_coverage, check_order, check_stages
from zoo_timm.backbone import TimmBackbone

# `test_timm_suite.py` traces others: ConvNeXt, DenseNet, SwinTransformer.
QUICK = ("LevitDistilled", "MetaFormer", "ResNet", "VisionTransformer")
DIVERSE = ("HighResolutionNet", "LevitDistilled", "MlpMixer", "RepVit", "Xcit", "VovNet")
COMPILED = ("MobileNetV3", "VisionTransformer")
PAGE = Path(__file__).parents[2] / "docs" / "hierarchy.md"
HEADING = (
    "| class | architectures | units | inner cuts | smallest architecture | pixels | inner cuts "
    "| proven | trained |"
)


@lru_cache
def described(architecture: str) -> tuple[torch.nn.Module, Hierarchy]:
    with torch.device("meta"):
        module = TimmBackbone().build(architecture)
    return module, TimmBackbone().hierarchy(architecture, module)


@pytest.mark.parametrize("kind", sampled(CLASSES, QUICK))
def test_every_class_has_a_sound_hierarchy(kind: str) -> None:
    module, hierarchy = described(CLASSES[kind])
    size = TimmBackbone().preprocessing(module).input_size
    check_coverage(module, hierarchy)
    check_order(module, hierarchy, torch.zeros(1, *size, device="meta"))
    check_stages(hierarchy)
    units = [path for unit in hierarchy.units for path in unit.modules]
    assert not [path for path in hierarchy.head.modules if under(path, units)]


@pytest.mark.long
def test_every_class_has_an_inner_cut() -> None:
    for kind, architecture in CLASSES.items():
        assert any(unit.cut for unit in described(architecture)[1].units[1:]), kind
    assert len(CLASSES) == 97


@pytest.mark.long
def test_the_page_tells_of_every_class_what_is_found() -> None:
    """Of its smallest architecture: the name, and the number of inner cuts."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    table = lines[lines.index(HEADING) + 2 :]
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len(table) == 97
    assert {kind: (name, int(cuts)) for kind, _, _, _, name, _, cuts, *_ in told} == {
        kind: (architecture, sum(unit.cut for unit in described(architecture)[1].units[1:]))
        for kind, architecture in CLASSES.items()
    }


@pytest.mark.parametrize("kind", sampled(CLASSES, QUICK))
def test_every_class_built_without_classes_takes_a_head(kind: str) -> None:
    """And what is below it keeps its names, or no checkpoint of it could be loaded."""
    backbone = TimmBackbone()
    with on_meta():
        module = backbone.build(CLASSES[kind], BuildOptions(num_classes=0))
        before = set(module.state_dict())
        backbone.replace_head(module, 5, lambda features: torch.nn.Linear(features, 5))
        images = torch.zeros(2, *backbone.preprocessing(module).input_size)
        assert tuple(module.eval()(images).shape) == (2, 5)
    head = backbone.head_modules(module)
    assert head
    assert {name for name in module.state_dict() if not under(name, head)} == before


@lru_cache
def small(kind: str) -> Network:
    architecture = CLASSES[kind]
    backbone = smallest(architecture)
    torch.manual_seed(0)
    module = backbone.build(architecture).eval()
    images = torch.randn(2, *backbone.preprocessing(module).input_size)
    return Network(architecture, module, backbone.hierarchy(architecture, module), images)


@pytest.mark.parametrize("kind", sampled(DIVERSE, []))
def test_freezing_is_total(kind: str) -> None:
    network = small(kind)
    for optimizer in freezing.OPTIMIZERS:
        freezing.check_training(network.module, network.hierarchy, network.images, optimizer)
    for check in (freezing.check_copies, freezing.check_saved, freezing.check_batch_mates):
        check(network.module, network.hierarchy, network.images)


def test_what_a_network_never_trains_stays_so() -> None:
    module = timm.create_model("test_vit")
    module.pos_embed.requires_grad_(False)
    table = torch.nn.Parameter(torch.arange(3), requires_grad=False)
    module.get_submodule("blocks.1").register_parameter("table", table)
    hierarchy = TimmBackbone().hierarchy("test_vit", module)
    own = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    for boundary in (1, len(hierarchy.units), 0):
        freeze(module, hierarchy, boundary)
        assert not module.pos_embed.requires_grad
        module = copy.deepcopy(module)
    assert {name: parameter.requires_grad for name, parameter in module.named_parameters()} == own


@pytest.mark.long  # for each change, see test_keep_in_eval.py
@pytest.mark.parametrize("kind", COMPILED)
def test_freezing_survives_compiling(kind: str) -> None:
    network = small(kind)
    freezing.check_compiled(network.module, network.hierarchy, network.images)


@pytest.mark.long
def test_freezing_survives_the_default_compiler() -> None:
    """Which makes other code of the network, not only another record of it."""
    if shutil.which("g++") is None:
        pytest.skip("torch's default compiler needs a C++ compiler")
    network = small("MobileNetV3")
    freezing.check_compiled(network.module, network.hierarchy, network.images, backend="inductor")
