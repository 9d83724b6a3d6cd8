"""Every class of timm as what other runtimes run: its smallest architecture, beside its own logits.

`make check-backbones` runs all of them, and `make test-long` a few that differ most; what was found
is printed at the end. A class that a format cannot take is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from backbones.smallest import CLASSES
from safetensors.torch import save_file
from torch import nn

import zoo
from zoo.backbones.load import Card
from zoo.errors import Unsupported
from zoo.exchange import convert

SAMPLE = ("Beit", "ByobNet", "DLA", "EfficientVitMsra", "MobileNetV3", "Xcit")
REFUSED: dict[tuple[str, convert.Format], str] = {
    ("CSATv2", "openvino"): "computes something else",
    ("Gemma4VitEncoder", "openvino"): "computes something else",
}
"""What cannot be written, and a pattern of the reason; ``docs/surgery.md`` has them, too."""
APART = 1e-3
"""How far outputs may be from the network's own, as a share of what tells two images apart."""


@torch.no_grad()
def lively(architecture: str) -> dict[str, torch.Tensor]:
    """Weights of which none are constant, and with which images are told apart: a layer that is
    switched off would be exported well.
    """
    torch.manual_seed(0)
    module: Any = timm.create_model(architecture)
    for name, value in module.named_parameters():
        if value.numel() and value.min() == value.max():
            value.add_(torch.rand_like(value) / 5)
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            # Softer attention: between random tokens it is all or nothing otherwise, and what
            # Gemma 4 makes of a millionth is a tenth.
            value.div_(2)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d):
            each.momentum = 1.0
    module.train()(torch.randn(4, *module.pretrained_cfg["input_size"]))
    return {name: value.contiguous().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("form", ["onnx", "openvino", "pt2"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.long if kind in SAMPLE else pytest.mark.backbones)
        for kind in CLASSES
    ],
)
def test_the_file_gives_what_the_checkpoint_does(
    tmp_path: Path, kind: str, form: convert.Format, told: Callable[[str], None]
) -> None:
    for package in convert.NEEDED[form]:
        pytest.importorskip(package)
    with zoo.Zoo.init(tmp_path / "zoo") as z:
        save_file(lively(CLASSES[kind]), tmp_path / "net.safetensors")
        z.import_file(tmp_path / "net.safetensors", "team/net", architecture=CLASSES[kind])
        draw = np.random.default_rng(0)
        # As fine as what the batch norms have seen: LevitDistilled makes 0.04 of a millionth
        # otherwise, and each runtime something else.
        pictures = [draw.integers(0, most, (256, 256, 3), np.uint8) for most in (256, 100)]
        if reason := REFUSED.get((kind, form)):
            with pytest.raises(Unsupported, match=reason) as caught:
                z.convert("team/net", tmp_path / "made", format=form, images=pictures)
            told(f"{kind} | {CLASSES[kind]} | {form} | {caught.value}")
            return
        made = z.convert("team/net", tmp_path / "made", format=form, images=pictures)
        model = z.load("team/net")
        with torch.no_grad():
            one, other = (model(cast(Card, model.zoo).preprocess(each)[None]) for each in pictures)
    spread = float((one - other).abs().max())
    told(f"{kind} | {CLASSES[kind]} | {form} | {made.checked.difference / spread:.1e}")
    assert made.checked.difference < APART * spread


@pytest.mark.long
def test_the_page_tells_what_is_refused() -> None:
    page = (Path(__file__).parents[2] / "docs" / "surgery.md").read_text()
    for kind, form in REFUSED:
        assert f"`{kind}`" in page, form
