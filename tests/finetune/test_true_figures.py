"""What a run recorded is what the checkpoint that it published gives: loaded anew, in a plain loop
over the same files.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.sampled import every
from fakes.torchrun import run
from fakes.tuned import draw, drawings, evaluated, inputs, network_of, quick, small_zoo
from torch.optim.swa_utils import update_bn

import zoo
from zoo.backbones.from_cut import FromCut
from zoo.domain.progress import Console, silent
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidData, InvalidOption
from zoo.finetune.run import Finetuned

PLANS: dict[str, dict[str, Any]] = {
    "probe": {"strategy": "probe"},
    "partial": {"strategy": "partial", "freeze": "layer2", "epochs": 3, "lr": 0.02},
    "full": {"strategy": "full", "epochs": 3, "lr": 0.02},
    "lp-ft": {"strategy": "lp-ft", "freeze": "layer2", "epochs": 3, "lr": 0.05},
    "unfreezing": {"strategy": "gradual", "phases": ("all:1@1e-2", "none:2@1e-2")},
    "freezing": {"strategy": "gradual", "phases": ("none:3@1e-2", "all:1@1e-3")},
    "half frozen": {"strategy": "gradual", "phases": ("none:2@1e-2", "50%:2@1e-2")},
    "spoiled": {"strategy": "gradual",
                "phases": ("none:3@1e-2", "none:1@5e-1", "all:1@1e-6")},
}  # fmt: skip
CASES = [
    ("probe", {}),
    ("probe", {"cache": False}),
    ("partial", {"ema": 0.5, "patience": 1}),
    ("full", {"blend": "soup", "cache": False}),
    ("lp-ft", {"blend": "wise-ft", "ema": 0.5}),
    ("lp-ft", {"blend": "soup", "patience": 1}),
    ("unfreezing", {"blend": "soup", "ema": 0.5}),
    ("freezing", {"blend": "soup"}),
    ("freezing", {"ema": 0.5, "patience": 1, "seed": 1}),
    ("half frozen", {"blend": "soup", "ema": 0.5, "patience": 1}),
    ("spoiled", {}),
    ("spoiled", {"cache": False, "patience": 1}),
]
"""Each plan, and each pair of what else could go wrong, at least once."""
QUICK = [CASES[number] for number in (0, 4, 6)]
"""For each change."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    root = tmp_path_factory.mktemp("figures")
    drawings(root / "drawings")
    with quick(), small_zoo(root) as made:
        yield made


def tune(small: zoo.Zoo, **options: Any) -> Finetuned:
    given = {"data": small.root.parent / "drawings", "save": "team/tuned", **options}
    return small.finetune("team/base", device="cpu", image_size=32, batch_size=9, **given)


def check(small: zoo.Zoo, tmp_path: Path, plan: str, options: dict[str, Any]) -> None:
    result = tune(small, **PLANS[plan], **options)
    assert check_published(small, tmp_path / "out")["metrics"] == result.metrics


def check_published(small: zoo.Zoo, out: Path) -> dict[str, Any]:
    """See that ``team/tuned`` has the figures that are recorded; what is known of it."""
    small.export("team/tuned", out)
    shown: dict[str, Any] = small.show("team/tuned").to_json()
    images = small.root.parent / "drawings" / "test"
    true = evaluated(out / "model.safetensors", shown["preprocessing"], images)
    assert shown["metrics"]["test_images"] == 15
    found = {name: shown["metrics"][name] for name in true}
    assert found == pytest.approx(true, rel=1e-4), shown["freeze"]["kept"]
    return shown


@pytest.mark.parametrize(
    ("plan", "options"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long) for case in CASES],
)
def test_recorded_figures_are_those_of_the_published_checkpoint(
    small: zoo.Zoo, tmp_path: Path, plan: str, options: dict[str, Any]
) -> None:
    check(small, tmp_path, plan, options)


EVERY = {
    "blend": ("none", "wise-ft", "soup"),
    "cache": (True, False),
    "ema": (0.0, 0.5),
    "patience": (0, 1),
    "seed": (0, 1),
}


@pytest.mark.long
@pytest.mark.parametrize(
    "values", every(7, ((values,) for values in itertools.product(*EVERY.values())))
)
@pytest.mark.parametrize("plan", PLANS)
def test_they_are_so_for_every_strategy_with_everything(
    small: zoo.Zoo, tmp_path: Path, plan: str, values: tuple[Any, ...]
) -> None:
    options = dict(zip(EVERY, values, strict=True))
    try:
        Recipe(data="", **PLANS[plan], **options)
    except InvalidOption:
        pytest.skip("the recipe is refused")
    check(small, tmp_path, plan, options)


