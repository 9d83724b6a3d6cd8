"""What the names of checkpoints tell, and what they are called here."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from zoo.errors import InvalidOption, InvalidReference
from zoo.exchange.run_names import (
    Moment,
    check_pattern,
    filled,
    moment_of,
    run_name,
    run_path,
    safe_part,
    stem_of,
)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("checkpoint-12.pth.tar", Moment("", epoch=12)),
        ("model_best.pth.tar", Moment("", role="best")),
        ("last.pth.tar", Moment("", role="last")),
        ("epoch=3-step=400.ckpt", Moment("", epoch=3, step=400)),
        (
            "flowers-epoch=03-val_loss=0.21.ckpt",
            Moment("flowers", epoch=3, figures=(("val_loss", 0.21),)),
        ),
        ("last-v1.ckpt", Moment("", role="last")),
        ("epoch_12.pth", Moment("", epoch=12)),
        ("best_accuracy_top1_epoch_12.pth", Moment("", role="best", epoch=12)),
        ("iter_4000.pth", Moment("", step=4000)),
        ("model_5.pth", Moment("", epoch=5)),
        ("checkpoint.pth", Moment("", role="last")),
        ("flowers_best.pt", Moment("flowers", role="best")),
        ("flowers_epoch_3.pt", Moment("flowers", epoch=3)),
        ("resnet50.safetensors", None),
        ("bees.pth", None),
    ],
)
def test_the_moment_of_a_run_that_a_name_tells(name: str, moment: Moment | None) -> None:
    assert moment_of(stem_of(PurePath(name))) == moment


def test_a_folder_of_the_trainer_counts_steps() -> None:
    assert moment_of("checkpoint-500", steps=True) == Moment("", step=500)


def test_a_run_is_called_as_its_folder() -> None:
    root = Path("/home/ada/runs")
    assert run_path(PurePath("flowers/checkpoints")) == PurePath("flowers")
    assert run_name(PurePath("a/flowers"), root) == "flowers"
    assert run_name(PurePath("a/lightning_logs/version_3"), root) == "a-version_3"
    assert run_name(PurePath("lightning_logs/version_3"), root) == "runs-version_3"
    assert run_name(PurePath(), root / "checkpoints") == "runs"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("flowers v2 (final)", "flowers-v2-final"),
        ("../../etc/passwd", "etc-passwd"),
        ("\x1b[31mred\u202e", "31mred"),
        ("..", ""),
        ("日本", ""),
        ("a" * 300, "a" * 100),
        ("ends.", "ends"),
    ],
)
def test_hostile_names_become_safe_or_nothing(text: str, part: str) -> None:
    assert safe_part(text) == part


def test_patterns() -> None:
    assert str(filled("team/{stem}:e{epoch}", {"stem": "a b", "epoch": "3"})) == "team/a-b:e3"
    with pytest.raises(InvalidOption, match=r"'\{name\}' is none of \{stem\}, \{folder\}"):
        check_pattern("team/{name}")
    with pytest.raises(InvalidReference, match="not a reference"):
        check_pattern("{stem}")
    with pytest.raises(InvalidReference):
        filled("team/{stem}", {"stem": ".."})
    with pytest.raises(InvalidReference, match="Windows"):
        filled("team/{stem}", {"stem": "con"})
