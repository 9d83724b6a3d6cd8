"""An accelerator computes what the CPU does, and from the cut what the whole network does."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from zoo import plugins
from zoo.backbones.from_cut import FromCut
from zoo.backbones.load import Card, load, load_many
from zoo.domain.manifest import Preprocessing
from zoo.facade import Zoo
from zoo.finetune.dataset.augment import seeded, training_transform
from zoo.finetune.dataset.drawn import unpacked
from zoo.finetune.run import Finetuned
from zoo.finetune.setup.network import autocast
from zoo.workspace import Workspace

pytestmark = pytest.mark.gpu

Tune = Callable[..., Finetuned]
FROM_CUT = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 8e-3}
"""Of the largest output: the same kernels get the same numbers, so that it is mostly 0."""
AS_ON_CPU = 5e-3
"""Of the largest output: an accelerator may multiply in TF32, with 10 bits."""


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.float().cpu() - other.float().cpu()).abs().max() / other.abs().max())


@pytest.mark.parametrize("precision", list(FROM_CUT))
@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet", "test_convnext"])
def test_from_the_cut_the_network_says_the_same(
    device: str, architecture: str, precision: str
) -> None:
    if device == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported(False):
        pytest.skip("this card has no bf16")
    torch.manual_seed(0)
    model = timm.create_model(architecture).eval()
    hierarchy = plugins.backbone("timm").hierarchy(architecture, model)
    cut = hierarchy.cut_below(len(hierarchy.units) * 3 // 4)
    assert cut
    entry = FromCut(model.to(device), hierarchy, cut)
    size = plugins.backbone("timm").preprocessing(model).input_size
    images = torch.randn(4, *size, device=device)
    with torch.no_grad(), autocast(model, precision):
        whole = model(images)
        from_cut = entry.forward(entry.record(images), images)
        other = model(images.flip(0))
    assert whole.dtype == from_cut.dtype
    assert apart(from_cut, whole) <= FROM_CUT[precision]
    assert apart(other, whole) > 4 * apart(from_cut, whole)  # what is compared tells images apart
    assert apart(other, whole) > 0.004


def test_images_are_augmented_as_on_the_cpu(device: str) -> None:
    """But for what is erased, where each has its own noise."""
    how = Preprocessing(
        input_size=(3, 40, 48), interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3),
        crop_pct=1.0, crop_mode="center",
    )  # fmt: skip
    transform = training_transform(how, "timm", "heavy", on="device")
    assert transform.finish
    noise = torch.randint(256, (60, 80, 3), generator=torch.Generator().manual_seed(0))
    picture, packed = Image.fromarray(noise.to(torch.uint8).numpy()), []
    for number in range(200):
        with seeded(0, number):
            packed.append(transform.apply(picture))
    here, there = (
        transform.finish(torch.stack(packed), torch.device(each)) for each in ("cpu", device)
    )
    assert there.device.type == device
    whole = [at for at, box in enumerate(unpacked(torch.stack(packed), 5760).boxes) if not box[2]]
    levels = (here[whole] - there[whole].cpu()).abs() * 255 * 0.3
    assert 100 < len(whole) < 200
    # A pixel may be rounded otherwise, and be on the other side of a threshold then.
    assert float((levels > 1.5).float().mean()) < 0.001


def test_a_checkpoint_loads_straight_onto_it(
    workspace: Workspace, base: str, transformer: str, device: str
) -> None:
    digests = [workspace.names.resolve(name)[1] for name in (base, transformer)]
    several = load_many(workspace.store, digests, device=device)
    for digest, shared in zip(digests, several, strict=True):
        alone, here = load(workspace.store, digest, device=device), load(workspace.store, digest)
        for name, value in here.state_dict().items():
            for module in (alone, shared):
                there = module.state_dict()[name]
                assert there.device.type == device
                assert torch.equal(there.cpu(), value), name


def test_predictions_are_those_of_the_cpu(
    workspace: Workspace, base: str, transformer: str, device: str, shapes: Path, tmp_path: Path
) -> None:
    for name in (base, transformer):
        digest = workspace.names.resolve(name)[1]
        with torch.no_grad():
            here = load(workspace.store, digest)
            size = cast(Card, here.zoo).manifest.preprocessing.input_size
            images = torch.randn(3, *size)
            expected = here(images)
            found = load(workspace.store, digest, device=device)(images.to(device))
        assert apart(found, expected) <= AS_ON_CPU
    with Zoo(workspace) as z:
        written = [tmp_path / "there.csv", tmp_path / "here.csv"]
        for out, where in zip(written, (device, "cpu"), strict=True):
            z.write_predictions(base, shapes, out, device=where, workers=0, batch_size=5)
        there, here_ = (list(csv.DictReader(io.StringIO(out.read_text()))) for out in written)
    assert len(there) == 36
    for one, other in zip(there, here_, strict=True):
        assert one["path"] == other["path"]
        found_, expected_ = (float(row["probability_1"]) for row in (one, other))
        assert found_ == pytest.approx(expected_, rel=0.05)


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler here")
@pytest.mark.parametrize("cache", [True, False], ids=["from the cut", "whole"])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it, where it may
def test_compiled_it_trains_the_same(
    transformer: str, tune: Tune, tensors: Callable[[str], dict[str, Tensor]], cache: bool
) -> None:
    how: dict[str, Any] = {"cache": cache, "epochs": 1, "batch_size": 13}
    tune(transformer, "team/plain", **how)
    tune(transformer, "team/compiled", compile=True, **how)
    one, other = tensors("team/plain"), tensors("team/compiled")
    for name, value in one.items():
        assert torch.allclose(other[name], value, atol=1e-6 + 1e-2 * float(value.abs().max())), name
