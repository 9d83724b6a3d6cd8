"""Hints of names that were deleted: each is typed as it is printed, and does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, digest_of

ALL = ("--keep", "0", "--grace", "0", "--yes")


@pytest.fixture
def there(lab: Path, mine: Path) -> Path:
    """The remote, where a shell needs quotes for it."""
    place = lab.with_name("the lab's")
    lab.rename(place)
    (mine / "remotes.json").write_text("{}")
    return place


def typed(run: Run, text: str) -> list[str]:
    """Type the command that a message ends with."""
    found = re.findall(r": (zoo .*)$", text.strip())
    assert found, text
    words = shlex.split(found[-1])[1:]
    done = run(*words)
    assert done.code == 0, (words, done.err)
    return words


@pytest.mark.parametrize("line", [("pull", "--from"), ("delete", "--from"), ("protect", "--at")])
def test_a_name_that_was_deleted_at_a_remote(bare: Run, there: Path, line: tuple[str, str]) -> None:
    command, option = line
    done = bare("delete", NAME, "--from", there, "--yes")
    refused = bare(command, NAME, option, there, *(["--yes"] if command == "delete" else []))
    assert refused.code == 1
    for text in (refused.err, done.out):
        assert typed(bare, text)[:2] == ["delete", "--restore"]
        assert bare("delete", NAME, "--from", there, "--yes").code == 0
    typed(bare, refused.err)
    assert bare("pull", NAME, "--from", there).code == 0


@pytest.mark.parametrize(
    "line", [("pull", "--from"), ("protect", "--at"), ("delete", "--restore", "--from")]
)
def test_a_name_that_a_prune_has_taken_at_a_remote(
    bare: Run, mine: Path, there: Path, line: tuple[str, ...]
) -> None:
    digest = digest_of(bare, NAME, mine)
    bare("delete", NAME, "--from", there, "--yes")
    assert bare("prune", there, *ALL).code == 0
    refused = bare(line[0], NAME, *line[1:], there)
    assert (refused.code, "--restore" in refused.err) == (1, False)
    assert "a prune there has deleted what it pointed at" in refused.err
    assert typed(bare, refused.err) == ["push", NAME, "--to", str(there)]
    assert bare("pull", NAME, "--from", there, "--as", "team/again").code == 0
    assert digest_of(bare, "team/again", mine) == digest


def test_a_name_of_which_an_object_is_gone_is_not_to_be_restored(
    bare: Run, mine: Path, there: Path
) -> None:
    bare("delete", NAME)
    bare("delete", NAME, "--from", there, "--yes")
    for root in (mine, there):
        for path in [*root.glob("objects/*/*")]:
            path.unlink()
    for line in (("show", NAME), ("pull", NAME, "--from", there)):
        refused = bare(*line)
        assert (refused.code, "--restore" in refused.err) == (1, False)


def test_a_name_that_was_deleted_here(bare: Run, mine: Path) -> None:
    digest = digest_of(bare, NAME, mine)
    done = bare("delete", NAME)
    typed(bare, done.out)
    bare("delete", NAME)
    typed(bare, bare("show", NAME).err)
    assert digest_of(bare, NAME, mine) == digest


def test_a_name_that_a_prune_has_taken_here(bare: Run, mine: Path, lab: Path) -> None:
    """The index knows who has it."""
    digest = digest_of(bare, NAME, mine)
    assert bare("fetch", "lab").code == 0
    for line in (("tag", NAME, "team/x"), ("delete", "--restore", NAME)):
        bare("delete", NAME)
        assert bare("prune", *ALL).code == 0
        refused = bare(*line)
        assert refused.code == 1
        assert typed(bare, refused.err) == ["pull", NAME]
        assert digest_of(bare, NAME, mine) == digest


def test_a_name_that_nobody_has_any_more(bare: Run, mine: Path) -> None:
    (mine / "remotes.json").write_text("{}")
    bare("delete", NAME)
    bare("prune", *ALL)
    refused = bare("delete", "--restore", NAME)
    assert refused.code == 1
    assert "a prune has deleted what it pointed at" in refused.err
    assert "zoo " not in refused.err.replace(str(mine), "")
