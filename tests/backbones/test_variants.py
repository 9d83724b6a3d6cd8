"""The checks of networks that are built other than they come find each kind of fault."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.sampled import sampled
from torch import Tensor, nn

from zoo.domain.manifest import Manifest, Preprocessing
from zoo.testing import variants
from zoo_timm.backbone import TimmBackbone
from zoo_torchvision.backbone import TorchvisionBackbone
from zoo_transformers.backbone import TransformersBackbone

HEADS = {
    "a Linear": (TimmBackbone, "test_resnet"),
    "a distilled pair": (TimmBackbone, "deit_tiny_distilled_patch16_224"),
    "a convolution": (TimmBackbone, "resnetv2_50x1_bit"),
    "behind a norm of its own": (TimmBackbone, "levit_128s"),
    "a list": (TimmBackbone, "crossvit_tiny_240"),
    "of torchvision": (TorchvisionBackbone, "mobilenet_v3_small"),
    "with maps": (TorchvisionBackbone, "squeezenet1_1"),
    "of transformers": (TransformersBackbone, "convnext-tiny-224"),
}
QUICK = ("a Linear", "a distilled pair", "of torchvision", "with maps")


@pytest.mark.parametrize("kind", sampled(HEADS, QUICK))
def test_a_new_head_gets_what_the_old_one_got(kind: str) -> None:
    plugin, architecture = HEADS[kind]
    backbone = plugin()
    torch.manual_seed(0)
    module = backbone.build(architecture)
    images = torch.randn(2, *backbone.preprocessing(module).input_size)
    variants.check_head_input(backbone, module, images)


class Honest(TimmBackbone):
    pass


class ChangesFeatures(TimmBackbone):
    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        super().replace_head(module, num_outputs, build)
        module.norm.eps = 1.0  # type: ignore[union-attr]


class ForgetsImages(TimmBackbone):
    def preprocessing(self, module: nn.Module) -> Preprocessing:
        return replace(super().preprocessing(module), input_size=(3, 160, 160))


class AdaptsNothing(TimmBackbone):
    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return state


class Copies(TimmBackbone):
    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: tensor.clone() for name, tensor in super().fit_weights(module, state).items()}


class ChangesWeights(TimmBackbone):
    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        for tensor in state.values():
            tensor.mul_(1)
        return super().fit_weights(module, state)


class TellsNoPlainData(TimmBackbone):
    def export_config(self, module: nn.Module, manifest: Manifest) -> dict[str, Any]:
        return {"module": module}


@pytest.mark.parametrize(
    ("plugin", "wanted"),
    [
        (ForgetsImages, {"channels": 1}),
        (ForgetsImages, {"image_size": (96, 64)}),
        (AdaptsNothing, {"channels": 4}),
        (Copies, {"channels": 1}),
        (ChangesWeights, {}),
    ],
)
def test_networks_for_other_images_are_checked(
    plugin: type[TimmBackbone], wanted: dict[str, Any]
) -> None:
    state = TimmBackbone().build("test_resnet").state_dict()
    assert variants.check_adapted(Honest(), "test_resnet", state, **wanted) is not None
    with pytest.raises(AssertionError):
        variants.check_adapted(plugin(), "test_resnet", state, **wanted)


@pytest.mark.long
def test_what_enters_a_head_is_checked() -> None:
    module = TimmBackbone().build("vit_tiny_patch16_224")
    images = torch.randn(2, 3, 224, 224)
    variants.check_head_input(Honest(), module, images)
    with pytest.raises(AssertionError):
        variants.check_head_input(ChangesFeatures(), module, images)


def test_what_is_exported_is_checked() -> None:
    module = TimmBackbone().build("test_resnet")
    variants.check_config(Honest(), "test_resnet", module, 1000)
    with pytest.raises(TypeError, match="not JSON serializable"):
        variants.check_config(TellsNoPlainData(), "test_resnet", module, 1000)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def version(): return 'nets 1'", None),
        ("import torch", "imports torch"),
        ("def version(): return 1", "AssertionError"),
        ("def version(): raise RuntimeError('no license')", "no license"),
        ("import secrets\ndef version(): return secrets.token_hex()", "AssertionError"),
    ],
)
def test_versions_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, fault: str | None
) -> None:
    (tmp_path / "acme_nets").mkdir()
    (tmp_path / "acme_nets" / "__init__.py").write_text(code)
    (tmp_path / "torch.py").touch()  # the real one takes seconds
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(Honest, "__module__", "acme_nets.backbone")
    if fault is None:
        variants.check_version(Honest())
        return
    with pytest.raises(AssertionError, match=fault):
        variants.check_version(Honest())
