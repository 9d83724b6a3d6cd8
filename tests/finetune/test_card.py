"""The card of a fine-tune, as the client of the Hub reads it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.results.card import model_card
from zoo.finetune.run import finetune
from zoo.store.files import restore_file
from zoo.workspace import Workspace

SAVED = Reference.parse("team/shapes")
COLUMNS: dict[str, tuple[str, Callable[[str, int], object]]] = {
    "classification": ("label", lambda kind, number: kind),
    "multi-label": (
        "labels",
        lambda kind, number: f"{kind}|{'even' if number % 2 == 0 else 'odd'}",
    ),
    "regression": ("target", lambda kind, number: number / 2),
}


@pytest.fixture
def table(shapes: Path, request: pytest.FixtureRequest) -> Path:
    """The shapes with what the task of the test is about."""
    column, value = COLUMNS[request.getfixturevalue("task")]
    with (shapes / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", column])
        for path in sorted(shapes.glob("*/*.png")):
            made = value(path.parent.name, int(path.stem))
            rows.writerow([path.relative_to(shapes), made])
    return shapes / "table.csv"


def tuned(workspace: Workspace, base: str, data: Path) -> ModelCard:
    recipe = Recipe(data=str(data), image_size=32, strategy="probe")
    result = finetune(workspace, base, recipe, SAVED, device="cpu")
    file, _ = workspace.store.manifest(result.manifest).files
    restore_file(workspace.store, file, workspace.root / file.name)
    return ModelCard((workspace.root / file.name).read_text())


@pytest.mark.parametrize(
    ("task", "pipeline", "kind", "figure"),
    [
        ("classification", "image-classification", "image-classification", "accuracy"),
        pytest.param("multi-label", "image-classification", "multi-label-image-classification",
         "mean_average_precision", marks=pytest.mark.long),
        pytest.param("regression", "other", "image-regression", "r2", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_the_front_matter(
    workspace: Workspace, base: str, table: Path, task: str, pipeline: str, kind: str, figure: str
) -> None:
    card = tuned(workspace, base, table)
    data: Any = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("timm", pipeline, "apache-2.0")
    assert data.tags == ["zoo", "test_resnet", task]
    assert data.model_name == str(SAVED)
    assert data.base_model is None  # team/base is none that the Hub knows
    metrics = workspace.store.manifest(workspace.names.resolve(str(SAVED))[1]).metrics
    assert metrics[f"{figure}_low"] <= metrics[figure] <= metrics[f"{figure}_high"]
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    ends = {f"{name}_{end}" for name in metrics for end in ("low", "high")}
    counts = {"test_images", "test_groups"}  # neither these nor ends of intervals measure a network
    told = metrics.keys() - ends - counts
    assert found == {name: round(metrics[name], 6) for name in told}
    assert {(r.task_type, r.dataset_name) for r in data.eval_results} == {(kind, "table.csv")}
    tested = metrics["test_images"]
    assert f"| test images | {tested:.0f} |" in str(card), "a count is no share"
    if task == "classification":
        assert "\n\n### Class by class\n\n| class |" in str(card)
    # Written once more by the client, it says the same: nothing was dropped as malformed.
    assert ModelCard(str(card)).data.to_dict() == data.to_dict()


def test_any_name_and_figure_is_read_back_as_it_is(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    metrics = {"loss": 1e-06, "accuracy": 1.0}  # YAML takes 1e-06 for a text
    odd = "odd/'\"\x85\u2028: - #\x07é"
    manifest = replace(workspace.store.manifest(workspace.names.resolve(base)[1]), metrics=metrics)
    manifest = replace(manifest, license="other")
    card = model_card(odd, manifest, open_dataset(str(shapes)), [])
    data: Any = ModelCard(card).data
    assert data.model_name == odd
    assert {r.metric_type: r.metric_value for r in data.eval_results} == metrics
    assert "base_model" not in data.to_dict()


def test_it_says_first_where_only_zoo_loads_it(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    manifest = workspace.store.manifest(workspace.names.resolve(base)[1])
    line = "**Only zoo loads this checkpoint**, by `zoo pull` or `zoo import`: timm does not, for "
    data = open_dataset(str(shapes))
    assert line not in model_card("team/net", manifest, data, [])
    options = {**manifest.backbone.options, "taps": ["layer1", "layer2"]}
    whole = replace(manifest, backbone=replace(manifest.backbone, options=options))
    text = ModelCard(model_card("team/net", whole, data, [])).text
    assert text.strip().split("\n\n")[:2] == [
        "# team/net", f"{line}its head gets features of layer1, layer2.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "name", "linked"),
    [
        ("hfds/org/beans?root=/data&label=kind", "org/beans", ["org/beans"]),
        ("hfds/beans", "beans", ["beans"]),
        ("hfds//home/me/beans", "beans", None),
        ("torch/cifar10?root=/data", "cifar10", None),
        ("/home/me/flowers/", "flowers", None),
    ],
)
def test_data_on_the_hub_is_linked_and_no_folder_told(
    workspace: Workspace, base: str, shapes: Path, spec: str, name: str, linked: list[str] | None
) -> None:
    manifest = replace(
        workspace.store.manifest(workspace.names.resolve(base)[1]), metrics={"accuracy": 0.5}
    )
    dataset = replace(open_dataset(str(shapes)), spec=spec)
    data: Any = ModelCard(model_card("team/a", manifest, dataset, ["timm/x", "org/y"])).data
    assert data.datasets == linked
    assert [result.dataset_name for result in data.eval_results] == [name]
    assert (data.base_model, data.to_dict()["base_model_relation"]) == (
        ["timm/x", "org/y"], "finetune",
    )  # fmt: skip


def test_counts_are_whole_and_in_plain_words(workspace: Workspace, base: str, shapes: Path) -> None:
    metrics = {"accuracy": 0.5, "test_images": 165.0, "test_groups": 163.0, "test_seen": 3.0}
    manifest = replace(workspace.store.manifest(workspace.names.resolve(base)[1]), metrics=metrics)
    card = model_card("team/a", manifest, open_dataset(str(shapes)), [])
    for row in (
        "test images | 165",
        "groups of test images | 163",
        "test images seen in training | 3",
    ):
        assert f"\n| {row} |\n" in card
    data: Any = ModelCard(card).data
    told = {result.metric_type: result.metric_value for result in data.eval_results}
    assert told == {"accuracy": 0.5, "test_seen": 3}
    assert {result.metric_name for result in data.eval_results} == {
        "accuracy",
        "test images seen in training",
    }
