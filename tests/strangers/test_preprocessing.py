"""A stranger's preprocessing is run within limits, or refused where it is to be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.bounded import bounded
from fakes.program import zoo as say
from fakes.strangers import BASE, plant
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo.backbones.preprocess import inference_transform, resized_pixels
from zoo.domain.manifest import Preprocessing
from zoo.errors import Unsupported

ODD: dict[str, tuple[Any, ...]] = {
    "crop_pct": (1e-4, 1e-300, 0, -1.0, 10**400, 3),
    "input_size": (
        (3, 30_000, 30_000),
        (3, 2**40, 2**40),
        (3, 0, 8),
        (3, -160, 160),
        (2**20, 8, 8),
    ),
    "mean": ((1e300,) * 3, (0.5, 0.5, -1e7), ()),
    "std": ((0.0,) * 3, (0.5, 1e-300, 0.5), (-1.0,) * 3, ()),
    "interpolation": ("random", "x" * 10_000, ""),
    "crop_mode": ("", "middle"),
}


def of_base(home: Path) -> Preprocessing:
    with zoo.open(home) as z:
        _, digest = z.workspace.names.resolve(BASE)
        return z.workspace.store.manifest(digest).preprocessing


@pytest.mark.long
def test_one_beyond_the_limits_is_refused_where_it_is_used(
    home: Path, images: Path, tmp_path: Path
) -> None:
    how = of_base(home)
    for number, (field, values) in enumerate(ODD.items()):
        name = f"team/odd{number}"
        plant(home, name, preprocessing=replace(how, **{field: values[0]}))
        commands: list[tuple[object, ...]] = [
            ("predict", name, images / "a" / "0.png"),
            ("tree", name),
            ("export", name, tmp_path / "out"),
            ("finetune", name, "--data", images, "--save", "team/new"),
        ]
        for command in commands if not number else commands[:1]:
            done = bounded(*command, megabytes=300, seconds=10)
            assert done.failed(f"the preprocessing's {field} is"), (command, done)
            assert len(done.err) < 300
        assert say("show", name).code == 0
    assert say("reindex").code == 0


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in ODD.items() for v in values])
def test_values(field: str, value: Any) -> None:
    sound = Preprocessing(
        input_size=(3, 8, 8), mean=(0.5,), std=(0.5,), interpolation="bicubic", crop_pct=1,
        crop_mode="center",
    )  # fmt: skip
    inference_transform(sound, "timm")
    with pytest.raises(Unsupported, match=f"the preprocessing's {field} is"):
        inference_transform(replace(sound, **{field: value}), "timm")


def test_a_size_that_the_network_does_not_take(home: Path, images: Path) -> None:
    plant(home, "team/odd", preprocessing=replace(of_base(home), input_size=(3, 161, 160)))
    said = say("predict", "team/odd", images / "a" / "0.png")
    assert said.failed("the network does not take images of 3 x 161 x 160", "divisible"), said


@pytest.mark.long
def test_a_network_of_grey_images_sees_grey(home: Path, images: Path, tmp_path: Path) -> None:
    """A grey image gives what it gave in colour; a coloured one is made grey."""
    say("adapt", BASE, "team/grey", "--channels", 1).done()
    colour = images / "b" / "1.png"
    with Image.open(colour) as image:
        image.convert("L").save(tmp_path / "grey.png")

    def logits(name: str, path: Path) -> torch.Tensor:
        (found,) = say("predict", name, path, "--json").done().json
        return torch.tensor(found["logits"])

    expected = logits(BASE, tmp_path / "grey.png")
    for path in (tmp_path / "grey.png", colour):
        assert torch.allclose(logits("team/grey", path), expected, atol=1e-3)
    out = tmp_path / "codes.safetensors"
    say("features", "team/grey", images, "--out", out).done()
    say("adapt", BASE, "team/four", "--channels", 4).done()
    said = say("predict", "team/four", colour)
    assert said.failed(f"{colour}: has 3 colors, and the network takes 4 channels")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-300])
def test_a_configuration_is_held_to_them(home: Path, tmp_path: Path, value: float) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.zeros(3)}, folder / "model.safetensors")
    known = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3}
    for field, odd in (("crop_pct", value), ("std", [value] * 3)):
        config = {"architecture": "test_vit", "pretrained_cfg": {**known, field: odd}}
        (folder / "config.json").write_text(json.dumps(config))
        done = say("import", folder, "--as", "team/x")
        assert done.failed(field), done


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "{" + " " * (1 << 21) + "}", '{"architecture": NaN}'],
    ids=["lists", "maps", "spaces", "NaN"],  # a name that the environment of a process can hold
)
def test_a_configuration_that_is_none(home: Path, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.zeros(3)}, folder / "model.safetensors")
    (folder / "config.json").write_text(text)
    done = bounded("import", folder, "--as", "team/x", megabytes=300, seconds=10)
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(640, 480), (33, 1000), (8, 8), (400, 20)])
def test_what_is_counted_is_what_is_made(mode: str, size: tuple[int, int]) -> None:
    """At least the pixels of the largest image on the way, and no more than twice these."""
    how = Preprocessing(
        input_size=(3, 24, 32), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear",
        crop_pct=0.8, crop_mode=mode,
    )  # fmt: skip
    made = Image.new("RGB", size)
    transform: Any = inference_transform(how, "timm")
    resized = transform.transform.transforms[0](made)
    wide, high = resized.size
    assert wide * high <= resized_pixels(how, *size) <= 2 * wide * max(high, size[1])
