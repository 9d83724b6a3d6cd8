"""Examples: small images of classes and confusions, kept on request, published on another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fakes.tuned import KINDS, SIDE, draw, drawings, quick, small_zoo
from msgspec import json
from PIL import Image

import zoo
from zoo.errors import InvalidImage, InvalidOption
from zoo.finetune.conclude import Finetuned
from zoo.finetune.dataset.images import FileImages
from zoo.finetune.results.examples import write_examples
from zoo.finetune.results.report import LabeledOutputs
from zoo.lookup.examples import EXAMPLES, MOST, SHEET, Example, Examples

NAMES = ("bar", "disc", "square")


def measured(
    outputs: Sequence[Sequence[float]], targets: list[int], images: list[str]
) -> LabeledOutputs:
    return LabeledOutputs(
        "classification", torch.tensor(outputs), torch.tensor(targets), NAMES, images
    )


def written(folder: Path, of: LabeledOutputs, count: int) -> tuple[Examples, Image.Image]:
    write_examples(folder, of, of.report({}), count, FileImages(folder).read)
    examples = json.decode((folder / EXAMPLES).read_bytes(), type=Examples)
    with Image.open(folder / SHEET) as sheet:
        return examples, sheet.convert("RGB")


def test_those_that_are_most_surely_of_a_class_or_taken_for_another(tmp_path: Path) -> None:
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]
    for number, color in enumerate(colors):
        Image.new("RGB", (90, 40), color).save(tmp_path / f"{number}.png")
    outputs = [[3.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 9.0, 0.0], [0.0, 1.0, 0.0]]
    of = measured(outputs, [0, 0, 0, 0, 1], [f"{number}.png" for number in range(5)])
    examples, sheet = written(tmp_path, of, 1)
    assert examples.shown == (Example("bar", "disc"), Example("bar"), Example("disc"))
    shown = [sheet.getpixel((left + 32, top + 32)) for left, top in map(examples.place, range(3))]
    assert shown == [colors[3], colors[0], colors[4]]
    examples, _ = written(tmp_path, of, 8)
    assert [*map(examples.shown.count, (Example("bar", "disc"), Example("bar")))] == [2, 4]


def test_nothing_but_pixels_of_a_file_comes_along(tmp_path: Path) -> None:
    """Neither where and with what a photo was taken, nor comments, nor a color profile."""
    for number in range(3):
        image = Image.effect_noise((80, 60), 90).convert("RGB")
        exif = image.getexif()
        exif[0x010F], exif[0x8825] = "SECRETCAMERA", {1: "N", 2: (52.0, 1.0, 2.0)}
        image.save(
            tmp_path / f"{number}.jpg", exif=exif, comment=b"SECRETWORDS", icc_profile=b"SECRETS"
        )
    assert b"SECRETCAMERA" in (tmp_path / "0.jpg").read_bytes()
    of = measured([[1.0, 0.0, 0.0]] * 3, [0, 1, 2], [f"{number}.jpg" for number in range(3)])
    written(tmp_path, of, 2)
    data = (tmp_path / SHEET).read_bytes()
    assert b"SECRET" not in data
    with Image.open(tmp_path / SHEET) as sheet:
        assert not sheet.info
        assert not sheet.getexif()
    kinds, at = [], 8
    while at < len(data):
        kinds.append(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    assert {*kinds} == {b"IHDR", b"IDAT", b"IEND"}


def test_an_image_that_is_gone_is_left_out_and_a_sheet_has_no_more_than_it_may(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "x.png", "bar", 1)
    count = 3 * MOST
    of = measured([[1.0, 0.0, 0.0]] * count, [n % 3 for n in range(count)], ["x.png"] * count)

    def read(key: str) -> Image.Image:
        left.append(key)
        if len(left) % 2:
            raise InvalidImage(key, "is gone")
        return FileImages(tmp_path).read(key)

    left: list[str] = []
    write_examples(tmp_path, of, of.report({}), count, read)
    examples = json.decode((tmp_path / EXAMPLES).read_bytes(), type=Examples)
    assert len(examples.shown) == MOST
    with Image.open(tmp_path / SHEET) as sheet:
        assert sheet.size == examples.size == (1024, 1024)


def test_a_run_keeps_them_and_a_checkpoint_has_them_if_that_is_asked_for_too(
    tmp_path: Path,
) -> None:
    with quick(), small_zoo(tmp_path) as made:
        data = drawings(tmp_path / "data")

        def tune(base: str, save: str, **options: bool | int) -> Finetuned:
            return made.finetune(base, data, save, strategy="probe", image_size=SIDE, **options)  # type: ignore[arg-type]

        def files(done: Finetuned) -> set[str]:
            return {file.name for file in made.workspace.store.manifest(done.manifest).files}

        kept = tune("team/base", "team/kept", keep_examples=2)
        shown = tune("team/base", "team/shown", keep_examples=2, publish_examples=True)
        none = tune("team/shown", "team/none")
        for done in (kept, shown):
            folder = tmp_path / "zoo" / "runs" / done.run
            examples = json.decode((folder / EXAMPLES).read_bytes(), type=Examples)
            assert {each.true for each in examples.shown} == {*KINDS}
        assert not (tmp_path / "zoo" / "runs" / none.run / EXAMPLES).exists()
        assert files(shown) - files(kept) == {EXAMPLES, SHEET}
        assert files(none) == files(kept)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keep_examples": 9}, "from 0 to 8"),
        ({"publish_examples": True}, "needs a number of examples to keep"),
    ],
)
def test_what_makes_no_sense(options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        zoo.Recipe.from_json({"data": "x", **options})


def test_numbers_have_no_classes(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "images" / f"{number}.png", "bar", number)
    rows = "".join(f"{number}.png,{number}.5\n" for number in range(12))
    (tmp_path / "images" / "table.csv").write_text(f"path,size\n{rows}")
    with quick(), small_zoo(tmp_path) as made, pytest.raises(InvalidOption, match="of classes"):
        made.finetune("team/base", tmp_path / "images" / "table.csv", "team/x", keep_examples=1,
                      image_size=SIDE, task="regression", label_column="size")  # fmt: skip
