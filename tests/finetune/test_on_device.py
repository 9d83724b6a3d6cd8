"""Augmentation on a device: what timm's transforms draw and do, of whole batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.backbones.load import load
from zoo.domain.manifest import Preprocessing
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption
from zoo.finetune.dataset.augment import seeded, training_transform
from zoo.finetune.dataset.drawn import unpacked
from zoo.finetune.dataset.on_device import COLORS, MATRICES, NAMES, Finish
from zoo.finetune.run import Finetuned, finetune
from zoo.workspace import Workspace

CPU = torch.device("cpu")
HOW = Preprocessing(
    input_size=(3, 40, 48), interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3),
    crop_pct=1.0, crop_mode="center",
)  # fmt: skip
GRAY = replace(HOW, input_size=(1, 40, 48), mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Smooth, of all colors, and of another shape than what is cut out of it."""
    noise = torch.randint(256, (9, 12, 3), generator=torch.Generator().manual_seed(0))
    small = Image.fromarray(noise.to(torch.uint8).numpy())
    return small.resize((120, 90), Image.Resampling.BICUBIC)


def both(
    how: Preprocessing, level: str, picture: Image.Image, number: int
) -> tuple[Tensor, Tensor, Tensor]:
    """So many images of the same draws: by timm, on a device in one batch, and as the host gives
    them to it.
    """
    host = training_transform(how, "timm", level)
    device = training_transform(how, "timm", level, on="device")
    made, packed = list[Tensor](), list[Tensor]()
    for draw in range(number):
        with seeded(0, draw):
            made.append(host.apply(picture))
        with seeded(0, draw):
            packed.append(device.apply(picture))
    assert device.finish
    bytes_ = torch.stack(packed)
    return torch.stack(made), device.finish(bytes_.clone(), CPU), bytes_


@pytest.mark.parametrize("how", [HOW, GRAY], ids=["colors", "gray"])
@pytest.mark.parametrize("level", ["light", "medium"])
def test_it_is_timms_to_the_bit(level: str, how: Preprocessing, picture: Image.Image) -> None:
    host, device, _ = both(how, level, picture, 60)
    assert len({float(image.sum()) for image in host}) > 50
    assert torch.equal(host, device)


@pytest.mark.parametrize("how", [HOW, GRAY], ids=["colors", "gray"])
def test_heavy_is_timms_but_for_how_it_turns_and_for_its_noise(
    how: Preprocessing, picture: Image.Image
) -> None:
    host, device, packed = both(how, "heavy", picture, 400)
    rows = unpacked(packed, host[0].numel())
    scale = 255 * torch.tensor(how.std).reshape(-1, 1, 1)
    drawn, turned, noise = Counter[str](), list[float](), list[Tensor]()
    for at, (top, left, bottom, right, _) in enumerate(rows.boxes):
        kept = torch.ones(how.input_size[1:], dtype=torch.bool)
        if bottom:
            kept[top:bottom, left:right] = False
            noise.append(device[at][:, ~kept].flatten())
            assert not torch.equal(host[at], device[at])
        names = {NAMES[kind] for kind in rows.kinds[at].tolist()} - {""}
        drawn.update(names)
        levels = ((host[at] - device[at]) * scale).abs()[:, kept]
        if names <= COLORS.keys() - {"auto_contrast"}:
            assert not levels.any(), names
        elif names <= {"auto_contrast", "mirror"}:  # Pillow's, in float64, may end just below
            assert float(levels.max()) < 1.5
        elif len(names - {"mirror"}) == 1:  # what comes after may make more of a small difference
            turned.append(float(levels.mean()))
    assert drawn.keys() >= {*COLORS, *MATRICES}
    assert 150 < drawn["mirror"] < 250
    assert 70 < len(noise) < 130  # a quarter
    assert float(torch.cat(noise).mean()) == pytest.approx(0, abs=0.02)
    assert float(torch.cat(noise).std()) == pytest.approx(1, abs=0.02)
    assert len(turned) > 30
    assert max(turned) < 3  # of 255 levels
    assert sum(turned) / len(turned) < 1.0


def test_an_image_is_the_same_in_whatever_batch(picture: Image.Image) -> None:
    _, whole, packed = both(HOW, "heavy", picture, 40)
    finish = training_transform(HOW, "timm", "heavy", on="device").finish
    assert finish
    some = [31, 4, 4, 17]
    assert torch.equal(finish(packed[some], CPU), whole[some])


def test_what_a_device_cannot_do_is_refused() -> None:
    other = replace(HOW, interpolation="lanczos")
    with pytest.raises(InvalidOption, match="filter, lanczos, and a device has nearest, bilinear"):
        training_transform(other, "timm", "heavy", on="device")
    assert training_transform(other, "timm", "medium", on="device").finish
    with pytest.raises(InvalidOption, match="--augment-on device needs --augment light"):
        Recipe(data="flowers", augment_on="device")
    with pytest.raises(InvalidOption, match="the strategy probe does not use augment, augment on"):
        Recipe(data="flowers", strategy="probe", augment="light", augment_on="device")


Tuned = Callable[..., dict[str, Tensor]]


@pytest.fixture
def tuned(workspace: Workspace, base: str, shapes: Path) -> Tuned:
    """All tensors of a fine-tune that goes by their names."""

    def tuned(save: str, **how: Any) -> dict[str, Tensor]:
        quick: dict[str, Any] = {
            "strategy": "partial", "freeze": "layer2", "epochs": 1, "batch_size": 6,
            "image_size": 32, "lr": 0.01,
        }  # fmt: skip
        recipe = Recipe(data=str(shapes), **{**quick, **how})
        result: Finetuned = finetune(workspace, base, recipe, Reference.parse(save), device="cpu")
        return load(workspace.store, result.manifest).state_dict()

    return tuned


@pytest.mark.parametrize(
    "how",
    [{"mixup": 0.4, "cutmix": 1.0}, pytest.param({"views": 2}, marks=pytest.mark.long)],
    ids=["mixed", "cached"],
)
def test_a_fine_tune_is_the_same_to_the_bit(
    tuned: Tuned, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    finished, real = list[int](), Finish.__call__

    def finish(self: Finish, packed: Tensor, device: torch.device) -> Tensor:
        finished.append(len(packed))
        return real(self, packed, device)

    monkeypatch.setattr(Finish, "__call__", finish)
    host = tuned("team/host", augment="medium", **how)
    assert not finished
    device = tuned("team/device", augment="medium", augment_on="device", **how)
    several = [count for count in finished if count > 1]  # pictures of the run want them singly
    assert several == [6, 6, 6, 6, 3] * how.get("views", 1)
    assert all(torch.equal(host[name], device[name]) for name in host)
    other = tuned("team/other", augment="light", **how)
    assert not all(torch.equal(host[name], other[name]) for name in host)
