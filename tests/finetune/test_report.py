"""Reports: figures against scikit-learn's, names that match, and the picture of the matrix."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    top_k_accuracy_score,
)

from zoo.domain.task import Task
from zoo.errors import InvalidImage
from zoo.finetune.dataset.match import match
from zoo.finetune.results.interval import blocks, wilson
from zoo.finetune.results.paired import paired
from zoo.finetune.results.pictures import Tile, draw_confusion, draw_sheet, drawable, save
from zoo.finetune.results.report import LabeledOutputs, predicted, write_report
from zoo_timm import known

KINDS = [*"abcdefgh"]
IMAGES = [f"{number}.png" for number in range(60)]


def blank(_: str) -> Image.Image:
    return Image.new("RGB", (8, 8))


def said(right: float) -> LabeledOutputs:
    """Sixty images of seven of eight classes, of which about that share is right."""
    torch.manual_seed(2)
    targets = torch.arange(60) % 7
    outputs = torch.randn(60, 8) + torch.where(
        torch.rand(60, 1) < right, 9.0 * torch.nn.functional.one_hot(targets, 8), 0.0
    )
    return LabeledOutputs("classification", outputs, targets, KINDS, IMAGES)


def test_top_five_is_scikit_learns() -> None:
    measured = said(0.4)
    found = measured.report({}).metrics
    expected = top_k_accuracy_score(measured.targets, measured.outputs, k=5, labels=range(8))
    assert found["top5_accuracy"] == pytest.approx(expected)
    assert (found["top5_accuracy_low"], found["top5_accuracy_high"]) == wilson(
        round(expected * 60), 60
    )


def test_where_all_is_right_intervals_tell_how_few_images_there_are() -> None:
    report = said(1.0).report({})
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert report.metrics[name] == 1.0
        assert 0.8 < report.metrics[f"{name}_low"] < 0.98
    (one, *_) = report.classes
    assert (one.figures["f1"], one.figures["f1_high"]) == (1.0, 1.0)
    assert 0.7 < (one.figures["f1_low"] or 0) < 0.9
    assert report.confusions == ()
    assert [one.name for one in report.classes] == KINDS[:7]


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    measured = LabeledOutputs(
        "classification", torch.eye(3)[[0, 0]], torch.tensor([0, 1]), "abc", "xy"
    )
    _, other = measured.report({}).classes
    assert (other.name, other.figures["precision"], other.figures["recall"]) == ("b", None, 0.0)


@pytest.mark.long
def test_intervals_hold_as_often_as_they_say() -> None:
    """Macro F1 and F1 of a class, of 200 samples of 60 images out of a large number of them."""
    draw = np.random.default_rng(0)
    chances = np.array([[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    shares = np.array([0.5, 0.3, 0.2])
    cells = chances * shares[:, None]
    f1 = 2 * np.diag(cells) / (cells.sum(0) + cells.sum(1))
    inside = np.zeros(2)
    for _ in range(200):
        drawn = draw.choice(9, size=60, p=cells.ravel())
        outputs, targets = torch.eye(3)[drawn % 3], torch.tensor(drawn // 3)
        report = LabeledOutputs("classification", outputs, targets, "abc", IMAGES).report({})
        figures = report.classes[0].figures
        low, high = report.metrics["macro_f1_low"], report.metrics["macro_f1_high"]
        inside += low <= f1.mean() <= high, figures["f1_low"] <= f1[0] <= figures["f1_high"]
    assert (inside >= 0.92 * 200).all(), inside


def test_labels_and_numbers_are_scikit_learns() -> None:
    torch.manual_seed(3)
    targets = torch.randint(2, (60, 3)).float()
    outputs = targets + torch.randn(60, 3)
    report = LabeledOutputs("multi-label", outputs, targets, "abc", IMAGES).report({})
    for at, one in enumerate(report.classes):
        true, guess = targets[:, at].numpy(), outputs[:, at].numpy()
        assert one.figures["f1"] == pytest.approx(f1_score(true, guess > 0))
        expected = average_precision_score(true, guess)
        assert one.figures["average_precision"] == pytest.approx(expected)
    expected = f1_score(targets.numpy(), outputs.numpy() > 0, average="macro")
    assert report.metrics["macro_f1"] == pytest.approx(expected)
    report = LabeledOutputs("regression", outputs, targets, "abc", IMAGES).report({})
    for at, one in enumerate(report.classes):
        true, guess = targets[:, at].numpy(), outputs[:, at].numpy()
        assert one.figures["r2"] == pytest.approx(r2_score(true, guess))
        assert one.figures["mae"] == pytest.approx(mean_absolute_error(true, guess))


def test_labels_that_are_decided_have_a_column() -> None:
    outputs = torch.tensor([[2.0, -1.0, 0.1], [-1.0, -2.0, -0.1]])
    for classes, column in (("abc", "labels"), (("labels", "b", "c"), "labels_")):
        measured = LabeledOutputs(
            "multi-label", outputs, outputs.round(), classes, ["1.png", "2.png"]
        )
        head, *rows = predicted(measured)
        assert head[-1] == column
        assert [row[-1] for row in rows] == [f"{classes[0]}|c", ""]
    assert "labels_" not in next(predicted(measured._replace(task="regression")))


def test_numbers_are_compared_by_ranks() -> None:
    torch.manual_seed(0)
    targets = torch.randn(60, 2)
    one, two = (
        LabeledOutputs("regression", targets + noise * torch.randn(60, 2), targets, "ab", IMAGES)
        for noise in (0.1, 1.0)
    )
    found = paired(one, two)
    assert found.in_words("a", "b").endswith(": a is better")
    assert paired(two, one).in_words("a", "b").endswith(": b is better")


@pytest.mark.parametrize(
    ("name", "found"),
    [("tench", 0), ("Goldfish", 1), ("Carassius_auratus", 1), ("crane", None), ("ray", 4),
     ("Ray", 5), ("RAY", None), ("none", None)],
)  # fmt: skip
def test_names_that_match(name: str, found: int | None) -> None:
    classes = ("tench, Tinca tinca", "goldfish, Carassius auratus", "crane, bird", "crane, machine",
               "ray", "Ray")  # fmt: skip
    assert match([name], classes).get(name) == found


def test_no_class_is_matched_twice() -> None:
    assert match([normalize("NFD", "Ölbaum")], [normalize("NFC", "ölbaum")])
    assert match(["sea lion", "Sea_Lion"], ["Sea_Lion", "x"]) == {"Sea_Lion": 0}


def test_folders_of_imagenet_are_matched_by_what_their_ids_stand_for() -> None:
    imagenet = known.classes(1000)
    assert imagenet is not None
    folders = ["n01440764", "n02012849", "n03126707", "n99999999"]
    two_cranes = {"n01440764": 0, "n02012849": 134, "n03126707": 517}
    assert match(folders, imagenet) == two_cranes
    # In another order nothing tells one crane from the other.
    assert match(folders, imagenet[::-1]) == {"n01440764": 999}
    assert match(["tench", "n01443537"], ["n01443537", "n01440764"]) == {"tench": 1, "n01443537": 0}


def test_names_of_files_need_not_be_utf_8(tmp_path: Path) -> None:
    measured = said(0.5)._replace(images=[f"\udcff{name}" for name in IMAGES])
    write_report(tmp_path, measured.report({}).to_json(), measured, blank)
    assert b"\xff0.png" in (tmp_path / "predictions.csv").read_bytes()


@pytest.mark.long
@pytest.mark.pictures
def test_labels_are_whole_in_the_picture_in_any_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label of any length makes the picture larger; letters that no font has are escaped."""
    measured, sizes = said(0.5), []
    monkeypatch.setattr("zoo.finetune.results.pictures.FONTS", ())
    for longest in ("a", "花\udcff$x$", "a" * 120):
        figure = draw_confusion(measured.outputs, measured.targets, [longest, *KINDS[1:]])
        shown = figure.axes[0].get_yticklabels()[0].get_text()
        assert shown == (longest if longest.isascii() else r"\u82b1\udcff\$x\$")
        save(figure, tmp_path / "confusion.png")
        with Image.open(tmp_path / "confusion.png") as image:
            sizes.append(image.size)
        numbers = {text.get_text() for text in figure.axes[0].texts}
        assert numbers == {str(n) for n in np.unique(_counts(measured)) if n}
    assert sizes[2][1] > sizes[0][1] + 120 * 5


