"""Features against what hooks of our own see, in networks of every layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from fakes.tiny_transformers import tiny_rows
from fakes.typed import pretrained_cfg
from torch import Tensor, nn
from torch.nn import functional

from zoo import plugins
from zoo.backbones import features
from zoo.backbones.features import extract, features_at
from zoo.backbones.pooling import feature_dimension
from zoo.backbones.taps import HEAD, find_tap, find_taps
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Task
from zoo.domain.surgery import BuildOptions
from zoo.errors import UnknownName, Unsupported
from zoo.workspace import trust_in

Built = tuple[nn.Module, Hierarchy, Tensor]


def built(
    architecture: str, plugin: str = "timm", size: int | None = None, images: int = 2
) -> Built:
    backbone = plugins.backbone(plugin)
    torch.manual_seed(0)
    module = backbone.build(architecture).eval()
    channels, height, width = backbone.preprocessing(module).input_size
    shape = (channels, size or height, size or width)
    hierarchy = backbone.hierarchy(architecture, module, input_size=shape)
    return module, hierarchy, torch.randn(images, *shape)


@torch.no_grad()
def seen(module: nn.Module, path: str, images: Tensor) -> Tensor:
    """What the module at ``path`` gives."""
    found: list[Tensor] = []
    with module.get_submodule(path).register_forward_hook(
        lambda _, __, output: found.append(output.clone())
    ):
        module(images)
    (output,) = found
    return output


@pytest.mark.parametrize(
    ("architecture", "size", "unit", "places"),
    [
        ("test_resnet", 64, "layer3.0", (2, 3)),
        ("test_vit", 160, "blocks.2", (1,)),
        ("test_mambaout", 96, "stages.1.blocks.0", (1, 2)),
    ],
)
def test_features_are_the_mean_over_places(
    architecture: str, size: int, unit: str, places: tuple[int, ...]
) -> None:
    module, hierarchy, images = built(architecture, size=size)
    tap = find_tap(module, hierarchy, images, unit)
    (found,) = features_at(module, [tap], images)
    expected = seen(module, unit, images).mean(dim=places)
    assert found.shape == (2, tap.features)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_misspelt_head_is_met_with_the_head() -> None:
    module, hierarchy, images = built("test_resnet")
    with pytest.raises(UnknownName) as caught:
        find_tap(module, hierarchy, images, "haed")
    assert caught.value.near[0] == HEAD


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet"])
def test_the_head_makes_the_outputs_of_its_features(architecture: str) -> None:
    module, hierarchy, images = built(architecture)
    taps = find_taps(module, hierarchy, images)
    assert [tap.unit for tap in taps] == [*(unit.name for unit in hierarchy.units), HEAD]
    classifier = module.get_submodule(pretrained_cfg(module)["classifier"])
    with torch.no_grad():
        outputs = classifier(features_at(module, taps, images)[-1])
        assert torch.allclose(outputs, module(images), atol=1e-6)


def test_an_encoder_gives_its_own_features() -> None:
    module, hierarchy, images = built("test_vit")
    backbone = plugins.backbone("timm")
    encoder = backbone.build("test_vit", BuildOptions(num_classes=0)).eval()
    encoder.load_state_dict(module.state_dict(), strict=False)
    bare = backbone.hierarchy("test_vit", encoder)
    (found,) = features_at(encoder, [find_tap(encoder, bare, images, HEAD)], images)
    assert torch.equal(
        found, features_at(module, [find_tap(module, hierarchy, images, HEAD)], images)[0]
    )
    with torch.no_grad():
        assert torch.equal(found, encoder(images))


def test_a_hidden_layer_is_taken_behind_its_relu() -> None:
    module, hierarchy, images = built("alexnet", "torchvision")
    tap = find_tap(module, hierarchy, images, "classifier.4")
    (found,) = features_at(module, [tap], images)
    before = seen(module, "classifier.4", images)
    assert before.min() < 0
    assert torch.equal(found, before.relu())


@pytest.mark.parametrize(
    ("plugin", "architecture", "unit", "path", "size"),
    [
        pytest.param(
            "torchvision",
            "densenet121",
            "features.denseblock4",
            "features.norm5",
            64,
            marks=pytest.mark.long,
        ),
        ("torch", "fakes.own_nets:CONV", "stem", "stem", None),
    ],
)
def test_a_relu_that_is_a_function_is_found_too(
    plugin: str, architecture: str, unit: str, path: str, size: int | None, tmp_path: Path
) -> None:
    with trust_in(tmp_path).asked(architecture):
        module, hierarchy, images = built(architecture, plugin, size)
    with torch.no_grad():
        expected = module(images)
    tap = find_tap(module, hierarchy, images, unit)
    (found,) = features_at(module, [tap], images)
    before = seen(module, path, images)
    assert before.min() < 0
    assert torch.allclose(found, before.relu().mean(dim=(2, 3)), atol=1e-6)
    with torch.no_grad():
        assert torch.equal(module(images), expected)


@pytest.mark.parametrize(
    ("plugin", "architecture"),
    [
        pytest.param("torchvision", "resnet18", marks=pytest.mark.long),
        ("timm", "test_resnet"),
        ("transformers", "resnet-18"),
    ],
)
def test_residual_blocks_end_behind_their_relu(plugin: str, architecture: str) -> None:
    with tiny_rows():
        module, hierarchy, images = built(architecture, plugin)
        blocks = [unit for unit in hierarchy.units if "layer" in unit.name]
        taps = [find_tap(module, hierarchy, images, unit.name) for unit in blocks]
        assert len(taps) > 2
        for tap, found in zip(taps, features_at(module, taps, images), strict=True):
            maps = seen(module, tap.path, images)
            assert maps.min() == 0 < maps.max()
            assert torch.allclose(found, maps.mean(dim=(2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    "apply",
    [
        functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
        nn.ReLU(inplace=True), nn.LeakyReLU(0.3, inplace=True), nn.GELU("tanh"),
        partial(functional.leaky_relu, negative_slope=0.3), partial(functional.silu, inplace=True),
    ],
)  # fmt: skip
def test_activations_of_every_spelling(apply: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
            self.fc = nn.Linear(5, 2)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.second(apply(self.first(images)))
            out: Tensor = self.fc(maps.mean(dim=(2, 3)))
            return out

    torch.manual_seed(0)
    module, images = Net().eval(), torch.randn(2, 3, 8, 8)
    hierarchy = trace("net", module, input_size=(3, 8, 8), head=("fc",))
    (found,) = features_at(module, [find_tap(module, hierarchy, images, "first")], images)
    with torch.no_grad():
        expected = apply(module.first(images)).mean(dim=(2, 3))
    assert torch.allclose(found, expected, atol=1e-6)
    # The next one has none behind it.
    (found,) = features_at(module, [find_tap(module, hierarchy, images, "second")], images)
    assert torch.allclose(found, seen(module, "second", images).mean(dim=(2, 3)), atol=1e-6)


def test_nothing_above_the_last_tap_runs() -> None:
    module, hierarchy, images = built("test_resnet")
    tap = find_tap(module, hierarchy, images, "layer2")
    assert tap.unit == "layer2.0"  # a stage is its last unit
    ran: list[str] = []
    for path in ("layer1", "layer2", "layer3", "fc"):
        module.get_submodule(path).register_forward_pre_hook(
            lambda _, __, path=path: ran.append(path)
        )
    features_at(module, [tap], images)
    assert ran == ["layer1", "layer2"]


def test_features_are_those_of_eval_mode_and_the_mode_stays() -> None:
    module, hierarchy, images = built("test_resnet")
    taps = find_taps(module, hierarchy, images)
    expected = features_at(module, taps, images)
    module.train()
    module.get_submodule("layer1").eval()
    modes = {path: child.training for path, child in module.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    for found, code in zip(features_at(module, taps, images), expected, strict=True):
        assert torch.equal(found, code)
    assert {path: child.training for path, child in module.named_modules()} == modes
    assert all(torch.equal(buffers[name], buffer) for name, buffer in module.named_buffers())


class Counted:
    """A progress task that adds up."""

    def __init__(self) -> None:
        self.done = 0.0

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount


def test_extraction_keeps_the_order_of_the_batches() -> None:
    module, hierarchy, images = built("test_resnet", images=5)
    taps = find_taps(module, hierarchy, images)
    targets = torch.arange(5)
    task: Task = Counted()
    batches = [(images[:2], targets[:2]), (images[2:4], targets[2:4]), (images[4:], targets[4:])]
    found, labels = extract(module, taps, batches, task)
    for tap, code, whole in zip(taps, found, features_at(module, taps, images), strict=True):
        assert code.shape == (5, tap.features)
        assert torch.allclose(code, whole, atol=1e-5), tap.unit
    assert torch.equal(labels, targets)
    assert task.done == 5  # type: ignore[attr-defined]


def test_runs_side_by_side_give_the_same_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each on its share of the threads, and of a network that stays as it was."""
    module, hierarchy, images = built("test_resnet", images=12)
    module.train()
    taps = find_taps(module, hierarchy, images)
    batches = [(images[at : at + 1], torch.tensor([at])) for at in range(12)]
    alone, _ = extract(module, taps, batches, Counted())
    together = Barrier(2, timeout=20)

    def features_of(*args: Any) -> list[Tensor]:
        together.wait()
        assert (torch.get_num_threads(), args[0] is module) == (2, False)
        return features_at(*args)

    monkeypatch.setattr(features, "features_at", features_of)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found, labels = extract(module, taps, batches, Counted(), runs=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert torch.equal(labels, torch.arange(12))
    assert all(map(partial(torch.allclose, atol=1e-5), found, alone))
    assert module.training


def test_an_unknown_unit_is_told_with_near_names() -> None:
    module, hierarchy, images = built("test_resnet")
    with pytest.raises(UnknownName) as caught:
        find_tap(module, hierarchy, images, "layer2.7")
    assert "layer2.0" in caught.value.near
    with pytest.raises(UnknownName) as caught:
        find_tap(module, hierarchy, images, "quite another")
    assert caught.value.hint == "zoo tree lists them"


class Twice(nn.Sequential):
    """Runs its parts once more, for nothing."""

    def forward(self, images: Tensor) -> Tensor:
        for _ in range(2):
            output = images
            for part in self:
                output = part(output)
        return output


def test_what_runs_twice_has_no_features() -> None:
    module, hierarchy, images = built("test_resnet")
    module.set_submodule("layer3", Twice(*module.get_submodule("layer3").children()))
    with pytest.raises(Unsupported, match="runs 2 times"):
        find_tap(module, hierarchy, images, "layer3.0")
    assert "layer3.0" not in [tap.unit for tap in find_taps(module, hierarchy, images)]


@pytest.mark.parametrize(
    ("shape", "larger", "native", "dimension"),
    [
        ((1, 96, 96, 96), (1, 192, 192, 96), None, 3),  # shapes at one size would not tell
        ((1, 96, 96, 96), (1, 96, 192, 192), None, 1),
        ((1, 197, 768), None, None, 2),
        ((1, 768), None, None, 1),
        ((1, 7, 7, 768), None, None, 3),
        ((1, 768, 7, 9), None, (1, 768, 7, 7), 1),
        ((1, 7, 8, 9), None, None, None),
        ((4, 49, 96), None, None, None),  # windows
        ((1, 1, 32, 32), (1, 1, 64, 64), None, None),
    ],
)
def test_which_dimension_holds_features(
    shape: tuple[int, ...],
    larger: tuple[int, ...] | None,
    native: tuple[int, ...] | None,
    dimension: int | None,
) -> None:
    assert feature_dimension(shape, larger, native) == dimension
