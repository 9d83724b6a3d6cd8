"""What comes with zoo of timm's architectures is what the installed timm tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from fakes.sampled import sampled
from timm.data import ImageNetInfo
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from zoo import plugins
from zoo.backbones.describe import traced
from zoo.contracts import Known
from zoo.domain.outline import Outline
from zoo_timm import config, known, outlines
from zoo_timm.catalog import TimmCatalog
from zoo_timm.names import own_names

NET = "test_vit"
ARCHITECTURES = sorted(timm.list_models())
SAMPLE = ("resnet18", "test_convnext", "test_vit", "tf_efficientnet_lite0")
"""Of all others ``make check-backbones`` sees to it."""


@pytest.fixture
def shipped() -> Iterator[None]:
    known.outline.cache_clear()
    if known.entries() is None:
        pytest.skip(f"outlines.zip is not of {known.made_for()}: make outlines")
    yield
    known.outline.cache_clear()


def test_they_are_found_as_a_part_of_the_plugin() -> None:
    assert isinstance(plugins.known("timm"), Known)
    assert plugins.known("torchvision") is None


@pytest.mark.parametrize("architecture", sampled(SAMPLE, ["resnet18", "test_vit"]))
def test_an_outline_is_what_building_tells(shipped: None, architecture: str) -> None:
    assert known.outline(architecture) == outlines.outlined(architecture)


@pytest.mark.backbones
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_outline_is_what_building_tells(shipped: None, architecture: str) -> None:
    found = known.outline(architecture)
    assert found == outlines.outlined(architecture)
    if found:
        # Weights under the own names are taken as they are by those who build the network, too.
        names = list(found.shapes)
        assert own_names(names, names) == {name: name for name in names}


def test_nothing_is_known_of_what_timm_does_not_have(shipped: None) -> None:
    assert all(known.outline(name) is None for name in ("", "no_such_net", "~", "zzz"))


def test_the_listing_is_that_of_timm(shipped: None) -> None:
    listed = known.entries() or []
    assert [replace(entry, params=None) for entry in listed] == list(outlines.listed())
    params = {entry.architecture: entry.params for entry in listed}
    assert all(params.values())
    for name in ("resnet18", "test_convnext", "test_vit", "tf_efficientnet_lite0"):
        outline = known.outline(name)
        assert outline
        assert params[name] == outline.hierarchy.params


@pytest.mark.long
def test_outlines_are_written_with_the_parameters_in_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlines.write(["test_vit", "test_convnext"], tmp_path / "outlines.zip")
    monkeypatch.setattr(known, "OUTLINES", tmp_path / "outlines.zip")
    known.outline.cache_clear()
    params = {entry.architecture: entry.params for entry in known.entries() or []}
    for name in ("test_vit", "test_convnext"):
        assert params[name] == traced("timm", name).params
    assert params["resnet18"] is None
    outline = known.outline("test_vit")
    assert outline
    assert "test_vit" in known.fitting(outline.shapes)
    known.outline.cache_clear()


def test_with_another_timm_they_tell_what_to_try_and_sizes(
    shipped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the day of a new timm, nothing is taken from them unseen, and nothing is lost."""
    shapes = {
        name: tuple(tensor.shape) for name, tensor in timm.create_model(NET).state_dict().items()
    }
    monkeypatch.setattr("zoo_timm.version", lambda: "timm 99.0")
    known.outline.cache_clear()
    assert known.outline(NET) is None
    assert known.architectures() is None
    assert NET in known.fitting(shapes)
    assert all(entry.params for entry in TimmCatalog().entries())
    monkeypatch.setattr("timm.is_model", lambda _: False)
    assert known.fitting(shapes) == (), "that timm has it no more"


@pytest.mark.parametrize("architecture", SAMPLE)
def test_a_network_is_found_by_its_tensors_without_reading_all_outlines(
    shipped: None, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    monkeypatch.setattr(known, "_batches", lambda: pytest.fail("all were read"))
    outline = known.outline(architecture)
    assert outline
    assert architecture in known.fitting(outline.shapes)
    body = {n: shape for n, shape in outline.shapes.items() if n not in outline.per_output}
    assert architecture in known.fitting(body)
    name, shape = next(iter(body.items()))
    assert known.fitting({**body, name: (*shape, 1)}) == ()


@pytest.mark.long
def test_what_networks_are_found_by_is_of_all_outlines(shipped: None) -> None:
    every = {name: each for batch in known._batches() for name, each in batch.items() if each}
    found = known.by_body({name: Outline.from_json(each) for name, each in every.items()})
    assert found == [(heads, dict(bodies)) for heads, bodies in known._by_body(known.OUTLINES)]


def test_classes_and_defaults_are_those_of_timm() -> None:
    info = ImageNetInfo("imagenet-1k")
    assert known.classes(1000) == tuple(map(info.index_to_description, range(1000)))
    assert known.classes(0) == ()
    assert known.classes(21843) is None
    assert (config.MEAN, config.STD) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
