"""Which recipes are tried, what they cost, and that probes are judged by images new to them."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from zoo.advice import candidates as module
from zoo.advice import cost
from zoo.advice.candidates import Contest, candidates_of, clear_weights, race_of
from zoo.advice.cost import OVERHEAD, Speed
from zoo.advice.race import Candidate
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.trial import StoredTrial, Trial

SPEED = Speed(0.01, (0.0, 0.25, 0.5, 0.75))
NAMES = ("one", "two", "three", "four")


def network(*, norms: bool) -> tuple[nn.Module, Hierarchy]:
    """Four units, each with a batch norm or without."""
    block = (lambda: nn.BatchNorm2d(2)) if norms else (lambda: nn.Conv2d(2, 2, 1))
    model = nn.Sequential(OrderedDict((name, block()) for name in NAMES))
    units = tuple(
        Unit(name=name, stage=name, depth=at, modules=(name,), parameters=(), buffers=(), params=4,
             shape=None, cut=True)
        for at, name in enumerate(NAMES)
    )  # fmt: skip
    head = HeadPart(modules=(), parameters=(), buffers=(), params=0, shape=None, cut=True)
    return model, Hierarchy(architecture="toy", units=units, head=head)


def prepared(images: int = 600, *, norms: bool = True) -> Any:
    model, hierarchy = network(norms=norms)
    samples = [Sample(key=str(at), target=at % 2) for at in range(images)]
    dataset = SimpleNamespace(train=samples[: images // 2], validation=samples[images // 2 :])
    dataset.test = samples[:100]
    return SimpleNamespace(
        dataset=dataset, hierarchy=hierarchy, model=model, recipe=Recipe(data="x"), parent="p",
        progress=silent, base="team/net", task="classification", device="cpu",
    )  # fmt: skip


def found(images: int = 600, best: str = "one", **more: bool) -> dict[str, dict[str, object]]:
    known = candidates_of(prepared(images, **more), best, SPEED, held_out=images // 3)
    return {each.name: dict(each.options) for each in known}


def test_what_is_tried_of_a_network_with_batch_norm() -> None:
    """With up to 4,000 images to train on, none is live."""
    common = {"strategy": "lp-ft", "epochs": 9, "batch_norm": "frozen"}
    assert found() == {
        "above one": {**common, "freeze": "one"},
        "upper half, three times the rate": {**common, "freeze": "50%", "lr": 0.009},
        "everything, three times the rate": {**common, "freeze": "none", "lr": 0.009},
    }
    assert [name for name in found(best="head") if name.startswith("above")] == []
    assert [name for name in found(best="four") if name.startswith("above")] == []  # a probe
    assert found(5998) == found()
    live = {**common, "freeze": "none", "batch_norm": "live"}
    assert found(6000) == {**found(), "everything, batch norm live": live}


def test_a_unit_that_is_called_by_a_number_is_frozen_as_a_unit() -> None:
    """As those of a plain `nn.Sequential` are; a number alone is a count of units."""
    ready = prepared()
    names = zip(ready.hierarchy.units, ("0", "3", "6", "9"), strict=True)
    units = tuple(replace(unit, name=name) for unit, name in names)
    ready.hierarchy = replace(ready.hierarchy, units=units)
    frozen = {best: candidates_of(ready, best, SPEED, held_out=200)[0] for best in ("0", "6")}
    assert {best: each.options["freeze"] for best, each in frozen.items()} == {"0": "1", "6": "3"}
    assert [each.name for each in frozen.values()] == ["above 0", "above 6"]


def test_without_batch_norm_there_is_no_option_for_it() -> None:
    known = found(9000, norms=False)
    assert {"batch_norm" in options for options in known.values()} == {False}
    assert "everything, batch norm live" not in known


def test_what_a_recipe_costs() -> None:
    """Of a step, what is trained is computed three times, and what is frozen not at all."""
    assert [SPEED.above(at) for at in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert SPEED.epoch(2, train=100, held_out=50) == pytest.approx(0.01 * 0.5 * (3 * 100 + 50))
    assert SPEED.begin(100) == pytest.approx(OVERHEAD + 1.0)
    known = {each.name: each for each in candidates_of(prepared(), "one", SPEED, held_out=200)}
    half, whole = (known[f"{part}, three times the rate"] for part in ("upper half", "everything"))
    assert half.begin == whole.begin == pytest.approx(OVERHEAD + 0.01 * 700)
    assert half.epoch == pytest.approx(whole.epoch / 2)
    assert whole.seconds(9) == pytest.approx(whole.begin + 9 * 0.01 * (3 * 400 + 200))


@pytest.mark.parametrize(("longest", "runs"), [(60.0, 6), (0.0, 2)])
def test_the_speed_of_a_network_is_that_of_its_fastest_run(
    monkeypatch: pytest.MonkeyPatch, longest: float, runs: int
) -> None:
    """Others are slowed by what else a machine does. Of a slow network two runs are enough."""
    now, begun = 0.0, list[float]()
    ready = prepared(norms=False)

    def takes(seconds: float) -> Any:
        def take(*_: object) -> None:
            nonlocal now
            now += seconds * (1 if len(begun) == 2 else 5)

        return take

    ready.model.register_forward_pre_hook(lambda *_: begun.append(now))
    for name, seconds in zip(NAMES, (1, 2, 3, 2), strict=True):
        ready.model.get_submodule(name).register_forward_hook(takes(seconds))
    batches = SimpleNamespace(samples=[0] * 4, image=lambda *_: torch.zeros(2, 3, 3))
    loaders = SimpleNamespace(plain=SimpleNamespace(batches=batches))
    monkeypatch.setattr(cost, "image_loaders", lambda _: loaders)
    monkeypatch.setattr(cost, "LONGEST", longest * 8)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    ready.device = torch.device("cpu")
    speed = cost.speed_of(ready)
    assert len(begun) == runs
    assert speed == Speed(8 / 4, (0.0, 1 / 8, 3 / 8, 6 / 8))


def contest(root: Path, *, images: int = 12, **more: Any) -> Contest:
    """Of twelve images, of which four are for validation and two for tests."""
    ready = prepared(images)
    samples = tuple(Sample(key=str(at), target=at % 2) for at in range(images))
    part = ["train"] * (images - 6) + ["validation"] * 4 + ["test"] * 2
    reading: Any = SimpleNamespace(
        samples=samples,
        targets=torch.arange(images) % 2,
        group=tuple(f"group {at}" for at in range(images)),
        taps=(SimpleNamespace(unit="one"), SimpleNamespace(unit="head")),
        features=(torch.arange(images * 2.0).view(images, 2), torch.zeros(images, 3)),
        device=torch.device("meta"),
        where=lambda *parts: torch.tensor([at for at, each in enumerate(part) if each in parts]),
    )
    workspace: Any = None
    groups = [f"picture {at // 2}" for at in range(images)]
    return replace(
        Contest(workspace, ready, reading, "one", groups, Recipe(data="x"), root), **more
    )


def test_probes_are_asked_about_images_that_they_were_not_fitted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor on test images; with their groups."""
    fitted: list[tuple[int, Any, list[str], list[int]]] = []

    def fit(values: Any, targets: Any, *, groups: list[str], parts: list[int], **_: Any) -> Any:
        assert values.is_meta  # which stands for a GPU
        fitted.append((values.shape[1], targets.tolist(), groups, parts))
        return SimpleNamespace(
            weight=torch.zeros(2, values.shape[1]), bias=torch.tensor([1.0, 0.0])
        )

    monkeypatch.setattr(module, "fit_probe", fit)
    scores = contest(tmp_path).probes(["0", "3", "6"])
    left = [1, 2, 4, 5, 7, 8, 9]
    names = [f"group {at}" for at in left]
    assert fitted == [
        (2, [at % 2 for at in left], names, []),
        (3, [at % 2 for at in left], names, []),
        (5, [at % 2 for at in left], names, [2, 3]),
    ]
    assert scores == {at: [1.0, 0.0, 1.0] for at in ("one", "head", "all")}


