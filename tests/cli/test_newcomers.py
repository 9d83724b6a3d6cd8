"""What newcomers try first: a form that is nearly right is answered with the one that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.prepared import BASE, TUNED, Run
from PIL import Image

import zoo
from zoo.errors import InvalidImage
from zoo_cli.main import SECTIONS, cli


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (("push", TUNED, "team"), f"zoo push {TUNED} --to team"),
        (("push", "a/b", "a/b"), "zoo push a/b --to a/b"),
        (("push", TUNED, "my team", "--force"), f"zoo push {TUNED} --to 'my team' --force"),
        (("finetune", BASE, "flowers"), f"zoo finetune {BASE} --data flowers"),
        (("pull", TUNED, "../team"), f"zoo pull {TUNED} --from ../team"),
        (("import", "best.pth", "a/b"), "zoo import best.pth --as a/b"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_argument_too_many_shows_the_form_that_works(
    fails: Run, line: tuple[str, ...], form: str
) -> None:
    assert fails(*line, says=(f"Write: {form}",), code=2).endswith(f"{form}\n")


def test_no_form_is_shown_where_the_option_is_there_or_more_is_wrong(fails: Run) -> None:
    for line in ((TUNED, "x", "y"), (TUNED,)):
        assert "Write:" not in fails("push", *line, says=(), code=2)


def test_help_has_every_command_once_under_a_heading(run: Run) -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(cli.commands)
    lines = run("--help").out.splitlines()
    assert [line[:-1] for line in lines if line.removesuffix(":") in SECTIONS] == [*SECTIONS]
    at = lines.index("Share:")
    assert lines[at + 1].split()[0] == "pull"


def test_runs_keep_their_result_at_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "STARTED" in run("runs").out
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "80")
    header, row = run("runs").out.splitlines()
    assert header.split()[:2] == ["RESULT", "RUN"]
    assert row.startswith("accuracy ")
    assert len(row) <= 80


def test_a_tag_alone_is_answered_with_the_name_before_it(fails: Run) -> None:
    fails("tag", TUNED, "v1", says=(f"did you mean {TUNED}:v1?",))
    assert "did you mean" not in fails("tag", TUNED, "../x", says=())


def test_a_name_that_some_systems_cannot_hold(fails: Run, tmp_path: Path) -> None:
    """Only what a pull fails of says what a pull can do about it."""
    says = ("'team' is there",)
    assert "--as" not in fails("tag", TUNED, "Team/digits", says=says)
    with zoo.init(tmp_path / "other") as other:
        add_checkpoint(other.workspace, "Team/digits")
        other.push("Team/digits", str(tmp_path / "lab"))
    fails("pull", "Team/digits", "--from", tmp_path / "lab", says=(*says, "--as NAME"))


def test_a_mistyped_head_is_near(run: Run, few: Path) -> None:
    options = ("--strategy", "probe", "--at", "haed", "--save", "team/x")
    done = run("finetune", BASE, "--data", few, *options)
    assert done.code == 1
    assert "did you mean head or conv_head?" in done.err


def test_a_size_that_is_no_square_says_what_takes_it(run: Run, few: Path) -> None:
    done = run("finetune", BASE, "--data", few, "--image-size", "96x64", "--save", "team/x")
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "images are made square here (--image-size 96)" in said
    assert "zoo adapt NAME NEW --image-size 96x64" in said
    assert "'abc' is not a valid integer" in run("rank", few, "--image-size", "abc").err


@pytest.mark.long
def test_predict_takes_images_and_arrays(home: Path, digits: Path) -> None:
    path = next((digits / "7").iterdir())
    image = Image.open(path)
    array = np.asarray(image.convert("RGB"))
    with zoo.open(home) as opened:
        (expected,) = opened.predict(TUNED, path)
        for given in (str(path), [path], image, array, [array], (each for each in [image])):
            (done,) = opened.predict(TUNED, given)
            assert (done.classes, done.logits) == (expected.classes, expected.logits)
        found = opened.predict(TUNED, [path, image, array])
        assert [each.image for each in found] == [str(path), "image 1", "image 2"]
        with pytest.raises(InvalidImage, match=r"image 0: is an array \(8, 8, 3\) of float64"):
            opened.predict(TUNED, np.zeros((8, 8, 3)))
        assert image.mode == "L", "it is the caller's"


@pytest.mark.filterwarnings("default")
def test_what_a_decoder_warns_of_is_a_line_with_the_file(
    run: Run, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    image.save(home / "a.tif", compression="tiff_lzw")
    data = bytearray((home / "a.tif").read_bytes())
    data[200:260] = bytes(60)
    (home / "bad.tif").write_bytes(data)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0garbage"
    image.save(home / "odd.jpg", exif=exif)
    done = run("predict", TUNED, "odd.jpg", "bad.tif")
    assert done.err.splitlines()[0].startswith("odd.jpg: Corrupt EXIF data")
    assert done.err.splitlines()[2].startswith("error: bad.tif: cannot be read")
    assert "odd.jpg: " in done.out
    assert capfd.readouterr().err == "", "libtiff and Python write nothing beside"
