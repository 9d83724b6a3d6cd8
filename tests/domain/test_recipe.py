from __future__ import annotations

import json
from typing import Any

import pytest

from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption

NAN = float("nan")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("epochs", 0, "epochs must be at least 1"),
        ("batch_size", 1, "batch size must be at least 2"),
        ("lr", 0.0, "learning rate must be above 0"),
        ("lr", NAN, "learning rate must be above 0"),
        ("backbone_lr_ratio", 0.0, "backbone rate must be above 0"),
        ("weight_decay", -0.1, "weight decay must be 0 or more"),
        ("weight_decay", NAN, "weight decay must be 0 or more"),
        ("test_share", 0.0, "test share must be between 0 and 1"),
        ("test_share", 1.0, "test share must be between 0 and 1"),
        ("image_size", 7, "image size must be at least 8"),
    ],
)
def test_an_option_out_of_range_is_refused(option: str, value: object, reason: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidOption, match=f"^{reason}$"):
        Recipe(data="flowers", **options)


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
