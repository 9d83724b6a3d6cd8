from __future__ import annotations

import json
from typing import Any

import pytest

from zoo.domain.phase import Phase
from zoo.domain.recipe import Recipe, chosen
from zoo.errors import InvalidOption

NAN = float("nan")
VIEWS: dict[str, Any] = {"augment": "light", "views": 2}


TEST = (
    "above 0 and below 1: each result is measured on images that had no part in it, with --folds, "
    "too; 0.05 is a small share"
)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("epochs", 0, "epochs must be at least 1"),
        ("batch_size", 1, "batch size must be at least 2, or auto"),
        ("lr", 0.0, "learning rate must be above 0, and finite"),
        ("lr", float("inf"), "learning rate must be above 0, and finite"),
        ("backbone_lr_ratio", 0.0, "backbone rate must be above 0, and finite"),
        ("weight_decay", -0.1, "weight decay must be 0 or more"),
        ("weight_decay", NAN, "weight decay must be 0 or more"),
        ("test_share", 0.0, f"test share must be {TEST}"),
        ("test_share", 1.0, f"test share must be {TEST}"),
        ("image_size", 7, "image size must be at least 8"),
        ("layer_decay", 0.0, "layer decay must be above 0 and at most 1"),
        (
            "strategy",
            "probes",
            "strategy must be one of auto, probe, partial, full, lp-ft, gradual, lora, bitfit, "
            "norms",
        ),
        ("augment", "some", "augment must be one of none, light, medium, heavy"),
        ("at", "blocks.3", "units are named for the strategies probe, lora, bitfit, norms"),
        ("views", 4, "views need a level of augmentation"),
        (
            "phases",
            ("all:1",),
            "the strategy gradual and phases need each other\n"
            "for example: --strategy gradual --phases all:2 --phases blocks.4:3",
        ),
        ("epochs", "2", "epochs cannot be '2'"),
        ("lr", "0.1", "learning rate cannot be '0.1'"),
        ("skip_bad", 1, "skip bad cannot be 1"),
    ],
)
def test_an_option_out_of_range_is_refused(option: str, value: object, reason: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidOption, match=f"^{reason}$"):
        Recipe(data="flowers", **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"strategy": "probe", "epochs": 9}, "the strategy probe does not use epochs: leave it"),
        (
            {"strategy": "probe", "ema": 0.9, "blend": "soup", "augment": "heavy", "lr": 0.1},
            "the strategy probe does not use augment, learning rate, ema, blend: leave them out",
        ),
        ({"strategy": "partial", "probe": "svm"}, "the strategy partial does not use probe"),
        ({"head": "mlp", "probe": "svm"}, "the strategy partial does not use probe"),
        ({"strategy": "full", "probe": "svm"}, "the strategy full does not use probe"),
        (
            {"strategy": "gradual", "phases": ("all:1",), "epochs": 3},
            "the strategy gradual does not use epochs",
        ),
        ({"strategy": "probe", "freeze": "6"}, "the strategy probe does not use freeze"),
        ({"freeze": "6", "cache": False, **VIEWS}, "views are kept in the cache"),
        ({"strategy": "partial", **VIEWS}, "views are kept of what a frozen part gives"),
        ({"strategy": "full", **VIEWS}, "views are kept of what a frozen part gives"),
        (
            {"strategy": "gradual", "phases": ("none:1", "none:2@1e-4"), **VIEWS},
            "views are kept of what a frozen part gives",
        ),
        (
            {"strategy": "gradual", "phases": ("all:1@1e-3", "none:2@1e-4"), "lr": 0.1},
            "each phase has a rate of its own",
        ),
    ],
)
def test_what_has_no_effect_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{reason}"):
        Recipe(data="flowers", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "probe", "probe": "svm", "batch_size": 8, "precision": "bf16", "at": "auto"},
        {"strategy": "lp-ft", "probe": "svm", "epochs": 9, "ema": 0.9},
        {"probe": "svm"},
        {"strategy": "gradual", "phases": ("all:1@1e-3", "6:1"), "lr": 0.1, "patience": 2},
        {"strategy": "gradual", "phases": ("none:1", "6:1"), **VIEWS},
        {"freeze": "6", **VIEWS},
        {"augment": "heavy", "augment_on": "device"},
        {"strategy": "probe", "freeze": "all"},
    ],
)
def test_what_has_an_effect_is_taken_and_read_back(options: dict[str, Any]) -> None:
    recipe = Recipe(data="flowers", **options)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_probe_that_was_recorded_with_every_default_is_read() -> None:
    recorded = {**Recipe(data="flowers", strategy="probe").to_json(), "warmup": 0.1}
    assert Recipe.from_json(recorded).strategy == "probe"


