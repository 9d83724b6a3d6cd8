"""A recipe run: what is shared with the parent, what is recorded, what is repeatable."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fakes import warm
from fakes.typed import card
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from zoo.backbones.describe import describe
from zoo.backbones.devices import pick_device
from zoo.backbones.load import load
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Manifest
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidData, InvalidFreeze, InvalidOption, UnknownName
from zoo.facade import Zoo
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.run import Finetuned, finetune, rerun
from zoo.store.files import restore_file
from zoo.workspace import Workspace

SAVED = Reference.parse("team/shapes:v1")
Run = Callable[..., Finetuned]


@pytest.fixture
def run(workspace: Workspace, base: str, shapes: Path) -> Run:
    """Fine-tune the base on the shapes, on the CPU; options are the recipe's."""

    def run(save: str = str(SAVED), **options: Any) -> Finetuned:
        quick = {"data": str(shapes), "epochs": 2, "batch_size": 8, "image_size": 32,
                 "strategy": "partial"}  # fmt: skip
        recipe = Recipe(**{**quick, **options})
        return finetune(workspace, base, recipe, Reference.parse(save), device="cpu")

    return run


@pytest.fixture(scope="module")
def results() -> list[Finetuned]:
    return []


@pytest.fixture
def result(shared: Workspace, drawn: Path, results: list[Finetuned]) -> Finetuned:
    """One run for all tests that only look at it."""
    if not results:
        recipe = Recipe(data=str(drawn), strategy="partial", freeze="layer2", seed=5, epochs=2,
                        batch_size=8, image_size=32, batch_norm="live")  # fmt: skip
        results.append(finetune(shared, "team/base", recipe, SAVED, device="cpu"))
    return results[0]


def hierarchy_of(workspace: Workspace) -> Hierarchy:
    return describe(workspace.registry, "timm", "test_resnet")


def bytes_of(manifest: Manifest) -> dict[str, tuple[Digest, int]]:
    return {tensor.name: (tensor.object, tensor.offset) for tensor in manifest.tensors}


def state(workspace: Workspace, digest: Digest) -> dict[str, torch.Tensor]:
    return load(workspace.store, digest).state_dict()


def kept(workspace: Workspace) -> list[Path]:
    folders = ("objects", "manifests", "refs", "tmp", "runs")
    return [path for folder in folders for path in (workspace.root / folder).rglob("*")]


@pytest.mark.long
def test_frozen_units_share_the_objects_of_the_parent(shared: Workspace, result: Finetuned) -> None:
    workspace = shared
    parent = workspace.store.manifest(result.parent)
    child = workspace.store.manifest(result.manifest)
    boundary = hierarchy_of(workspace).boundary("layer2")
    before, after = bytes_of(parent), bytes_of(child)
    for unit in hierarchy_of(workspace).units[:boundary]:
        for name in (*unit.parameters, *unit.buffers):
            assert after[name] == before[name], name
    changed = state(workspace, result.manifest)
    original = state(workspace, result.parent)
    for unit in hierarchy_of(workspace).units[boundary:]:
        for name in (*unit.parameters, *unit.buffers):
            assert not torch.equal(changed[name], original[name]), name
    assert changed["fc.weight"].shape == (3, original["fc.weight"].shape[1])
    assert set(changed) == set(original)


def test_manifest_records_the_run(shared: Workspace, result: Finetuned, drawn: Path) -> None:
    workspace = shared
    manifest = workspace.store.manifest(result.manifest)
    parent = workspace.store.manifest(result.parent)
    assert [(p.manifest, p.relation, p.ref) for p in manifest.parents] == [
        (result.parent, "finetune", "team/base")
    ]
    assert manifest.recipe is not None
    assert Recipe(**manifest.recipe).freeze == "layer2"
    assert manifest.recipe["seed"] == 5
    assert manifest.freeze == result.freeze
    assert manifest.freeze["kept"].startswith("epoch ")
    assert {**manifest.freeze, "kept": ""} == {
        "frozen_units": 5, "trainable_units": 2, "boundary": "layer3.0", "kept": "",
    }  # fmt: skip
    assert manifest.classes == ("2", "10", "Squares")
    assert manifest.head.kind == "linear"
    assert manifest.head.num_classes == 3
    assert manifest.preprocessing.input_size == (3, 32, 32)
    assert manifest.preprocessing.mean == parent.preprocessing.mean
    assert manifest.license == parent.license == "apache-2.0"
    assert manifest.metrics == result.metrics
    assert 0 <= manifest.metrics["accuracy"] <= 1
    assert manifest.metrics["test_images"] == 6
    assert manifest.created is not None
    dataset = open_dataset(str(drawn), seed=5)
    assert manifest.provenance["data_digest"] == dataset.digest
    assert manifest.provenance["split_digest"] == dataset.split_digest
    made = manifest.provenance
    for name in ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow"):
        assert made[name] == version(name)
    assert (made["python"], made["device"]) == (platform.python_version(), "cpu")
    assert made["threads"] == str(torch.get_num_threads())


