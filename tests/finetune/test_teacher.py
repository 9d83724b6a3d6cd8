"""Distillation: a teacher's outputs are learned beside the images' own classes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.cuts import Cut, cut_at
from fakes.sampled import every
from fakes.tuned import drawings, quick, small_zoo
from timm.task import LogitDistillationTask
from torch import nn

from zoo.errors import InvalidOption, UnknownName
from zoo.finetune.setup.teacher import Teacher, distillation_loss

PARTS = {"train": 8, "val": 4, "test": 4}
QUICK: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer3", "epochs": 2, "lr": 0.02, "batch_size": 8,
    "image_size": 32, "device": "cpu",
}  # fmt: skip


class Made:
    """A zoo with the fine-tune ``team/teacher``, of images of 48 pixels."""

    def __init__(self, root: Path) -> None:
        self.data = drawings(root / "drawn", PARTS)
        self.zoo = small_zoo(root)
        self.tune("team/teacher", image_size=48, epochs=3)

    def tune(self, save: str, **options: Any) -> Any:
        return self.zoo.finetune("team/base", self.data, save, **{**QUICK, **options})

    def taught(self, save: str, **options: Any) -> Any:
        return self.tune(save, **{"teacher": "team/teacher", **options})

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return self.zoo.load(name).state_dict()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with quick():
        yield Made(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_that_of_timm(temperature: float) -> None:
    """Its task for distillation, with linear networks in the place of both."""
    draw = torch.Generator().manual_seed(0)
    outputs, taught = torch.randn(2, 6, 4, generator=draw)
    targets = torch.randint(0, 4, (6,), generator=draw)

    class Given(nn.Module):
        num_classes, in_chans = 4, 3

        def __init__(self, outputs: torch.Tensor) -> None:
            super().__init__()
            self.outputs = nn.Parameter(outputs)
            self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return self.outputs

    task = LogitDistillationTask(
        Given(outputs), Given(taught), criterion=nn.CrossEntropyLoss(), task_loss_weight=0.3,
        temperature=temperature, verbose=False,
    )  # fmt: skip
    expected = task(torch.zeros(6, 3, 2, 2), targets)["loss"]
    far = distillation_loss(outputs, taught, "classification", temperature)
    found = 0.3 * nn.functional.cross_entropy(outputs, targets) + 0.7 * far
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_labels_are_taught_each_by_itself() -> None:
    outputs, taught = torch.tensor([[0.5, -1.0]]), torch.tensor([[2.0, 0.0]])
    share = torch.sigmoid(taught / 2)
    cost = nn.functional.logsigmoid
    expected = -(share * cost(outputs / 2) + (1 - share) * cost(-outputs / 2)).mean() * 4
    found = distillation_loss(outputs, taught, "multi-label", 2.0)
    assert float(found) == pytest.approx(float(expected))


@pytest.mark.long
def test_what_the_teacher_says_is_learned(made: Made) -> None:
    """Nothing but that: the network comes nearer to it than by the images' own classes."""
    made.taught("team/taught", distill_weight=1.0, epochs=8)
    made.tune("team/alone", epochs=8)
    images = sorted((made.data / "train").glob("*/*.png"))
    teacher, taught, alone = (
        torch.tensor([one.logits for one in made.zoo.predict(name, images)]).log_softmax(1)
        for name in ("team/teacher", "team/taught", "team/alone")
    )

    def far(one: torch.Tensor) -> float:
        return float(nn.functional.kl_div(one, teacher, log_target=True, reduction="batchmean"))

    assert far(taught) < far(alone)


