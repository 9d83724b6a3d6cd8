"""The way of a user with a network of his own: weights in, fine-tuned, predicted elsewhere, out."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import own_nets, threads, warm
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

import zoo
import zoo_torch
from zoo.errors import UnknownName
from zoo_cli.main import main
from zoo_torch.registered import REGISTERED

TESTS = Path(__file__).parents[1]


one_thread = pytest.fixture(autouse=True, scope="module")(threads.one_thread)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scanned digits of each of three kinds."""
    root = tmp_path_factory.mktemp("digits")
    data = load_digits()
    seen: Counter[int] = Counter()
    for pixels, label in zip(data.images, data.target, strict=True):
        seen[label] += 1
        if label < 3 and seen[label] <= 8:
            (root / str(label)).mkdir(exist_ok=True)
            scan = (pixels * (255 / 16)).round().astype("uint8")
            Image.fromarray(scan).save(root / str(label) / f"{seen[label]}.png")
    return root


def saved(module: torch.nn.Module, file: Path) -> torch.nn.Module:
    """Random weights, saved as safetensors or as a state dict."""
    state = module.eval().state_dict()
    if file.suffix == ".pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    return module


@torch.no_grad()
def outputs(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(images)
    return found


def plain(folder: Path, make_net: Any) -> torch.nn.Module:
    """Loaded as ``docs/plugins.md`` tells users to."""
    page = (TESTS.parent / "docs/plugins.md").read_text()
    section = page.partition("## torch\n")[2].partition("\n## ")[0]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[-1]
    scope: dict[str, Any] = {
        "json": json, "torch": torch, "load_file": load_file, "Path": Path, "make_net": make_net,
    }  # fmt: skip
    exec(code.replace('"flowers/', f'"{folder}/'), scope)
    model: torch.nn.Module = scope["model"]
    return model.eval()


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "make", "file"),
    [
        ("fakes.own_nets:CONV", own_nets.ConvNet, "best.safetensors"),
        ("fakes.own_nets:FORMER", own_nets.make_former, "best.pth"),
    ],
)
def test_in_tuned_predicted_in_another_process_and_out(
    path: str, make: Any, file: str, digits: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = saved(make(), tmp_path / file)
    images = torch.randn(2, 3, 32, 32)
    photo = digits / "1" / "1.png"
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(tmp_path / file, "team/base", architecture=path, backbone="torch")
        assert torch.equal(outputs(z.load("team/base"), images), outputs(theirs, images))
        run = z.finetune(
            "team/base", digits, "team/digits", freeze="50%", strategy="partial", epochs=2,
            batch_size=6, device="cpu",
        )  # fmt: skip
        units = z.tree(path).units
        half = len(units) // 2
        assert run.freeze["frozen_units"] == half
        tuned = z.load("team/digits")
        before, after = theirs.state_dict(), tuned.state_dict()
        for unit in units:
            kept = [torch.equal(before[name], after[name]) for name in unit.parameters]
            assert all(kept) if unit.depth < half else not any(kept), unit
        z.export("team/digits", tmp_path / "out")
        assert torch.equal(outputs(plain(tmp_path / "out", make), images), outputs(tuned, images))
        z.import_folder(tmp_path / "out", "team/back")
        assert torch.equal(outputs(z.load("team/back"), images), outputs(tuned, images))
        (expected,) = z.predict("team/digits", [photo])
    found = _elsewhere(tmp_path, "predict", "team/digits", photo, "--json")
    assert found[0]["logits"] == list(expected.logits)
    assert set(found[0]["classes"]) == {"0", "1", "2"}


def _elsewhere(folder: Path, *arguments: object) -> Any:
    """A command in a fresh process, which can import what is below ``tests``."""
    env = {**os.environ, "PYTHONPATH": str(TESTS), "ZOO_HOME": str(folder / "zoo")}
    done = warm.run("-m", "zoo_cli", *arguments, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_checkpoint_whose_network_is_not_here_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(own_nets.ConvNet(4), tmp_path / "best.safetensors")
    with zoo.init(tmp_path / "zoo") as z:
        zoo_torch.register("my-net", own_nets.ConvNet, preprocessing=own_nets.SMALL)
        for name, architecture in (("named", "my-net"), ("at-path", "fakes.own_nets:CONV")):
            z.import_file(
                tmp_path / "best.safetensors", f"team/{name}", architecture=architecture,
                backbone="torch",
            )  # fmt: skip
        del REGISTERED["my-net"]
        with pytest.raises(UnknownName, match="unknown network 'my-net'") as caught:
            z.load("team/named")
        assert "zoo_torch.register('my-net', factory)" in caught.value.__notes__[0]
    monkeypatch.chdir(tmp_path / "zoo")
    monkeypatch.setitem(sys.modules, "fakes.own_nets", None)
    for command in (("tree", "team/at-path"), ("export", "team/at-path", "out")):
        with pytest.raises(SystemExit) as left:
            main(list(command))
        assert left.value.code != 0
        error = capsys.readouterr().err
        assert "'fakes.own_nets', which the network 'fakes.own_nets:CONV' needs, is not" in error
        assert "install the package that has it, or name its folder: PYTHONPATH=DIR" in error


@pytest.mark.long
def test_an_encoder_gets_a_head(digits: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = "fakes.own_nets:make_encoder"
    encoder = saved(own_nets.make_encoder(), tmp_path / "best.pth")
    images = torch.randn(2, 3, 224, 224)
    with zoo.init(tmp_path / "zoo") as z:
        z.import_file(tmp_path / "best.pth", "team/base", architecture=path, backbone="torch")
        assert torch.equal(outputs(z.load("team/base"), images), outputs(encoder, images))
        z.finetune(
            "team/base", digits, "team/digits", freeze="all", epochs=1, batch_size=8, device="cpu"
        )
        tuned: Any = z.load("team/digits")
        pooled = outputs(encoder, images).mean((2, 3))
        assert torch.equal(outputs(tuned, images), outputs(tuned.zoo_head.head, pooled))
