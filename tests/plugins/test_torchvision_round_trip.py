"""A torchvision user's way: own weights in, fine-tuned, and back into plain torchvision."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from fakes import threads
from fakes.typed import card
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import zoo
from zoo import plugins
from zoo.domain.hierarchy import Unit
from zoo_cli.main import main

WITH_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": True, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "transform_input": True, "init_weights": False},
}
QUICK = (("squeezenet1_1", 32),)
LONG = (
    ("mobilenet_v3_small", 32),
    ("densenet121", 32),
    ("googlenet", 32),
    ("efficientnet_v2_s", 64),
    ("inception_v3", 96),
    ("maxvit_t", 224),
    ("regnet_y_400mf", 32),
    ("shufflenet_v2_x0_5", 32),
    ("swin_t", 64),
    ("vit_b_16", 224),
)


one_thread = pytest.fixture(autouse=True, scope="module")(threads.one_thread)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five scanned digits of each of three kinds."""
    root = tmp_path_factory.mktemp("digits")
    data = load_digits()
    seen: Counter[int] = Counter()
    for pixels, label in zip(data.images, data.target, strict=True):
        seen[label] += 1
        if label < 3 and seen[label] <= 5:
            (root / str(label)).mkdir(exist_ok=True)
            scan = (pixels * (255 / 16)).round().astype("uint8")
            Image.fromarray(scan).save(root / str(label) / f"{seen[label]}.png")
    return root


def plain(folder: Path) -> torch.nn.Module:
    """Loaded as ``docs/plugins.md`` tells users to."""
    page = (Path(__file__).parents[2] / "docs/plugins.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page.partition("## torchvision")[2], re.DOTALL)[0]
    scope: dict[str, Any] = {
        "json": json, "torch": torch, "torchvision": torchvision, "load_file": load_file,
        "Path": Path,
    }  # fmt: skip
    exec(code.replace('"flowers/', f'"{folder}/'), scope)
    model: torch.nn.Module = scope["model"]
    return model.eval()


def logits(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        outputs: torch.Tensor = model(images)
    return outputs


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "size"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.backbones) for case in LONG)],
)
def test_in_and_out(architecture: str, size: int, digits: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = WITH_OPTIONS.get(architecture, {})
    theirs = torchvision.models.get_model(architecture, num_classes=4, **options).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) / 50)  # initial weights are alike from layer to layer
    torch.save(theirs.state_dict(), tmp_path / "best.pth")
    images = torch.randn(2, 3, size, size)
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(
            tmp_path / "best.pth", "team/base", architecture=architecture, backbone="torchvision"
        )
        loaded = z.load("team/base")
        assert torch.equal(logits(loaded, images), logits(theirs, images))
        z.export("team/base", tmp_path / "base")
        assert torch.equal(logits(plain(tmp_path / "base"), images), logits(theirs, images))

        run = z.finetune(
            "team/base", digits, "team/digits",
            freeze="50%", epochs=1, batch_size=6, image_size=size, device="cpu",
        )  # fmt: skip
        tuned = z.load("team/digits")
        assert card(tuned).classes == ("0", "1", "2")
        count = run.freeze["frozen_units"]
        assert isinstance(count, int)
        frozen = [
            name
            for unit in units(loaded, architecture)[:count]
            for name in (*unit.parameters, *unit.buffers)
        ]
        before, after = theirs.state_dict(), tuned.state_dict()
        assert frozen
        assert all(torch.equal(before[name], after[name]) for name in frozen)
        assert any(not torch.equal(before[name], after[name]) for name in before.keys() - frozen)
        z.export("team/digits", tmp_path / "tuned")
        found = logits(tuned, images)
        assert found.shape == (2, 3)
        assert torch.equal(logits(plain(tmp_path / "tuned"), images), found)
        z.import_folder(tmp_path / "tuned", "team/back")
        assert torch.equal(logits(z.load("team/back"), images), found)


def units(module: torch.nn.Module, architecture: str) -> tuple[Unit, ...]:
    return plugins.backbone("torchvision").hierarchy(architecture, module).units


@pytest.mark.long
def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = torchvision.models.get_model("mnasnet0_5", num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "best.pth")
    zoo.init(tmp_path / "zoo").close()
    monkeypatch.chdir(tmp_path / "zoo")
    line = ("import", "../best.pth", "--architecture", "mnasnet0_5", "--backbone", "torchvision")
    for arguments in ((*line, "--as", "team/own"), ("tree", "team/own")):
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        assert left.value.code == 0
    assert "layers.8.0" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("tag", ["", ".IMAGENET1K_V1"])
def test_what_the_configuration_says(tag: str, tmp_path: Path) -> None:
    theirs = torchvision.models.get_model("efficientnet_b0")
    torch.save(theirs.state_dict(), tmp_path / "best.pth")
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(
            tmp_path / "best.pth", "team/b0", architecture=f"efficientnet_b0{tag}",
            backbone="torchvision", license="mit",
        )  # fmt: skip
        z.export("team/b0", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    classes = config.pop("classes")
    assert config.pop("zoo")["classes"] == classes  # what zoo itself reads
    # As many outputs as ImageNet has are no reason to take its names; that they are named is.
    published = torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    assert classes == (published if tag else [])
    assert config == {
        "architecture": "efficientnet_b0",
        "options": {"num_classes": 1000},
        "head": "classifier.1",
        "replaced": {},
        "preprocessing": {
            "resize_size": 256,
            "crop_size": [224, 224],
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "license": "mit",
    }