@pytest.mark.long
@pytest.mark.parametrize("plan", ["lp-ft", "freezing", "spoiled"])
def test_so_are_those_of_two_processes(small: zoo.Zoo, tmp_path: Path, plan: str) -> None:
    options = {**PLANS[plan], "base": "team/base", "image_size": 32, "batch_size": 9,
               "blend": "soup"}  # fmt: skip
    data = small.root.parent / "drawings"
    run(tmp_path, 2, str(small.root), str(data), "team/tuned", json.dumps(options))
    assert check_published(small, tmp_path / "out")["provenance"]["processes"] == "2"


@pytest.mark.long
def test_the_best_weights_are_put_back_and_measured_anew(
    small: zoo.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of five epochs is the best, and the last one caches what other weights give: the
    result is that of a run which ends after the third.
    """
    best = (0.1, 0.2, 0.9)
    scores = iter((*best, *best, 0.3, 0.4))
    monkeypatch.setattr(
        "zoo.finetune.loop.evaluate.evaluate", lambda *_: {"accuracy": next(scores), "loss": 1.0}
    )
    alone = tune(small, strategy="gradual", phases=("none:3@1e-2",), save="team/alone")
    check(small, tmp_path, "spoiled", {})
    assert small.show("team/tuned").to_json()["metrics"] == alone.metrics
    assert small.diff("team/alone", "team/tuned").to_json()["identical_share"] == 1


def test_activations_of_other_weights_are_refused(
    small: zoo.Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes what is below the cut, and forgets that there is a cache, is stopped."""
    real = FromCut.forward

    def forward(self: FromCut, *given: Any) -> Any:
        with torch.no_grad():
            next(self.module.parameters()).mul_(1.01)
        return real(self, *given)

    monkeypatch.setattr(FromCut, "forward", forward)
    with pytest.raises(RuntimeError, match="activations are those of other weights"):
        tune(small, **PLANS["partial"])


def test_blends_have_the_running_statistics_that_torch_gives_them(
    small: zoo.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means of weights with `torch.optim.swa_utils.update_bn` over the training images."""
    scores = iter((0.1, 0.2, 0.1, 0.2, 0.3, 0.4))  # epochs, the same for the soup, its means

    def measured(*_: Any) -> dict[str, float]:
        return {"accuracy": next(scores), "loss": 1.0}

    monkeypatch.setattr("zoo.finetune.loop.evaluate.evaluate", measured)
    result = tune(small, strategy="full", epochs=2, lr=0.05, blend="soup", batch_norm="live")
    assert result.freeze["kept"] == "mean of epoch 2, epoch 1"
    small.export("team/tuned", tmp_path)
    network = network_of(tmp_path / "model.safetensors")
    found = {name: value.clone() for name, value in network.named_buffers()}
    shown = small.show("team/tuned").to_json()["preprocessing"]
    paths = sorted((small.root.parent / "drawings" / "train").glob("*/*.png"))
    batches = torch.split(torch.stack([inputs(path, shown) for path in paths]), 9)
    update_bn(batches, network)
    for name, value in network.named_buffers():
        if "running" in name:
            assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name


def test_a_straight_line_begins_at_weights_that_mean_something(small: zoo.Zoo) -> None:
    for plan in ("partial", "full", "unfreezing"):
        with pytest.raises(InvalidOption, match="begins with a random head: take lp-ft"):
            tune(small, **PLANS[plan], blend="wise-ft")


def test_an_image_that_changes_while_it_is_read_is_not_kept_as_another(tmp_path: Path) -> None:
    data = drawings(tmp_path / "drawings")
    path = next((data / "train" / "bar").iterdir())

    class Draws(Console):
        def __call__(self, label: str, total: float | None, unit: str = "") -> Any:
            if label == "running the frozen part":
                draw(path, "disc", 7)
            return silent(label, total, unit)

    with quick(), small_zoo(tmp_path) as made:
        made.progress = Draws()
        with pytest.raises(InvalidData, match="1 image changed while being read, such as"):
            tune(made, strategy="probe")
        assert list((made.root / "cache").rglob("description.json")) == []
