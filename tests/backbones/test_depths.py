"""Several depths together: the head gets what the taps of the whole network give, side by side."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from fakes.sampled import sampled
from fakes.tiny_transformers import tiny_rows
from torch import nn

from zoo.backbones.features import features_at
from zoo.backbones.from_cut import FromCut
from zoo.backbones.load import assign
from zoo.backbones.surgery import SurgeryBackbone
from zoo.backbones.taps import HEAD, find_tap
from zoo.contracts import Backbone
from zoo.domain.surgery import Surgery
from zoo.errors import UnknownName, Unsupported
from zoo.testing.backbones import check_coverage
from zoo.testing.cuts import check_cuts
from zoo_timm.backbone import TimmBackbone
from zoo_torchvision.backbone import TorchvisionBackbone
from zoo_transformers.backbone import TransformersBackbone

NETWORKS: dict[str, tuple[type[Backbone], tuple[str, ...], int]] = {
    "test_resnet": (TimmBackbone, ("layer1.0", "layer3", HEAD), 64),
    "test_vit": (TimmBackbone, ("patch_embed", "blocks.3"), 160),
    "test_convnext": (TimmBackbone, ("stem", "stages.1.blocks.1", HEAD), 64),
    "test_mambaout": (TimmBackbone, ("stages.0", HEAD), 96),  # features are last
    "alexnet": (TorchvisionBackbone, ("features.3", "classifier.4", HEAD), 64),
    "densenet121": (TorchvisionBackbone, ("features.denseblock2", "features.denseblock4"), 64),
    "vit-base-patch16-224": (TransformersBackbone, ("vit.layers.1", HEAD), 32),
    "dinov3-vits16plus-pretrain-lvd1689m": (TransformersBackbone, ("model.layer.0", HEAD), 32),
}


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Those of transformers are tiny."""
    with tiny_rows():
        yield


def together(
    whole: nn.Module, plugin: Backbone, architecture: str, surgery: Surgery
) -> tuple[SurgeryBackbone, nn.Module]:
    """The network after ``surgery`` with the weights of ``whole``, loaded as a checkpoint's are."""
    backbone = SurgeryBackbone(plugin, surgery, architecture)
    state = backbone.fit_weights(backbone.build(architecture), whole.state_dict())
    return backbone, assign(lambda: backbone.build(architecture), state, backbone, name="whole")


def resnet(*taps: str, **options: str) -> tuple[nn.Module, SurgeryBackbone, nn.Module]:
    torch.manual_seed(2)
    whole = TimmBackbone().build("test_resnet").eval()
    for parameter in whole.parameters():  # initial blocks give back their input
        parameter.data += torch.rand_like(parameter) / 20
    return whole, *together(whole, TimmBackbone(), "test_resnet", Surgery(taps=taps, **options))  # type: ignore[arg-type]


QUICK = ("test_resnet",)


@pytest.mark.parametrize(
    "architecture",
    sampled(NETWORKS, QUICK),
)
def test_bits_are_those_of_the_taps(architecture: str) -> None:
    kind, units, side = NETWORKS[architecture]
    torch.manual_seed(1)
    plugin = kind()
    whole, images = plugin.build(architecture).eval(), torch.randn(2, 3, side, side)
    known = plugin.hierarchy(architecture, whole)
    taps = [find_tap(whole, known, images, unit) for unit in units]
    wanted = torch.cat(features_at(whole, taps, images), dim=1)
    backbone, module = together(whole, plugin, architecture, Surgery(taps=units))
    with torch.no_grad():
        for made in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(made(images), wanted)
    hierarchy = backbone.hierarchy(architecture, module)
    check_coverage(module, hierarchy)
    assert hierarchy.head.shape == (1, wanted.shape[1])
    last = len(known.units) if units[-1] == HEAD else known.find(units[-1]).depth + 1
    assert [unit.name for unit in hierarchy.units] == [unit.name for unit in known.units[:last]]
    assert not any(name in module.state_dict() for name in known.head.parameters)


def test_a_network_of_transformers_is_truncated() -> None:
    """It gives something else than a tensor by itself."""
    torch.manual_seed(1)
    plugin, name = TransformersBackbone(), "vit-base-patch16-224"
    whole, images = plugin.build(name).eval(), torch.randn(2, 3, 32, 32)
    tap = find_tap(whole, plugin.hierarchy(name, whole), images, "vit.layers.1")
    _, module = together(whole, plugin, name, Surgery(truncate="vit.layers.1"))
    with torch.no_grad():
        assert torch.equal(module(images), features_at(whole, [tap], images)[0])