def test_fonts_are_those_that_have_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.finetune.results.pictures.FONTS", ("none", "cmsy10", "STIXGeneral"))
    letters = {"cmsy10": "x", "STIXGeneral": "花"}
    monkeypatch.setattr(
        "zoo.finetune.results.pictures._letters",
        lambda name: frozenset(letters.get(name, "abc")),
    )
    shown, fonts = drawable(["a花"])
    assert (shown, fonts[1:]) == (["a花"], ["STIXGeneral"])


def test_the_most_wrong_and_the_most_unsure() -> None:
    measured = said(0.5)
    report, shares = measured.report({}), measured.outputs.softmax(dim=1).numpy()
    true, guess = measured.targets.numpy(), shares.argmax(1)
    worst = [i for i in np.argsort(shares[range(len(true)), true]) if guess[i] != true[i]]
    assert [one.image for one in report.wrong] == [IMAGES[i] for i in worst[:24]]
    ranked = np.sort(shares)
    unsure = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")[:24]
    assert [one.image for one in report.unsure] == [IMAGES[i] for i in unsure]
    first, at = report.wrong[0], worst[0]
    assert (first.label, first.predicted) == (KINDS[true[at]], KINDS[guess[at]])
    assert first.probability == pytest.approx(shares[at].max())
    assert first.error == pytest.approx(-np.log(shares[at, true[at]]), rel=1e-4)
    outputs, targets = torch.tensor([[9.0, -9], [-4, 4], [0.1, 9]]), torch.tensor([[1.0, 0]] * 3)
    report = LabeledOutputs("multi-label", outputs, targets, "ab", "xyz").report({})
    assert [one.image for one in report.wrong] == ["z", "y"]
    assert [one.image for one in report.unsure] == ["z", "y", "x"]
    assert (report.wrong[0].label, report.wrong[0].predicted) == ("a", "a|b")
    report = LabeledOutputs("regression", outputs, targets, "ab", "xyz").report({})
    assert [(one.image, one.error) for one in report.wrong] == [
        ("x", 8.5), ("z", pytest.approx(4.95)), ("y", 4.5),
    ]  # fmt: skip
    assert (report.wrong[0].predicted, report.unsure) == ("9, -9", ())


