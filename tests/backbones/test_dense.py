"""Fully connected to convolutional: the same at the native size, sliding crops beyond it."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.models import vgg as timm_module
from torch import Tensor, nn
from torchvision.models import AlexNet
from torchvision.models.vgg import VGG

from zoo import plugins
from zoo.backbones.dense import convolved, make_convolutional, replace_dense_head
from zoo.backbones.load import assign
from zoo.backbones.surgery import SurgeryBackbone
from zoo.domain.surgery import Surgery
from zoo.errors import Unsupported
from zoo_torchvision.backbone import TorchvisionBackbone

STRIDE = 32


def features(padding: int) -> nn.Sequential:
    """Five pools, as AlexNet and VGG have at most, of few channels."""
    layers: list[nn.Module] = []
    for channels, width in ((3, 4), (4, 4), (4, 6), (6, 6), (6, 8)):
        layers += [nn.Conv2d(channels, width, 1 + 2 * padding, padding=padding), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def vgg(padding: int) -> nn.Module:
    """torchvision's VGG with narrow layers."""
    module: nn.Module = VGG(features(padding), num_classes=5, init_weights=False)
    module.classifier = narrow(8 * 7 * 7)
    return module


def alexnet(padding: int) -> nn.Module:
    """torchvision's AlexNet with narrow layers."""
    with torch.device("meta"):
        module: nn.Module = AlexNet(num_classes=5)
    module.features, module.classifier = features(padding), narrow(8 * 6 * 6)
    return module


def timm_vgg(padding: int) -> nn.Module:
    """timm's VGG with narrow layers, whose fully connected ones are convolutions already."""
    module = timm_module.VGG(
        [4, "M", 4, "M", 6, "M", 6, "M", 8, "M"], num_classes=5, mlp_ratio=0.01
    )  # fmt: skip
    module.features = features(padding)
    return module


def narrow(size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(), nn.Linear(size, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 12), nn.ReLU(),
        nn.Linear(12, 5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "places"), [pytest.param(vgg, 7, marks=pytest.mark.long), (alexnet, 6), (timm_vgg, 7)]
)
@torch.no_grad()
def test_outputs_are_those_of_sliding_crops(kind, places: int) -> None:  # type: ignore[no-untyped-def]
    """Without padding, which crops have where the image goes on, to the last place."""
    torch.manual_seed(0)
    module = kind(0).eval()
    dense = copy.deepcopy(module)
    make_convolutional(dense)
    side = places * STRIDE
    image = torch.randn(1, 3, side + 2 * STRIDE, side + STRIDE)
    native = image[..., :side, :side]
    assert torch.allclose(dense(native), module(native), atol=1e-6)
    outputs = dense(image)
    assert outputs.shape == (1, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            top, left = row * STRIDE, column * STRIDE
            crop = image[..., top : top + side, left : left + side]
            assert torch.allclose(outputs[..., row, column], module(crop), atol=1e-6)
    assert outputs.std((2, 3)).min() > 0  # places differ


@pytest.mark.parametrize(
    ("kind", "places"), [pytest.param(vgg, 7, marks=pytest.mark.long), (alexnet, 6), (timm_vgg, 7)]
)
@torch.no_grad()
def test_with_padding_they_are_those_of_windows_of_features(kind, places: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    module = kind(1).eval()
    dense = copy.deepcopy(module)
    make_convolutional(dense)
    image = torch.randn(2, 3, (places + 1) * STRIDE, places * STRIDE)
    outputs, maps = dense(image), module.features(image)
    module.features = nn.Identity()
    for row in range(2):
        wanted = module(maps[:, :, row : row + places])
        assert torch.allclose(outputs[:, :, row, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("head", ["mlp", "cosine"])
@pytest.mark.parametrize(
    ("kind", "places", "path"), [(alexnet, 6, "classifier.6"), (timm_vgg, 7, "head.fc")]
)
@torch.no_grad()
def test_heads_of_all_kinds_are_applied_to_each_place(  # type: ignore[no-untyped-def]
    kind, places: int, path: str, head: str
) -> None:
    """To the bits of the plain head on the same features; a second one takes the first's place."""
    torch.manual_seed(3)
    module = kind(0).eval()
    below = {name for name in module.state_dict() if not name.startswith(path)}
    plain = built(head, module.get_submodule(path).in_features, 8)
    make_convolutional(module)
    for outputs in (9, 8):
        replace_dense_head(module, path, lambda features: built(head, features, outputs))  # noqa: B023
    plain.load_state_dict(module.get_submodule(path).state_dict())
    assert {name for name in module.state_dict() if not name.startswith(path)} == below
    module = copy.deepcopy(module).eval()
    entered: list[Tensor] = []
    module.get_submodule(path).register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    side = places * STRIDE
    image = torch.randn(2, 3, side + STRIDE, side)
    native, larger = module(image[:, :, :side]), module(image)
    assert torch.equal(native, plain(entered[0].flatten(1)))
    assert larger.shape == (2, 8, 2, 1)
    for row in range(2):
        assert torch.allclose(larger[:, :, row, 0], plain(entered[1][:, :, row, 0]), atol=1e-6)


def built(head: str, features: int, outputs: int) -> nn.Module:
    return plugins.head(head).build(features, outputs)


@pytest.mark.long
@torch.no_grad()
def test_smaller_images_give_what_they_gave() -> None:
    torch.manual_seed(2)
    for module in (vgg(1).eval(), alexnet(1).eval()):
        dense, image = copy.deepcopy(module), torch.randn(1, 3, 96, 64)
        make_convolutional(dense)
        assert torch.allclose(dense(image), module(image), atol=1e-6)


@pytest.mark.long
def test_alexnet_with_its_own_weights_and_a_new_head() -> None:
    """All of it: the same values in other shapes, under the same names."""
    plugin = TorchvisionBackbone()
    backbone = SurgeryBackbone(plugin, Surgery(convolutional=True), "alexnet")
    torch.manual_seed(3)
    whole = plugin.build("alexnet").eval()
    with torch.device("meta"):
        built = backbone.build("alexnet")
    state = backbone.fit_weights(built, whole.state_dict())
    module = assign(lambda: backbone.build("alexnet"), state, backbone, name="alexnet")
    assert list(module.state_dict()) == list(whole.state_dict())
    assert state["classifier.6.weight"].data_ptr() == whole.classifier[6].weight.data_ptr()  # type: ignore[index, union-attr]
    images = torch.randn(1, 3, 256, 224)
    with torch.no_grad():
        assert torch.allclose(module(images[:, :, :224]), whole(images[:, :, :224]), atol=1e-5)
        assert module(images).shape == (1, 1000, 2, 1)
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    module(images[:, :, :224]).sum().backward()
    assert backbone.head_modules(module) == ("classifier.6",)
    assert backbone.hierarchy("alexnet", module).head.shape == (1, 3)
    assert module(images).shape == (1, 3, 2, 1)


def test_others_are_refused_with_the_reason() -> None:
    with pytest.raises(Unsupported, match="ResNet has no fully connected layers over a map"):
        make_convolutional(timm.create_model("test_resnet"))
    with pytest.raises(Unsupported, match="a BatchNorm1d cannot be made a convolution"):
        convolved(nn.Sequential(nn.BatchNorm1d(4)), (1, 1))


def test_bias_and_mode_are_kept() -> None:
    made = convolved(nn.Linear(8, 2, bias=False).eval(), (2, 2))
    assert isinstance(made, nn.Conv2d)
    assert made.bias is None
    assert not made.training
    given: Tensor = made(torch.ones(1, 2, 2, 2))
    assert given.shape == (1, 2, 1, 1)