def test_the_race_knows_which_images_show_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "kept_trials", lambda *_: [])
    race = race_of(contest(tmp_path), SPEED, 1e9, unlike=True)
    assert race.groups["0"] == race.groups["1"] == "picture 0"
    assert race.groups["2"] == "picture 1"


@pytest.mark.parametrize(
    ("images", "unlike", "ties"),
    [(1998, True, False), (2000, True, True), (2000, False, False)],
)
def test_of_a_thousand_images_that_are_unlike_a_tie_is_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, unlike: bool, ties: bool
) -> None:
    monkeypatch.setattr(module, "kept_trials", lambda *_: [])
    many = replace(contest(tmp_path), prepared=prepared(images))
    assert race_of(many, SPEED, 1e9, unlike=unlike).ties is ties


def test_what_is_kept_is_not_trained_again(tmp_path: Path) -> None:
    """Of just that recipe, on that fold; and from the beginning, where its weights are gone."""
    one, other = (
        Candidate(name=name, options={"strategy": "lp-ft", "freeze": freeze}, begin=1, epoch=1)
        for name, freeze in (("one", "none"), ("other", "50%"))
    )
    asked = Recipe(data="/elsewhere/x", strategy="lp-ft", freeze="none", fold="1/3")
    recipe = replace(asked, task="classification").to_json()
    race = contest(tmp_path)

    def missing(candidate: Candidate, fold: str, epochs: int, *, resumable: bool = True) -> int:
        return race.missing([StoredTrial(recipe, 3, resumable)], candidate, fold, epochs)

    assert [missing(one, "1/3", epochs) for epochs in (1, 3, 9)] == [0, 0, 6]
    assert missing(one, "1/3", 9, resumable=False) == 9
    assert missing(one, "2/3", 3) == 3
    assert missing(other, "1/3", 3) == 3


def test_only_the_weights_that_a_run_goes_on_from_stay(tmp_path: Path) -> None:
    def trial(name: str, done: int) -> Trial:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "state.pt").write_bytes(b"x")
        return Trial(
            folder=folder, of=9, images=(), scores={done: 0.5}, by_image={}, seconds={}, trained=1
        )  # fmt: skip

    entries = [
        SimpleNamespace(candidate=SimpleNamespace(name=name), trials=[trial(name, done)])
        for name, done in (("advised", 9), ("ended", 9), ("goes on", 3))
    ]
    race: Any = SimpleNamespace(entries=entries)
    clear_weights(race, "advised")
    assert {path.parent.name for path in tmp_path.glob("*/state.pt")} == {"advised", "goes on"}
