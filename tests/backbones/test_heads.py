"""The built-in heads against the conformance suite, and what is their own."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from zoo import plugins
from zoo.backbones.heads.cosine import CosineHead
from zoo.backbones.heads.linear import LinearHead
from zoo.backbones.heads.mlp import HIDDEN, MlpHead
from zoo.backbones.heads.tasks import metrics
from zoo.backbones.pooling import PooledHead, add_pooled_head
from zoo.contracts import Head
from zoo.errors import Unsupported
from zoo.testing.heads import HeadSuite


class TestLinearHead(HeadSuite):
    @pytest.fixture
    def head(self) -> Head:
        return LinearHead()


class TestMlpHead(HeadSuite):
    @pytest.fixture
    def head(self) -> Head:
        return MlpHead()


class TestCosineHead(HeadSuite):
    @pytest.fixture
    def head(self) -> Head:
        return CosineHead()


@pytest.mark.parametrize("head", [LinearHead(), MlpHead()])
def test_first_loss_is_that_of_not_knowing(head: Head) -> None:
    torch.manual_seed(0)
    outputs = head.build(512, 10)(torch.randn(64, 512))
    loss = head.loss()(outputs, torch.arange(64) % 10).item()
    assert loss == pytest.approx(math.log(10), rel=0.05)


def test_an_mlp_stays_small() -> None:
    assert MlpHead().build(4096, 10)[1].out_features == HIDDEN
    assert MlpHead().build(96, 10)[1].out_features == 96


def test_cosines_ignore_the_length_of_features() -> None:
    module, features = CosineHead().build(8, 3), torch.randn(5, 8)
    assert torch.allclose(module(features), module(100 * features), atol=1e-4)
    assert module(features).abs().max() <= module.get_parameter("scale") + 1e-4


@pytest.mark.parametrize("plugin", ["timm", "torchvision"])
@pytest.mark.parametrize("first", ["linear", "mlp", "cosine"])
def test_a_head_that_was_put_in_can_be_replaced(plugin: str, first: str) -> None:
    backbone = plugins.backbone(plugin)
    names = {"timm": ("test_resnet", "resnetv2_18"), "torchvision": ("squeezenet1_1",)}[plugin]
    for name in names:
        with torch.device("meta"):
            module = backbone.build(name)
            for kind, outputs in ((first, 4), ("mlp", 5), ("linear", 6)):
                head = plugins.head(kind)
                backbone.replace_head(module, outputs, partial(head.build, num_outputs=outputs))
                images = torch.zeros(2, *backbone.preprocessing(module).input_size)
                assert tuple(module.eval()(images).shape) == (2, outputs)


def test_metrics_of_classes() -> None:
    found = metrics(torch.zeros(4, 5), torch.tensor([0, 1, 2, 3]), "classification")
    assert found == {"accuracy": 0.25, "loss": pytest.approx(math.log(5))}


def test_metrics_of_labels_made_by_hand() -> None:
    outputs = torch.tensor([[2.0, -1, -1], [1.0, 3, -1], [-2.0, 1, -1]])
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])
    found = metrics(outputs, targets, "multi-label")
    assert found["accuracy"] == pytest.approx(7 / 9)
    assert found["f1"] == pytest.approx(2 * 3 / (4 + 4))
    # The first label's scores rank present, absent, present; the second's are right, and the third
    # never occurs.
    assert found["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


def test_metrics_of_numbers_made_by_hand() -> None:
    outputs, targets = torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([[1.0], [3.0], [5.0]])
    found = metrics(outputs, targets, "regression")
    assert found == {
        "mae": pytest.approx(2 / 3), "rmse": pytest.approx(math.sqrt(2 / 3)),
        "r2": pytest.approx(1 - 2 / 8),
    }  # fmt: skip
    assert metrics(targets, torch.ones(3, 1), "regression")["r2"] == 0.0


@pytest.mark.parametrize("shape", [(2, 6), (2, 9, 6), (2, 4, 4, 6), (2, 6, 4, 5)])
def test_features_are_pooled_whatever_their_layout(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    outputs = PooledHead(6, nn.Identity())(features)
    place = shape.index(6)
    others = tuple(i for i in range(1, len(shape)) if i != place)
    assert torch.allclose(outputs, features.mean(dim=others) if others else features)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"\(2, 5, 5\)"):
        PooledHead(6, nn.Identity())(torch.randn(2, 5, 5))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.conv(images)
        return outputs


def test_a_pooled_head_keeps_names_and_can_be_copied() -> None:
    module = Encoder()
    names = set(module.state_dict())
    add_pooled_head(module, 6, lambda features: nn.Linear(features, 2))
    add_pooled_head(module, 6, lambda features: nn.Linear(features, 4))  # in the place of the first
    assert set(module.state_dict()) == names | {"zoo_head.head.weight", "zoo_head.head.bias"}
    twin = copy.deepcopy(module)
    images = torch.randn(2, 3, 5, 5)
    assert module(images).shape == (2, 4)
    assert torch.equal(twin(images), module(images))
    with torch.no_grad():
        twin.get_parameter("zoo_head.head.bias").add_(1)
    assert not torch.equal(twin(images), module(images))