@pytest.mark.long
def test_the_images_are_found_from_another_folder(
    workspace: Workspace, run: Run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shapes.parent)
    first = run("team/a", data=shapes.name, epochs=1)
    manifest = workspace.store.manifest(first.manifest)
    assert manifest.recipe is not None
    assert manifest.recipe["data"] == shapes.name  # it is pushed, and says nothing of this machine
    (card,) = (file for file in manifest.files if file.name == "README.md")
    restore_file(workspace.store, card, tmp_path / "README.md")
    assert str(shapes) not in (tmp_path / "README.md").read_text()
    monkeypatch.chdir("/")
    again = rerun(workspace, "team/a", Reference.parse("team/b"), device="cpu")
    assert workspace.store.manifest(again.manifest).weights == manifest.weights


def test_it_is_saved_under_its_name(shared: Workspace, result: Finetuned) -> None:
    workspace = shared
    assert workspace.names.resolve("team/shapes:v1") == (SAVED, result.manifest)
    assert [entry.why for entry in workspace.store.history(SAVED)] == ["finetune"]
    assert json.loads(json.dumps(result.to_json()))["ref"] == "team/shapes:v1"


def test_same_seed_gives_the_same_bits(workspace: Workspace, run: Run) -> None:
    """Whatever the caller's random state."""
    results = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)
        torch.rand(100 * number)
        results.append(run(f"team/run:{number}", seed=seed))
    first, again, other = (state(workspace, result.manifest) for result in results)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert results[0].metrics == results[1].metrics


@pytest.mark.usefixtures("result")
def test_a_fresh_process_gives_the_same_logits(shared: Workspace, drawn: Path) -> None:
    image = drawn / "10" / "05.png"
    zoo = Zoo(shared)
    here = zoo.predict("team/shapes:v1", [image])[0]
    program = (
        "import sys, json, torch, zoo; torch.set_num_threads(1); "
        "z = zoo.open(sys.argv[1]); "
        "print(json.dumps(z.predict('team/shapes:v1', [sys.argv[2]])[0].to_json()))"
    )
    there = json.loads(warm.run("-c", program, shared.root, image).stdout)
    assert there["logits"] == list(here.logits)
    assert there["classes"] == list(here.classes)
    assert set(here.classes) == {"2", "10", "Squares"}


@pytest.mark.parametrize(
    ("spec", "boundary", "name"),
    [("none", 0, "conv1.0"), pytest.param("all", 7, "head", marks=pytest.mark.long)],
)
def test_nothing_and_everything_frozen(
    workspace: Workspace, run: Run, spec: str, boundary: int, name: str
) -> None:
    result = run(freeze=spec, epochs=1, batch_norm="live" if spec == "none" else "auto")
    assert result.freeze["frozen_units"] == boundary
    assert result.freeze["trainable_units"] == 7 - boundary
    assert result.freeze["boundary"] == name
    before, after = state(workspace, result.parent), state(workspace, result.manifest)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == ({"fc.weight", "fc.bias"} if spec == "all" else set(before))


