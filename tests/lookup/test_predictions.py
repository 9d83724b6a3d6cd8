"""Two runs are compared image by image only where what is kept of them can tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zoo.lookup.predictions import paired_test
from zoo.lookup.runs import PREDICTIONS, REPORT, Run

TRUTH = "aabbb"


def run(root: Path, said: str, *, images: str = "01234", groups: int | None = None,
        test: str = "t") -> Run:  # fmt: skip
    """A run that took five images for these classes."""
    folder = root / f"{said}-{images}-{groups}-{test}"
    folder.mkdir()
    rows = [f"{at}.png,{label},{one}" for at, label, one in zip(images, TRUTH, said, strict=True)]
    (folder / PREDICTIONS).write_text("\n".join(["path,label,predicted", *rows]) + "\n")
    (folder / REPORT).write_text(json.dumps({"groups": groups}))
    return Run(folder=folder, base="", parent="", save="", recipe={}, device="cpu", started="",
               provenance={"test_digest": test} if test else {})  # fmt: skip


def test_images_where_one_alone_is_right(tmp_path: Path) -> None:
    found = paired_test(run(tmp_path, "aabbb"), run(tmp_path, "bbbba"))
    assert found
    assert (found.images, found.better, found.worse, found.p) == (5, 3, 0, 0.25)


@pytest.mark.parametrize(
    "other",
    [{"groups": 2}, {"images": "01235"}, {"test": "other"}, {"test": ""}],
    ids=["images in groups", "other images", "another test set", "nothing known"],
)
def test_what_cannot_be_told(tmp_path: Path, other: dict[str, object]) -> None:
    one, two = run(tmp_path, "aabbb"), run(tmp_path, "bbbba", **other)  # type: ignore[arg-type]
    assert paired_test(one, two) is None
    assert paired_test(two, one) is None
    if other == {"test": ""}:
        assert paired_test(two, two) is None


@pytest.mark.parametrize("damaged", [b"", b"path,label\n0.png,a\n", b"\xff\xfe\x00"])
def test_what_is_damaged_tells_nothing(tmp_path: Path, damaged: bytes) -> None:
    one, two = run(tmp_path, "aabbb"), run(tmp_path, "bbbba")
    (two.folder / PREDICTIONS).write_bytes(damaged)
    assert paired_test(one, two) is None