@pytest.mark.long
def test_a_cut_is_none_where_features_pass_it_by() -> None:
    """Proven by poison; and from the cut before the head the network runs on what was recorded."""
    whole, backbone, module = resnet("layer2.0", "layer3.0", HEAD)
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    hierarchy, images = backbone.hierarchy("test_resnet", module), torch.randn(2, 3, 64, 64)
    check_cuts(module, hierarchy, images)
    before = TimmBackbone().hierarchy("test_resnet", whole)
    first = before.find("layer2.0").depth
    cuts = [unit.cut and unit.depth <= first for unit in before.units]
    assert [unit.cut for unit in hierarchy.units] == cuts
    assert sum(cuts) < sum(unit.cut for unit in before.units)
    entry = FromCut(module, hierarchy, len(hierarchy.units))
    with torch.no_grad():
        recorded = entry.record(images)
        assert torch.equal(entry.forward(recorded, torch.zeros_like(images)), module(images))
    assert recorded[0][0].shape == (2, module.get_parameter("zoo_head.head.weight").shape[1])


def test_gradients_come_through_each_depth() -> None:
    _, backbone, module = resnet("layer1", "layer2.0")
    backbone.replace_head(module, 1, lambda features: nn.Linear(features, 1))
    images = torch.randn(2, 3, 64, 64)
    module(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    grad = module.get_parameter("layer1.0.conv1.weight").grad
    with torch.no_grad():
        module.get_parameter("zoo_head.head.weight")[:, 32:] = 0  # what is deeper
    module.zero_grad()
    module(images).square().sum().backward()
    alone = module.get_parameter("layer1.0.conv1.weight").grad
    assert grad is not None
    assert alone is not None
    assert alone.abs().sum() > 0
    assert not torch.equal(alone, grad)
    assert not module.get_parameter("layer2.0.conv1.weight").grad.any()  # type: ignore[union-attr]


@pytest.mark.long
def test_the_head_of_a_truncated_one_is_where_it_ends() -> None:
    whole, _, module = resnet("layer1", HEAD, truncate="layer3.0")
    _, named, other = resnet("layer1", "layer3.0")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module(images), other(images))
    assert set(module.state_dict()) == set(other.state_dict()) < set(whole.state_dict())
    assert named.surgery.ends == ("layer1", "layer3.0")


@pytest.mark.parametrize(
    ("first", "later", "both"),
    [
        ({}, {"taps": ("a", "head")}, {"taps": ("a", "head")}),
        ({"taps": ("a", "c")}, {"taps": ("b", "head")}, {"taps": ("b", "a", "c")}),
        ({"taps": ("a", "head")}, {"taps": ("a", "b", "head")}, {"taps": ("a", "b", "head")}),
        ({"taps": ("a", "c")}, {"taps": ("a", "b")}, {"taps": ("a", "b")}),
        ({"taps": ("a", "c")}, {"truncate": "b"}, {"truncate": "b"}),
        ({"taps": ("a", "c")}, {"channels": 1}, {"taps": ("a", "c"), "channels": 1}),
        ({"truncate": "c"}, {"taps": ("a", "head")}, {"taps": ("a", "head"), "truncate": "c"}),
    ],
)
def test_one_after_another(
    first: dict[str, object], later: dict[str, object], both: dict[str, object]
) -> None:
    done = Surgery(**first).then(Surgery(**later))  # type: ignore[arg-type]
    assert done == Surgery(**both)  # type: ignore[arg-type]
    assert Surgery.parse(done.to_options()) == done


def test_options_are_read_strictly() -> None:
    for taps in ("layer1", ["a", "a"], [1], [""], {"a": 1}):
        with pytest.raises(Unsupported, match="'taps' must be a list of different names"):
            Surgery.parse({"taps": taps})
    with pytest.raises(Unsupported, match="no fully connected layers"):
        Surgery(taps=("a", "b")).then(Surgery(convolutional=True))


@pytest.mark.long
def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"at stage2\S*: its output is not a single tensor"):
        SurgeryBackbone(TimmBackbone(), Surgery(taps=("stage2", HEAD)), "hrnet_w18_small")
    with pytest.raises(UnknownName, match="layer9"):
        resnet("layer1", "layer9")
