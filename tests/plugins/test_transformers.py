"""transformers' networks against the conformance suite and the plain library, in tiny sizes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fakes.sampled import sampled
from fakes.tiny_transformers import TINY, tiny_rows
from torch import nn

from zoo.backbones.untrained import on_meta
from zoo.domain.surgery import BuildOptions
from zoo.errors import UnknownName, Unsupported
from zoo.testing.backbones import BackboneSuite, check_coverage, check_order, check_stages
from zoo_transformers import architectures
from zoo_transformers.architectures import ARCHITECTURES, Architecture
from zoo_transformers.backbone import TransformersBackbone

QUICK = ("vit-base-patch16-224",)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are slowed down by threads, and sums in one order are bit-equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Tiny networks in the place of the published ones."""
    with tiny_rows():
        yield


class TinyBackbone(TransformersBackbone):
    """A class of its own: networks under test are kept by class and name."""


class TestFamilies(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TransformersBackbone:
        return TinyBackbone()

    @pytest.fixture(params=sampled(TINY, QUICK))
    def architectures(self, request: pytest.FixtureRequest) -> list[str]:
        return [request.param]


def row(name: str) -> Architecture:
    """A published row, whatever else stands in its place here."""
    family, config, size, classes = next(
        (family, {**family.config, **config}, size, classes)
        for family, rows in architectures.TABLE
        for own, (size, classes, config) in rows.items()
        if own == name
    )
    return Architecture(name=name, family=family, size=size, num_classes=classes, config=config)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TINY:
        monkeypatch.setitem(ARCHITECTURES, name, row(name))


@pytest.mark.backbones
@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_covered_exactly_and_every_boundary_is_a_cut(name: str) -> None:
    backbone = TransformersBackbone()
    with on_meta():
        module = backbone.build(name)
    hierarchy = backbone.hierarchy(name, module)
    check_coverage(module, hierarchy)
    check_stages(hierarchy)
    size = backbone.preprocessing(module).input_size
    check_order(module, hierarchy, torch.zeros(1, *size, device="meta"))
    assert len(hierarchy.units) > 8
    assert all(unit.cut for unit in hierarchy.units)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("name", "millions", "frozen", "units", "next_unit"),
    [
        ("vit-base-patch16-224", 86.6, "vit.layers.4", 6, "vit.layers.5"),
        pytest.param("beit-base-patch16-224", 86.5, "-1", 13, "beit.pooler",
                     marks=pytest.mark.long),
        ("clip-vit-base-patch32", 87.5, "vision_model", 1, "vision_model.encoder.layers.0"),
        ("convnext-tiny-224", 28.6, "convnext.encoder.stages.1", 8,
         "convnext.encoder.stages.2.downsampling_layer.1"),
        ("deit-tiny-distilled-patch16-224", 5.9, "50%", 6, "deit.layers.5"),
        pytest.param("dinov2-small", 22.1, "dinov2.encoder.layer.11", 13, "head",
                     marks=pytest.mark.long),
        pytest.param("dinov3-vits16-pretrain-lvd1689m", 21.6, "model.layer.0", 2, "model.layer.1",
                     marks=pytest.mark.long),
        pytest.param("mobilevit-small", 5.6, "mobilevit.encoder.layer.1", 5,
                     "mobilevit.encoder.layer.2", marks=pytest.mark.long),
        ("resnet-50", 25.6, "resnet.encoder.stages.0", 4, "resnet.encoder.stages.1.layers.0"),
        pytest.param("swin-tiny-patch4-window7-224", 28.3, "swin.encoder.layers.1", 7,
         "swin.encoder.layers.2.blocks.0", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_depth_is_named_as_in_transformers(
    name: str, millions: float, frozen: str, units: int, next_unit: str
) -> None:
    backbone = TransformersBackbone()
    with on_meta():
        module = backbone.build(name)
    hierarchy = backbone.hierarchy(name, module)
    assert round(hierarchy.params / 1e6, 1) == millions
    assert hierarchy.boundary(frozen) == units
    assert hierarchy.boundary_name(units) == next_unit


@pytest.mark.parametrize("name", TINY)
def test_outputs_are_those_of_plain_transformers(name: str) -> None:
    torch.manual_seed(0)
    module = TransformersBackbone().build(name).eval()
    images = torch.randn(2, *TransformersBackbone().preprocessing(module).input_size)
    plain = type(module)(module.config).eval()
    if not ARCHITECTURES[name].num_classes and hasattr(plain, "classifier"):
        plain.classifier = nn.Identity()
    plain.load_state_dict(module.state_dict())
    with torch.no_grad():
        # transformers' processor of MobileViT gives blue, green, red.
        output = plain(images.flip(1) if "mobilevit" in name else images)
        theirs = output.logits if "logits" in output else output.pooler_output
        assert torch.equal(module(images), theirs)


def test_a_distilled_network_gets_a_head_for_each_token() -> None:
    backbone = TransformersBackbone()
    module = backbone.build("deit-tiny-distilled-patch16-224").eval()
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    heads = backbone.head_modules(module)
    assert heads == ("cls_classifier", "distillation_classifier")
    assert all(module.get_submodule(path).weight.shape == (3, 16) for path in heads)
    assert module(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_an_encoder_without_a_classifier_takes_a_head_on_its_features() -> None:
    backbone = TransformersBackbone()
    name = "dinov3-vits16plus-pretrain-lvd1689m"
    module = backbone.build(
        name, BuildOptions(num_classes=3)
    ).eval()  # as its fine-tunes are built, too
    images = torch.randn(2, 3, 32, 32)
    features = module(images)
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    assert torch.equal(module(images), module.get_submodule("zoo_head.head")(features))


@pytest.mark.parametrize("name", sampled(TINY, [*QUICK, "clip-vit-base-patch32"]))
def test_other_sizes_and_channels(name: str) -> None:
    backbone = TransformersBackbone()
    side = 2 * ARCHITECTURES[name].size
    module = backbone.build(name, BuildOptions(image_size=(side, side), channels=1)).eval()
    how = backbone.preprocessing(module)
    assert how.input_size == (1, side, side)
    assert len(how.mean) == 1
    assert module(torch.randn(2, 1, side, side)).shape[0] == 2
    assert all(unit.cut for unit in backbone.hierarchy(name, module).units)
    own = backbone.build(name).state_dict()
    fitted = backbone.fit_weights(module, own)
    module.load_state_dict(fitted)
    stem = next(key for key, value in own.items() if value.dim() == 4)
    others = [key for key in own if key != stem and "position" not in key]
    assert all(fitted[key] is own[key] for key in others)
    # A gray picture gives what its three equal channels gave.
    assert torch.allclose(fitted[stem], own[stem].sum(1, keepdim=True))


def test_positions_are_resized_as_transformers_does_it() -> None:
    torch.manual_seed(0)
    backbone = TransformersBackbone()
    module = backbone.build("vit-base-patch16-224").eval()
    wide = backbone.build("vit-base-patch16-224", BuildOptions(image_size=(48, 64))).eval()
    wide.load_state_dict(backbone.fit_weights(wide, module.state_dict()))
    images = torch.randn(2, 3, 48, 64)
    theirs = module(images, interpolate_pos_encoding=True)
    assert torch.allclose(wide(images), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("clip-vit-base-patch32", (32, 48), "square images only"),
        ("siglip-base-patch16-224", (48, 32), "square images only"),
        ("swin-tiny-patch4-window7-224", (16, 64), "25 pixels or more"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        TransformersBackbone().build(name, BuildOptions(image_size=size))


def test_positions_that_are_no_square_are_not_resized() -> None:
    backbone = TransformersBackbone()
    wide = backbone.build("vit-base-patch16-224", BuildOptions(image_size=(32, 64)))
    with pytest.raises(Unsupported, match="not those of a square image"):
        backbone.fit_weights(backbone.build("vit-base-patch16-224"), wide.state_dict())


def test_typos_and_tags_are_answered_with_near_names() -> None:
    with pytest.raises(UnknownName, match="resnet-51") as caught:
        TransformersBackbone().build("resnet-51")
    assert "resnet-50" in caught.value.near
    with pytest.raises(UnknownName, match=r"resnet-50\.a1") as caught:
        TransformersBackbone().build("resnet-50", BuildOptions(tag="a1"))
    assert caught.value.near == ("resnet-50",)