def test_the_ends_of_the_ranges_are_in() -> None:
    recipe = Recipe(data="flowers", epochs=1, batch_size=2, lr=1e-9, weight_decay=0.0, image_size=8)
    assert recipe.epochs == 1


def test_json_has_every_option() -> None:
    data = json.loads(json.dumps(Recipe(data="flowers", freeze="75%", seed=3).to_json()))
    assert Recipe(**data) == Recipe(data="flowers", freeze="75%", seed=3)
    assert data["freeze"] == "75%"
    assert data["image_size"] is None


def test_a_path_that_cannot_be_recorded_is_refused_before_training() -> None:
    with pytest.raises(InvalidOption, match="UTF-8"):
        Recipe(data="dig\udce9")


def test_phases_in_one_option_are_told_apart_by_several() -> None:
    with pytest.raises(InvalidOption, match=r"--phases all:2 --phases blocks\.4:3"):
        Recipe(data="flowers", strategy="gradual", phases=("all:2 blocks.4:3",)).plan()


@pytest.mark.parametrize(
    ("options", "strategy", "phases"),
    [
        ({}, "lp-ft", [("6", 5, 3e-4, 3e-4)]),
        ({"head": "mlp"}, "partial", [("6", 5, 3e-3, 3e-4)]),
        ({"strategy": "partial"}, "partial", [("6", 5, 3e-3, 3e-4)]),
        ({"strategy": "full", "freeze": "none"}, "full", [("none", 5, 3e-3, 3e-4)]),
        ({"strategy": "probe", "freeze": "none"}, "probe", []),
        (
            {"strategy": "gradual", "freeze": "none", "phases": ["all:2", "-2:1@1e-4"]},
            "gradual",
            [("all", 2, 3e-3, 3e-4), ("-2", 1, 1e-4, 1e-5)],
        ),
    ],
)
def test_a_strategy_is_a_plan(
    options: dict[str, Any], strategy: str, phases: list[tuple[str, int, float, float]]
) -> None:
    recipe = Recipe(**{"data": "flowers", "freeze": "6", **options})
    assert recipe.resolved_strategy == strategy
    found = [(p.freeze, p.epochs, p.lr, p.backbone_lr) for p in recipe.plan()]
    for (freeze, epochs, *rates), (freeze_, epochs_, *rates_) in zip(found, phases, strict=True):
        assert (freeze, epochs) == (freeze_, epochs_)
        assert rates == pytest.approx(rates_)


@pytest.mark.parametrize("text", ["all", "all:0", ":3", "all:2@", "all:2@0", "all:2@1e", "a b:2"])
def test_a_phase_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="FREEZE:EPOCHS"):
        Phase.parse(text, lr=1e-3, ratio=0.1)


def test_a_recipe_is_read_from_toml_and_options_count_more() -> None:
    text = 'data = "flowers"\nbatch-size = 8\nphases = ["all:2"]\nstrategy = "gradual"\n'
    recipe = Recipe.parse(text, lr=1e-2)
    assert (recipe.batch_size, recipe.lr, recipe.phases) == (8, 1e-2, ("all:2",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data = ", "not TOML"),
        ("epochs = 3", "needs data"),
        ('data = "x"\nepoch = 3', "no option 'epoch'; did you mean epochs"),
        ('data = "x"\nepochs = "3"', "epochs cannot be '3'"),
        ('data = "x"\nepochs = true', "epochs cannot be True"),
        ('data = "x"\nphases = [1]', "phases cannot be"),
    ],
)
def test_a_recipe_that_cannot_be_read_says_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption, match=reason):
        Recipe.parse(text)


def test_an_underscore_is_taken_for_a_dash() -> None:
    recipe = Recipe(data="flowers", strategy="lp_ft", schedule="one_cycle")
    assert (recipe.strategy, recipe.schedule) == ("lp-ft", "one-cycle")


def test_a_precision_that_the_device_decides_was_not_chosen() -> None:
    recorded = {"data": "flowers", "precision": "fp32", "epochs": 5}
    assert chosen(recorded, "cpu") == {"data": "flowers"}
    assert chosen(recorded, "cuda:1") == {"data": "flowers", "precision": "fp32"}
    assert chosen({"precision": "bf16"}, "cuda") == {}
    assert chosen({"precision": "auto"}) == {}