@pytest.mark.pictures
def test_a_contact_sheet_shows_them(tmp_path: Path) -> None:
    """One image in memory at a time; one that is gone is gray."""
    seen: list[Any] = []

    def read(name: str) -> Image.Image:
        assert all(image() is None for image in seen)
        if name == "gone":
            raise InvalidImage(name, "no such file")
        image = Image.new("RGB", (600, 300), name)
        seen.append(weakref.ref(image))
        return image

    about = (f"true: {'花' * 99}", "predicted 0.50: $x$")
    images = [Tile(name, about) for name in ("red", "gone", "lime")]
    save(draw_sheet({"most wrong": images, "most unsure": []}, read), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        found = {color for _, color in sheet.convert("RGB").getcolors(1 << 20) or []}
    assert {(255, 0, 0), (0, 255, 0), (211, 211, 211)} <= found
    draw_sheet({"most wrong": [], "most unsure": []}, read)  # of a network that is right and sure


def _counts(measured: LabeledOutputs) -> np.ndarray:
    pairs = measured.targets * 8 + measured.outputs.argmax(dim=1)
    return np.bincount(pairs.numpy())


def crops(photos: int, each: int, *, alike: bool) -> LabeledOutputs:
    """So many crops ``each`` of ``photos``, two classes: those of one photo are all right or all
    wrong, or each as it comes.
    """
    draw = np.random.default_rng(0)
    right = draw.random((photos, 1 if alike else each)) < 0.7
    right = np.broadcast_to(right, (photos, each)).ravel()
    targets = np.repeat(np.arange(photos) % 2, each)
    outputs = torch.eye(2)[torch.from_numpy(np.where(right, targets, 1 - targets))]
    images = [f"{number}.png" for number in range(photos * each)]
    groups = [f"photo {number // each}" for number in range(photos * each)]
    return LabeledOutputs(
        "classification", outputs, torch.from_numpy(targets), "ab", images, groups
    )


def test_crops_of_a_photo_that_are_alike_count_as_one_image() -> None:
    """With an interval as of so many photos; where they are not alike, as of nearly all images."""
    measured = crops(40, 10, alike=True)
    single, grouped = measured._replace(groups=()).report({}), measured.report({})
    photos = crops(40, 1, alike=True)._replace(groups=()).report({})
    assert (single.groups, grouped.groups) == (None, 40)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        wide, narrow, right = (
            report.metrics[f"{name}_high"] - report.metrics[f"{name}_low"]
            for report in (grouped, single, photos)
        )
        assert wide > 2.5 * narrow
        assert wide == pytest.approx(right, rel=0.15)
    for one, other in zip(grouped.classes, photos.classes, strict=True):
        for name in ("recall_low", "precision_high", "f1_low"):
            assert one.figures[name] == pytest.approx(other.figures[name], abs=0.02)
    assert grouped.confusions[0].high == pytest.approx(photos.confusions[0].high, abs=0.02)
    unlike = crops(40, 10, alike=False)
    wide, narrow = (
        report.metrics["accuracy_high"] - report.metrics["accuracy_low"]
        for report in (unlike.report({}), unlike._replace(groups=()).report({}))
    )
    assert narrow <= wide < 1.3 * narrow
    whole = crops(4, 100, alike=True)
    whole = whole._replace(outputs=torch.eye(2)[whole.targets])
    assert whole.report({}).metrics["accuracy_low"] < 0.6  # all right, of four photos


def test_labels_and_numbers_of_crops() -> None:
    torch.manual_seed(0)
    targets = torch.randint(2, (40, 2)).float()
    outputs, names = targets + torch.randn(40, 2), [str(number) for number in range(400)]
    groups = [str(number // 10) for number in range(400)]
    tenfold = outputs.repeat_interleave(10, dim=0), targets.repeat_interleave(10, dim=0)
    figure: dict[Task, str] = {"multi-label": "mean_average_precision", "regression": "mae"}
    for task, name in figure.items():
        photos = LabeledOutputs(task, outputs, targets, "ab", names[:40]).report({}).metrics
        grouped = LabeledOutputs(task, *tenfold, "ab", names, groups).report({}).metrics
        for end in ("", "_low", "_high"):
            assert grouped[name + end] == pytest.approx(photos[name + end], abs=0.03)


def test_two_are_compared_by_groups_where_these_are_known() -> None:
    """Ten crops of each of four photos that one alone has right are four finds, not forty."""
    other = crops(40, 10, alike=True)
    right = torch.eye(2)[other.targets]
    one = other._replace(outputs=torch.cat([right[:40], other.outputs[40:]]))
    found = paired(one, other)
    wrong = 4 - sum(bool((other.outputs[at] == right[at]).all()) for at in (0, 10, 20, 30))
    assert (found.images, found.groups, found.better, found.worse) == (400, 40, wrong, 0)
    assert (found.test, found.p) == ("sign", 2 * 0.5**wrong if wrong else 1.0)
    assert f"they differ on {wrong} of 40 groups of images," in found.in_words("one", "the other")
    alone = paired(one._replace(groups=()), other)
    assert (alone.groups, alone.better, alone.test) == (None, 10 * wrong, "mcnemar")


def test_an_image_alone_shares_no_block() -> None:
    assert blocks(["", "a", "b", "a", ""]).tolist() == [0, 1, 2, 1, 3]