@pytest.mark.long
def test_a_fine_tune_can_be_fine_tuned(workspace: Workspace, run: Run, shapes: Path) -> None:
    first = run(freeze="all", epochs=1)
    shutil.rmtree(shapes / "10")
    recipe = Recipe(data=str(shapes), epochs=1, freeze="all", batch_size=8)
    second = finetune(workspace, str(SAVED), recipe, Reference.parse("team/two"), device="cpu")
    manifest = workspace.store.manifest(second.manifest)
    assert manifest.parents[0].manifest == first.manifest
    assert manifest.parents[0].ref == "team/shapes:v1"
    assert manifest.classes == ("2", "Squares")
    assert manifest.preprocessing.input_size == (3, 32, 32)
    assert load(workspace.store, second.manifest)(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def one_class_only(shapes: Path) -> None:
    shutil.rmtree(shapes / "10")
    shutil.rmtree(shapes / "Squares")


def corrupt_image(shapes: Path) -> None:
    (shapes / "10" / "00.png").write_bytes(b"text")


@pytest.mark.parametrize("damage", [one_class_only, corrupt_image])
def test_bad_data_is_refused_before_training(
    workspace: Workspace, run: Run, shapes: Path, damage: Callable[[Path], None]
) -> None:
    damage(shapes)
    before = kept(workspace)
    with pytest.raises(InvalidData):
        run()
    assert kept(workspace) == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"freeze": "layer9"}, InvalidFreeze),
        ({"head": "lineal"}, UnknownName),
        ({"freeze": "8"}, InvalidFreeze),
        ({"optimizer": "adamv"}, InvalidOption),
        ({"optimizer": "adahessian"}, InvalidOption),
        ({"optimizer": "fusedadam"}, InvalidOption),  # of a package that wants a GPU
        ({"task": "multi-label", "label_smoothing": 0.1}, InvalidOption),
        ({"task": "regression", "label_smoothing": 0.1}, InvalidOption),
        ({"task": "regression", "label_smoothing": 0.1, "mixup": 0.4}, InvalidOption),
        ({"task": "regression", "label_smoothing": 0.1, "cutmix": 1.0}, InvalidOption),
    ],
)
def test_bad_options_are_refused_before_training(
    workspace: Workspace, run: Run, shapes: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    before = kept(workspace)
    if "task" in options:
        paths = [path.relative_to(shapes) for path in sorted(shapes.rglob("*.png"))]
        rows = [f"{path},{number % 2},1" for number, path in enumerate(paths)]
        head = "path,target,note" if options["task"] == "regression" else "path,round,other"
        (shapes / "labels.csv").write_text("\n".join([head, *rows]))
        options = {**options, "data": str(shapes / "labels.csv")}
    with pytest.raises(error):
        run(**options)
    assert kept(workspace) == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"freeze": "layer9"}, InvalidFreeze),
        ({"strategy": "gradual", "phases": ("layer9:1",), "epochs": 5}, InvalidFreeze),
        ({"strategy": "probe", "at": "layer9", "epochs": 5}, UnknownName),
    ],
)
def test_a_mistyped_unit_is_told_before_the_images_are_read(
    run: Run, shapes: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    corrupt_image(shapes)
    with pytest.raises(error, match="layer9"):
        run(**options)


def imported(workspace: Workspace, architecture: str, folder: Path) -> str:
    """A network with untrained weights in the zoo; its name."""
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=2)
    save_file(module.state_dict(), folder / "file.safetensors")
    Zoo(workspace).import_file(folder / "file.safetensors", "team/other", architecture=architecture)
    return "team/other"


@pytest.mark.long
def test_an_image_size_that_the_network_does_not_take(
    workspace: Workspace, shapes: Path, tmp_path: Path
) -> None:
    base = imported(workspace, "resmlp_12_224", tmp_path)
    before = kept(workspace)
    with pytest.raises(InvalidOption, match="images of 64 x 64 pixels"):
        Zoo(workspace).finetune(base, shapes, "team/x", device="cpu", image_size=64, epochs=1)
    assert kept(workspace) == before


@pytest.mark.long
def test_a_transformer_is_fitted_to_the_image_size(
    workspace: Workspace, shapes: Path, tmp_path: Path
) -> None:
    base = imported(workspace, "vit_tiny_patch16_224", tmp_path)
    zoo = Zoo(workspace)
    result = zoo.finetune(
        base, shapes, "team/x", device="cpu", image_size=64, epochs=1, freeze="all"
    )
    tuned = zoo.load("team/x")
    assert workspace.store.manifest(result.manifest).backbone.options["image_size"] == [64, 64]
    assert tuned(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    original = zoo.load(base)
    places = [net.get_parameter("pos_embed").shape[1] for net in (tuned, original)]
    assert places[0] < places[1]
    kept = "blocks.0.attn.qkv.weight"
    assert torch.equal(tuned.get_parameter(kept), original.get_parameter(kept))


def test_unknown_base(workspace: Workspace, shapes: Path, base: str) -> None:
    recipe = Recipe(data=str(shapes))
    with pytest.raises(UnknownName) as caught:
        finetune(workspace, "team/bass", recipe, SAVED, device="cpu")
    assert "team/base" in caught.value.near


def test_devices() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in ("cpu", "cuda", "mps", "xpu")
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(InvalidOption, match=name):
            pick_device(name)


@pytest.mark.long
def test_digits_from_a_packages_weights(workspace: Workspace, tmp_path: Path) -> None:
    digits = load_digits()
    for index in range(200):
        folder = tmp_path / "digits" / str(digits.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (255 - digits.images[index] * 15.9).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(
            folder / f"{index}.png"
        )
    zoo = Zoo(workspace)
    zoo.pull("timm/tf_efficientnet_lite0.in1k")
    result = zoo.finetune(
        "timm/tf_efficientnet_lite0.in1k",
        tmp_path / "digits",
        "team/digits",
        freeze="blocks.4",
        image_size=64,
        epochs=1,
        batch_size=16,
        device="cpu",
    )
    assert result.freeze["boundary"] == "blocks.5.0"
    assert result.metrics["accuracy"] > 0.7  # in one epoch; a tenth by chance
    assert card(zoo.load("team/digits")).classes == tuple("0123456789")