@pytest.mark.long
def test_it_sees_images_through_its_own_preprocessing(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[torch.Tensor] = []
    real = Teacher.of_all

    def asked(self: Teacher, *how: Any) -> torch.Tensor:
        found.append(real(self, *how))
        return found[-1]

    monkeypatch.setattr(Teacher, "of_all", asked)
    made.taught("team/own")
    images = sorted((made.data / "train").glob("*/*.png"))
    said = made.zoo.predict("team/teacher", images)
    expected = torch.tensor([one.logits for one in said])
    assert all(each is found[0] for each in found)  # asked once
    assert torch.allclose(found[0], expected, atol=1e-4)


def test_changed_images_are_shown_as_they_are(made: Made) -> None:
    teacher = Teacher(
        made.zoo.load("team/teacher"), preprocessing(made, "team/teacher"), [2, 0, 1], silent()
    )
    images = torch.rand(2, 3, 48, 48)
    own = teacher.own
    mean, std = (torch.tensor(each)[:, None, None] for each in (own.mean, own.std))
    assert torch.allclose(
        teacher.of_images(images),
        teacher.model((images * std + mean - mean) / std)[:, [2, 0, 1]],
        atol=1e-4,
    )
    assert teacher.of_images(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def silent() -> Any:
    from zoo.domain.progress import silent as quiet

    return quiet


def preprocessing(made: Made, name: str) -> Any:
    workspace = made.zoo.workspace
    return workspace.store.manifest(workspace.names.resolve(name)[1]).preprocessing


@pytest.mark.parametrize(
    "how",
    every(
        2,
        [
            {"augment": "light"},
            {"augment": "light", "views": 2},
            {"mixup": 0.2},
            {"strategy": "lp-ft"},
        ],
        beside=pytest.mark.long,
    ),
)
def test_all_kinds_of_images_are_taught(made: Made, how: dict[str, Any]) -> None:
    made.taught("team/kind", **how)
    made.tune("team/untaught", **how)
    one, other = made.weights("team/kind"), made.weights("team/untaught")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_caching_changes_nothing(made: Made) -> None:
    made.taught("team/cached")
    made.taught("team/uncached", cache=False)
    one, other = made.weights("team/cached"), made.weights("team/uncached")
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)


@pytest.mark.long
def test_a_run_that_was_resumed_has_the_same_bits(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.taught("team/whole")
    with monkeypatch.context() as patch:
        cut_at(patch, 4)
        with pytest.raises(Cut):
            made.taught("team/resumed")
    made.zoo.delete("team/teacher")  # its name: the run knows it by its digest
    try:
        made.zoo.resume("last", device="cpu")
    finally:
        made.zoo.restore("team/teacher")
    one, other = made.weights("team/whole"), made.weights("team/resumed")
    assert all(torch.equal(one[name], other[name]) for name in one)
    recipe = made.zoo.workspace.store.manifest(
        made.zoo.workspace.names.resolve("team/resumed")[1]
    ).recipe
    assert recipe
    assert recipe["teacher"] == str(made.zoo.workspace.names.resolve("team/teacher")[1])


def test_other_classes_are_named(made: Made, tmp_path: Path) -> None:
    data = tmp_path / "renamed"
    shutil.copytree(made.data, data)
    for part in data.iterdir():
        (part / "bar").rename(part / "zebra")
    with pytest.raises(InvalidOption, match=r"other classes .*: it lacks zebra, and has bar"):
        made.zoo.finetune("team/base", data, "team/no", teacher="team/teacher", **QUICK)


def test_what_is_no_teacher_is_refused(made: Made) -> None:
    with pytest.raises(UnknownName):
        made.taught("team/no", teacher="team/nobody")
    with pytest.raises(InvalidOption, match="other classes"):
        made.taught("team/no", teacher="team/base")
    with pytest.raises(InvalidOption, match="is for a teacher, and there is none"):
        made.tune("team/no", distill_weight=0.7)
    with pytest.raises(InvalidOption, match="does not use teacher"):
        made.zoo.finetune("team/base", made.data, "team/no", strategy="probe",
                          teacher="team/teacher", image_size=32)  # fmt: skip
    for name, value in (
        ("distill_weight", 0.0),
        ("distill_weight", 1.5),
        ("distill_temperature", 0.0),
    ):
        with pytest.raises(InvalidOption, match="must be"):
            made.taught("team/no", **{name: value})
