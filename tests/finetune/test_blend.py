"""Means of weights: which they are, and which of them is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.backbones.load import load
from zoo.domain.progress import Task, silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.loop.state import Snapshots
from zoo.finetune.run import finetune
from zoo.finetune.strategies.blend import interpolated, soup
from zoo.workspace import Workspace


def test_a_share_of_the_way() -> None:
    first = {"w": torch.tensor([1.0, 5.0]), "n": torch.tensor(3)}
    last = {"w": torch.tensor([2.0, 5.0]), "n": torch.tensor(9)}
    found = interpolated(first, last, 0.3)
    assert found["w"].tolist() == pytest.approx([1.3, 5.0])
    assert found["n"] == 9


def test_a_soup_takes_in_what_makes_it_no_worse(tmp_path: Path) -> None:
    """2.1 would be best."""
    kept = Snapshots(tmp_path / "weights")
    for name, value in (("far", 90.0), ("low", 0.0), ("middle", 2.0), ("high", 4.0)):
        kept.keep(name, {"w": torch.tensor([value])})

    def score(tensors: Mapping[str, Tensor], _: int) -> tuple[float, float]:
        return -abs(tensors["w"].item() - 2.1), 0.0

    mean, names = soup(kept, score)
    assert (mean["w"].item(), names) == (2.0, ("middle",))
    kept.keep("middle", {"w": torch.tensor([1.0])})
    mean, names = soup(kept, score)
    assert names == ("middle", "high")  # with low, it would be 1.67
    assert mean["w"].item() == pytest.approx(2.5)


@pytest.mark.long
def test_the_blend_that_does_best_is_saved(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one epoch, so many tenths of the way to what it led to."""
    recipe = Recipe(
        data=str(shapes), strategy="lp-ft", freeze="all", epochs=1, image_size=32, lr=0.1,
        blend="wise-ft",
    )  # fmt: skip
    found = {}
    for best in (1, 3, 10):
        scores = iter([0.2, 0.5, *(0.9 if tenths == best else 0.1 for tenths in range(1, 10))])
        monkeypatch.setattr(
            "zoo.finetune.loop.evaluate.evaluate",
            lambda *_: {"accuracy": next(scores)},  # noqa: B023
        )
        save = Reference.parse(f"team/best{best}")
        result = finetune(workspace, base, recipe, save, device="cpu")
        assert result.freeze["kept"] == ("epoch 1" if best == 10 else f"{best}/10 of the way")
        found[best] = load(workspace.store, result.manifest).get_parameter("fc.weight").detach()
    assert not torch.allclose(found[1], found[10], atol=1e-4)
    assert torch.allclose((found[3] - found[10]) / 7, (found[1] - found[10]) / 9, atol=1e-5)


@dataclass
class Told:
    """What a run says."""

    lines: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
        with silent(label, total, unit) as task:
            yield task

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("epochs", "why"), [(1, "there is no other"), (2, "no mean with another epoch is as good")]
)
def test_a_soup_of_one_epoch_is_called_no_mean(
    workspace: Workspace, base: str, shapes: Path, monkeypatch: pytest.MonkeyPatch,
    epochs: int, why: str,
) -> None:  # fmt: skip
    scores = iter([*(0.5,) * (1 + 2 * epochs), 0.1])  # probe, epochs, the same for the soup, a mean
    monkeypatch.setattr(
        "zoo.finetune.loop.evaluate.evaluate", lambda *_: {"accuracy": next(scores)}
    )
    recipe = Recipe(
        data=str(shapes), strategy="lp-ft", freeze="all", epochs=epochs, image_size=32, blend="soup"
    )
    told = Told()
    save = Reference.parse("team/soup")
    finetune(workspace, base, recipe, save, device="cpu", progress=told)
    assert f"soup: epoch 1 alone, as {why}" in told.lines
    assert not any("mean of" in line for line in told.lines)
