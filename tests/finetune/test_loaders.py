"""What is kept of a dataset: named after all that shapes it, and each view is one of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo import plugins
from zoo.backbones.freeze import freeze
from zoo.backbones.from_cut import FromCut
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.features import loaders as feeds
from zoo.finetune.features.cache import Activations
from zoo.finetune.features.loaders import CachedLoader, Loaders, make_loaders
from zoo.finetune.setup.network import autocast
from zoo.finetune.setup.prepare import PreparedRun, prepare, truncated
from zoo.workspace import Workspace

Ready = Callable[..., PreparedRun]
Homes = Callable[[PreparedRun], set[str]]
VIEWS: dict[str, Any] = {"augment": "light", "views": 1}


@pytest.fixture
def table(shapes: Path) -> Path:
    """The shapes in given splits, so that a seed decides none."""
    names = {6: "validation", 7: "test"}
    rows = [
        f"{path.relative_to(shapes)},{path.parent.name},{names.get(int(path.stem), 'train')}"
        for path in sorted(shapes.rglob("*.png"))
        if int(path.stem) in (0, 3, 6, 7, 8)
    ]
    (shapes / "table.csv").write_text("\n".join(["path,label,split", *rows]))
    return shapes / "table.csv"


@pytest.fixture
def ready(workspace: Workspace, base: str, table: Path) -> Ready:
    """The base prepared for the table's images; options are the recipe's."""

    def ready(base: str = base, **options: Any) -> PreparedRun:
        quick = {"strategy": "partial", "freeze": "layer2", "batch_size": 8, "image_size": 32}
        recipe = Recipe(data=str(table), **{**quick, **options})
        return prepare(workspace, base, recipe, "cpu", silent)

    return ready


def fed(prepared: PreparedRun, folder: Path) -> Loaders:
    freeze(prepared.model, prepared.hierarchy, prepared.boundaries[0])
    made = make_loaders(prepared, prepared.boundaries[0], folder)
    assert made.cut
    return made


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    """The names of the folders that hold cached activations, new each time."""

    def homes(prepared: PreparedRun) -> set[str]:
        folder = tmp_path / f"activations{len(list(tmp_path.iterdir()))}"
        fed(prepared, folder)
        return {path.name for path in folder.iterdir()}

    return homes


def shifted(prepared: PreparedRun) -> PreparedRun:
    name = prepared.hierarchy.units[0].parameters[-1]
    with torch.no_grad():
        prepared.model.get_parameter(name).add_(1e-6)
    return prepared


def preprocessed(**options: Any) -> Callable[[PreparedRun], PreparedRun]:
    def change(prepared: PreparedRun) -> PreparedRun:
        planned = prepared.network.planned
        other = replace(planned, preprocessing=replace(planned.preprocessing, **options))
        return replace(prepared, network=replace(prepared.network, planned=other))

    return change


def renamed(prepared: PreparedRun) -> PreparedRun:
    planned = prepared.network.planned
    backbone = replace(planned.backbone, architecture="another")
    network = replace(prepared.network, planned=replace(planned, backbone=backbone))
    return replace(prepared, network=network)


def test_another_network_or_transform_is_kept_elsewhere(ready: Ready, homes: Homes) -> None:
    changes: dict[str, Callable[[PreparedRun], PreparedRun]] = {
        "mean": preprocessed(mean=(0.1, 0.2, 0.3)),
        "std": preprocessed(std=(0.5, 0.6, 0.7)),
        "crop_pct": preprocessed(crop_pct=0.5),
        "interpolation": preprocessed(interpolation="nearest"),
        "architecture": renamed,
        "truncated": lambda prepared: truncated(prepared, ["layer3"]),
        "weights": shifted,
    }
    prepared = ready(**VIEWS)
    before = homes(prepared)
    assert len(before) == 2
    for name, change in changes.items():
        assert not before & homes(change(prepared)), name


def test_how_a_margin_is_rounded_counts(
    ready: Ready, homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready()
    before = homes(prepared)
    monkeypatch.setattr(feeds, "ROUNDING_DOWN", ("timm",))
    assert not before & homes(prepared)


@pytest.mark.long
def test_options_that_shape_it_are_kept_elsewhere(ready: Ready, homes: Homes) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"precision": "bf16"}, {"batch_size": 9}, {"channels_last": True}, {"image_size": 40},
        {"freeze": "layer1"},
    )  # fmt: skip
    before = homes(ready(**VIEWS))
    for options in changes:
        assert not before & homes(ready(**VIEWS, **options)), options


@pytest.mark.long
def test_another_precision_is_kept_elsewhere_where_rows_are_alike(
    ready: Ready, homes: Homes, transformer: str
) -> None:
    precise, coarse = (
        homes(ready(transformer, freeze="blocks.1", image_size=None, precision=precision))
        for precision in ("fp32", "bf16")
    )
    assert not precise & coarse


def test_only_what_bf16_computes_with_is_kept_in_it(ready: Ready, transformer: str) -> None:
    """What enters at a cut may be larger than the largest number of fp16."""
    kept = {}
    for precision in ("fp32", "fp16", "bf16"):
        how = {"freeze": "blocks.1", "image_size": None, "precision": precision}
        prepared = ready(transformer, **how)
        with autocast(prepared.model, precision):
            image = torch.rand(prepared.network.planned.preprocessing.input_size)
            _, shape = feeds._cut_entry(prepared, prepared.lowest, image)
        kept[precision] = [row.kept for row in shape.rows if row.dtype == torch.float32]
    assert kept["fp32"] == kept["fp16"] == [torch.float32]
    assert kept["bf16"] == [torch.bfloat16]


def test_the_model_of_a_gpu_and_how_exactly_it_multiplies_count(
    ready: Ready, homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, models, found = torch.device("cuda"), iter("AABB"), []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: next(models))
    exact = torch.get_float32_matmul_precision()
    for precision in ("highest", "high", "highest"):
        torch.set_float32_matmul_precision(precision)
        found.append(tuple(feeds._arithmetic(gpu)))
    torch.set_float32_matmul_precision(exact)
    assert len(set(found)) == 3
    prepared = ready()
    before = homes(prepared)
    monkeypatch.setattr(feeds, "_arithmetic", lambda _: found[0])
    assert not before & homes(prepared)


@pytest.mark.long
def test_what_shapes_views_alone_leaves_the_plain_ones(ready: Ready, homes: Homes) -> None:
    before, plain = homes(ready(**VIEWS)), homes(ready())
    assert plain == homes(ready(seed=1))
    for options in ({"seed": 1}, {"augment": "heavy"}):
        after = homes(ready(**{**VIEWS, **options}))
        assert (before & after, len(after)) == (plain, 2), options


@pytest.mark.long
def test_what_is_above_the_cut_finds_it_again(ready: Ready, homes: Homes) -> None:
    same = {"epochs": 9, "lr": 0.1, "layer_decay": 0.5, "backbone_lr_ratio": 0.5, "ema": 0.9,
            "optimizer": "sgd", "label_smoothing": 0.1, "weight_decay": 0.0}  # fmt: skip
    before = homes(ready(**VIEWS))
    assert before == homes(ready(**VIEWS, **same))
    assert before == homes(ready(**VIEWS, head="cosine"))


def repainted(table: Path) -> None:
    Image.new("RGB", (32, 32)).save(table.parent / "10" / "03.png")


def relabeled(table: Path) -> None:
    table.write_text(table.read_text().replace("10/03.png,10,", "10/03.png,2,"))


def resplit(table: Path) -> None:
    text = table.read_text().replace("10/07.png,10,test", "10/07.png,10,train")
    table.write_text(text.replace("10/08.png,10,train", "10/08.png,10,test"))


@pytest.mark.parametrize(("change", "shared"), [(repainted, 0), (relabeled, 0), (resplit, 1)])
def test_other_images_are_kept_elsewhere(
    ready: Ready, homes: Homes, table: Path, change: Callable[[Path], None], shared: int
) -> None:
    before = homes(ready(**VIEWS))
    change(table)
    after = homes(ready(**VIEWS))
    assert (len(before), len(after), len(before & after)) == (2, 2, shared)


@pytest.mark.long
def test_other_versions_keep_it_elsewhere(
    ready: Ready, homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(**VIEWS)
    before = homes(prepared)
    for name in ("zoo-registry", "torch", "torchvision", "timm", "pillow"):
        with monkeypatch.context() as other:
            other.setattr(
                feeds, "version", lambda of, name=name: "0" if of == name else version(of)
            )
            assert not before & homes(prepared), name
    with monkeypatch.context() as other:
        other.setattr(plugins, "backbone_version", lambda _: "timm 0.0")
        assert not before & homes(prepared)
    monkeypatch.setattr(feeds, "READING", 0)
    assert not before & homes(prepared)


def cached(feed: object) -> CachedLoader:
    assert isinstance(feed, CachedLoader)
    return feed


def rows(activations: Activations, indices: list[int]) -> Tensor:
    (value,), _ = activations.batch(indices, torch.device("cpu"))
    assert isinstance(value, Tensor)
    return value


def test_a_view_has_the_inputs_at_the_cut_for_images_of_its_epoch(
    ready: Ready, tmp_path: Path
) -> None:
    prepared = ready(augment="light", views=2)
    made = fed(prepared, tmp_path)
    train, plain = cached(made.train), cached(made.plain)
    size, dataset = prepared.recipe.images_per_batch, prepared.dataset
    entry = FromCut(prepared.model, prepared.hierarchy, made.cut)
    everything = list(range(len(dataset.train)))
    seen = [rows(view, list(train.rows)) for view in train.views]
    assert len(seen) == 2
    for epoch, level, kept in (
        (0, "light", seen[0]),
        (1, "light", seen[1]),
        (0, "none", rows(plain.views[0], list(plain.rows))),
    ):
        planned = prepared.network.planned
        transform = training_transform(planned.preprocessing, planned.backbone.plugin, level)
        batches = Batches(dataset, dataset.train, transform, size, seed=prepared.recipe.seed)
        images = torch.stack([batches.image(index, epoch) for index in everything])
        (expected,), _ = entry.record(images)
        assert torch.allclose(kept, expected, atol=1e-5)
    for one, other in ((seen[0], seen[1]), (seen[0], expected), (seen[1], expected)):
        alike = [torch.allclose(a, b, atol=1e-3) for a, b in zip(one, other, strict=True)]
        assert sum(alike) < len(alike) / 4


def test_some_of_them_are_those_of_their_images(ready: Ready, tmp_path: Path) -> None:
    prepared = ready()
    made = fed(prepared, tmp_path)
    few = cached(made.plain).some(4)
    assert len(made.plain.batches.samples) > 4
    (batch,) = few.whole()
    images = torch.stack([few.batches.image(at, 0) for at in range(4)])
    (expected,), _ = FromCut(prepared.model, prepared.hierarchy, made.cut).record(images)
    (found,), _ = batch.inputs.at_cut
    assert torch.allclose(found, expected, atol=1e-5)


def test_epochs_take_turns_with_the_views(ready: Ready, tmp_path: Path) -> None:
    train = cached(fed(ready(augment="light", views=3), tmp_path).train)
    for epoch in range(5):
        plan = train.batches.plan(epoch)
        for indices, batch in zip(plan, train.epoch(epoch), strict=True):
            (value,), _ = batch.inputs.at_cut
            assert torch.equal(value, rows(train.views[epoch % 3], indices))
