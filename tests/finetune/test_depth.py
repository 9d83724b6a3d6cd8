"""The depth curve: honest scores, the unit that is taken, and its picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from zoo.backbones.features import extract
from zoo.backbones.surgery import backbone_of
from zoo.backbones.taps import Tap, find_taps
from zoo.domain.progress import silent
from zoo.facade import Zoo
from zoo.finetune.results.pictures import draw_depth
from zoo.finetune.strategies import depth, linear
from zoo.finetune.strategies.depth import AMPLE, Curve, depth_curve
from zoo.finetune.strategies.linear import CS, goodness
from zoo.finetune.strategies.probe import fit_probe, neighbors
from zoo.workspace import Workspace

DATA = load_digits()
ORDER = torch.randperm(len(DATA.data), generator=torch.Generator().manual_seed(0))
"""They are sorted by writers, who differ."""
PIXELS = torch.tensor(DATA.data, dtype=torch.float32)[ORDER]
DIGITS = torch.tensor(DATA.target)[ORDER]


def noise(features: int, seed: int = 0) -> Tensor:
    return torch.randn(len(PIXELS), features, generator=torch.Generator().manual_seed(seed))


def curve(
    features: Sequence[Tensor],
    targets: Tensor = DIGITS,
    *,
    images: int = 150,
    validation: int = 0,
    **options: Any,
) -> Curve:
    """Of the first images, with those that follow for validation."""
    taps = [
        Tap(unit=f"unit.{at}", path="", at_input=False, shape=tuple(code.shape), dimension=1)
        for at, code in enumerate(features)
    ]
    held = slice(images, images + validation)
    return depth_curve(
        [(tap, code[:images]) for tap, code in zip(taps, features, strict=True)],
        targets[:images],
        validation=([code[held] for code in features], targets[held]) if validation else None,
        **{
            "task": "classification",
            "kind": "softmax",
            "seed": 0,
            "device": torch.device("cpu"),
            "progress": silent,
            **options,
        },
    )


@pytest.mark.long
def test_scores_are_honest() -> None:
    # More features than images: what is fitted is told perfectly, and by lot nothing else is.
    found = curve([noise(200), PIXELS, noise(200, seed=1)])
    by_lot, real, again = (point.score for point in found.points)
    assert max(by_lot, again) < 0.2
    afresh = fit_probe(PIXELS[:150], DIGITS[:150])
    outputs = nn.functional.linear(PIXELS[150:], afresh.weight, afresh.bias)
    # A little less, since a third is held out.
    assert real == pytest.approx(
        goodness(outputs, DIGITS[150:], "classification").mean().item(), abs=0.08
    )
    assert [point.unit for point in found.points] == ["unit.0", "unit.1", "unit.2"]
    assert [point.features for point in found.points] == [200, 64, 200]
    assert found.chosen == 1
    assert found.points[1].error == pytest.approx((real * (1 - real) / 150) ** 0.5, rel=0.01)


def test_c_is_chosen_without_the_images_that_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    features = PIXELS.clone()
    features[:, 0] = torch.arange(len(features))  # a pixel that is never dark
    seen: list[set[float]] = []

    def best_c(kind: Any, task: Any, parts: Any, outputs: int) -> Any:
        seen.append({row for part in parts for held, _ in part for row in held[:, 0].tolist()})
        return linear.best_c(kind, task, parts, outputs)

    monkeypatch.setattr(depth, "best_c", best_c)
    curve([features], images=150, validation=30)
    # A third at a time is scored; then validation, of which nothing was seen.
    assert [len(rows) for rows in seen] == [100, 100, 100, 150]
    assert set.intersection(*seen[:3]) == set()
    assert set.union(*seen) == set(range(150))


@pytest.mark.long
def test_of_those_that_cannot_be_told_apart_the_shallowest_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear, "CS", CS)
    worse, as_good = PIXELS + 2 * noise(64, seed=1), PIXELS + 2 * noise(64, seed=4)
    found = curve([worse, as_good, PIXELS], images=300)
    below, near, best = (point.score for point in found.points)
    assert below < near < best
    assert found.chosen == 1


def test_what_gives_the_last_features_is_the_whole_network() -> None:
    found = curve([noise(8), PIXELS, PIXELS * (1 + 1e-6)])
    assert found.chosen == 2
    assert found.points[2].unit == "unit.2"
    assert found.points[2].score == found.points[1].score


def test_an_ample_validation_split_is_all_that_is_scored() -> None:
    found = curve([PIXELS], images=150, validation=AMPLE)
    near = neighbors(PIXELS[:150], DIGITS[:150], (PIXELS[150:][:AMPLE], DIGITS[150:][:AMPLE]), (5,))
    assert found.points[0].knn == pytest.approx(near[5])
    # Had training images been held out too, there would be 150 more.
    score, error = found.points[0].score, found.points[0].error
    assert (score * AMPLE) % 1 == pytest.approx(0, abs=1e-6) or (score * AMPLE) % 1 > 1 - 1e-6
    assert error == pytest.approx((score * (1 - score) / (AMPLE - 1)) ** 0.5, rel=1e-4)


@pytest.mark.long
def test_a_small_validation_split_is_scored_with_images_held_out_of_training() -> None:
    found = curve([PIXELS], images=150, validation=30)
    score, error = found.points[0].score, found.points[0].error
    assert error == pytest.approx((score * (1 - score) / 179) ** 0.5, rel=1e-4)
    # It counts: labels that are wrong there cost their share.
    wrong = DIGITS.clone()
    wrong[150:180] = (wrong[150:180] + 1) % 10
    spoiled = curve([PIXELS], wrong, images=150, validation=30)
    assert score - spoiled.points[0].score > 0.1


@pytest.mark.long
def test_labels_and_numbers_have_curves_but_no_votes() -> None:
    labels = torch.stack([DIGITS % 2 == 0, DIGITS > 4], dim=1).float()
    found = curve([noise(64), PIXELS], labels, task="multi-label")
    assert found.chosen == 1
    assert [point.knn for point in found.points] == [None, None]
    found = curve([noise(64), PIXELS], PIXELS.sum(1, keepdim=True), task="regression")
    assert found.chosen == 1
    assert found.points[1].score > 0.99


@pytest.mark.long
@pytest.mark.pictures
def test_a_curve_prints_as_json_and_as_a_picture(tmp_path: Path) -> None:
    found = curve([noise(16), PIXELS])
    data = json.loads(json.dumps(found.to_json()))
    assert data["chosen"] == "unit.1"
    assert [point["score"] for point in data["points"]] == [p.score for p in found.points]
    assert set(data["points"][0]) == {"unit", "features", "score", "error", "knn"}
    draw_depth(found).savefig(tmp_path / "one.png")
    draw_depth(Curve(found.points, 0)).savefig(tmp_path / "other.png")
    pictures = [Image.open(tmp_path / name).tobytes() for name in ("one.png", "other.png")]
    assert pictures[0] != pictures[1]  # the chosen one is marked


@pytest.mark.long
def test_digits_are_told_best_at_an_inner_stage(workspace: Workspace) -> None:
    zoo = Zoo(workspace)
    digest = zoo.pull("timm/tf_efficientnet_lite0.in1k").manifest
    model = zoo.load(str(digest))
    backbone = backbone_of(workspace.store.manifest(digest))
    hierarchy = backbone.hierarchy("tf_efficientnet_lite0", model, input_size=(3, 96, 96))
    scans = (PIXELS / 8 - 1).reshape(-1, 1, 8, 8)
    images = nn.functional.interpolate(scans, (96, 96), mode="bicubic").expand(-1, 3, -1, -1)
    taps = find_taps(model, hierarchy, images)
    with silent("", None) as task:
        features, _ = extract(
            model,
            taps,
            zip(torch.split(images, 32), torch.split(DIGITS, 32), strict=True),
            task,
        )

    def accuracy(code: Tensor, train: Tensor, test: Tensor) -> float:
        probe = fit_probe(code[train], DIGITS[train])
        outputs = nn.functional.linear(code[test], probe.weight, probe.bias)
        return goodness(outputs, DIGITS[test], "classification").mean().item()

    for seed in range(3):
        order = torch.randperm(len(DIGITS), generator=torch.Generator().manual_seed(seed))
        train, test = order[:300], order[300:]
        found = depth_curve(
            [(tap, code[train]) for tap, code in zip(taps, features, strict=True)], DIGITS[train],
            validation=None, task="classification", kind="softmax", seed=seed,
            device=torch.device("cpu"), progress=silent,
        )  # fmt: skip
        chosen = found.points[found.chosen].unit
        assert chosen.startswith(("blocks.4.", "blocks.5.")), chosen
        inner, last = (accuracy(features[at], train, test) for at in (found.chosen, -1))
        assert inner > 0.92
        assert inner > last + 0.03
