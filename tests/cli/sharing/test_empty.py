"""A shared folder into which nobody has pushed yet."""

from __future__ import annotations

import shutil
from pathlib import Path

from fakes.prepared import Run


def test_an_empty_folder_is_one_to_which_nothing_was_pushed(toy: Run, tmp_path: Path) -> None:
    place = tmp_path / "new place"
    place.mkdir()
    toy("remote", "add", "l", place).done()
    said = ("is not a zoo store: it is empty", "nothing has been pushed there yet",
            f"zoo push NAME --to '{place}'")  # fmt: skip
    toy("fetch", "l").refused(*said)
    toy("pull", "team/x", "--from", "l").refused(*said)
    toy("clone", place, tmp_path / "clone").refused(*said)
    assert not (tmp_path / "clone").exists()
    toy("push", "team/base", "--to", place).done()
    toy("fetch", "l").done()
    # What was there and is not: a disk that is not mounted.
    shutil.rmtree(place)
    place.mkdir()
    toy("fetch", "l").refused("1 name was there when it was last seen: is its disk mounted?")
    (place / "letter.txt").write_text("hello")
    refused = toy("fetch", str(place)).err + toy("pull", "team/x", "--from", tmp_path / "empty").err
    assert "pushed" not in refused


def test_a_remote_that_is_not_there_yet_is_told(toy: Run, tmp_path: Path) -> None:
    assert "exist" not in toy("remote", "add", "here", tmp_path).done().err
    told = toy("remote", "add", "lab", tmp_path / "lab").done().err
    assert "it does not exist yet: the first push makes it" in told
    assert "exist" not in toy("remote", "add", "b", "s3://lab/zoo").done().err
    toy("push", "team/base", "--to", "lab").done()
