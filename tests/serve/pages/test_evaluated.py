"""What evaluations took for what: on the page of a model, and side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.paged import NASTY, canaries, page, text_of
from fakes.prepared import copy_zoo
from fakes.served import Served, serving
from fakes.tuned import quick

import zoo

FOLDER = "evaluations"


@pytest.fixture
def own(tuned_home: Path, tmp_path: Path) -> Iterator[Served]:
    """The zoo of `tuned`, to be changed: anybody may read ``team/tuned``, which was evaluated."""
    with serving(copy_zoo(tuned_home, tmp_path / "zoo")) as served:
        served.accounts.set_level("team", level="private")
        served.accounts.set_level("team/tuned", level="public")
        yield served


def kept(served: Served) -> Path:
    """The file of the only evaluation."""
    (found,) = (served.root / FOLDER).glob("*/*.json")
    return found


def test_the_matrix_of_an_evaluation(own: Served) -> None:
    """It was made of the test images of the run, so it is the one that the run wrote by another
    way.
    """
    with zoo.open(own.root) as opened:
        run = next(run for run in opened.runs() if run.save == "team/tuned")
        shown = opened.show("team/tuned").to_json()
    expected = json.loads((run.folder / "confusion.json").read_text())
    assert sum(map(sum, expected["counts"])) == 15
    (found,) = own.ask("/team/tuned/index.json").json["checkpoint"]["evaluations"]
    assert found["matrix"] == expected
    _, tree = page(own, "/team/tuned")
    (drawn,) = tree.xpath("//section[starts-with(@aria-label, 'Evaluation')]//svg[@class='matrix']")
    assert drawn.get("aria-label") == "What images of data were taken for"
    assert "matrix" not in json.dumps(shown["evaluations"]), "zoo show has the figures only"


def test_side_by_side_where_the_images_are_the_same(own: Served, tuned_home: Path) -> None:
    names = "names=team/tuned:v1&names=team/tuned"
    (one,) = own.ask(f"/compare.json?{names}").json["evaluated"]
    assert [each["name"] for each in one["matrices"]] == ["team/tuned"]
    with quick(), zoo.open(own.root, progress=False) as opened:
        opened.evaluate("team/tuned:v1", tuned_home.parent / "data")
    (both,) = own.ask(f"/compare.json?{names}").json["evaluated"]
    assert [each["name"] for each in both["matrices"]] == ["team/tuned:v1", "team/tuned"]
    assert (both["data"], both["split"], both["images"]) == ("data", "test", 15)
    first, second = (each["matrix"]["counts"] for each in both["matrices"])
    assert first != second
    assert [*map(sum, first)] == [*map(sum, second)] == [5, 5, 5]
    _, tree = page(own, f"/compare?{names}")
    assert len(tree.xpath("//h3[contains(., 'Evaluated on')]/following::svg[@class='matrix']")) == 2


def test_one_of_an_older_version_and_one_that_is_damaged(own: Served) -> None:
    file = kept(own)
    whole = json.loads(file.read_text())
    classes = whole["matrix"]["classes"]
    for matrix, evaluations in (
        (None, 1),
        ({"classes": classes, "counts": [[1, 2], [3]]}, 0),
        ({"classes": classes, "counts": [[-1] * 3] * 3}, 0),
        ({"classes": classes, "counts": [[1.5] * 3] * 3}, 0),
        ({"classes": [1, 2, 3], "counts": [[1] * 3] * 3}, 0),
        ([], 0), ("x", 0),
        ({"classes": [*map(str, range(41))], "counts": [[1] * 41] * 41}, 1),
    ):  # fmt: skip
        file.write_text(json.dumps({**whole, "matrix": matrix}))
        found = own.ask("/team/tuned/index.json").json["checkpoint"]["evaluations"]
        assert [each["matrix"] for each in found] == [None] * evaluations, matrix
        assert page(own, "/team/tuned")[0].status == 200
    del whole["matrix"]
    file.write_text(json.dumps(whole))
    _, tree = page(own, "/team/tuned")
    assert "Measured here on data" in text_of(tree)


def test_names_of_classes_do_nothing(own: Served) -> None:
    file = kept(own)
    whole = json.loads(file.read_text())
    number = len(NASTY)
    whole["matrix"] = {"classes": [*NASTY], "counts": [[2] * number] * number}
    file.write_text(json.dumps(whole))
    for path in ("/team/tuned", "/compare?names=team/tuned&names=team/tuned:v1"):
        got, tree = page(own, path)
        assert got.status == 200
        assert tree.xpath("//svg[@class='matrix']")
        assert canaries(tree) == []
