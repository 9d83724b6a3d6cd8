"""Where a name would answer with other classes, or of another task, whoever moves it is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from fakes.hub_zoo import repository, weights
from fakes.prepared import Run
from fakes.teammates import NAME, digest_of

import zoo

LETTERS, CHESS = tuple("abcdefgh"), ("bishop", "king", "knight", "pawn", "queen", "rook")
OF_OTHERS = "no class in common: 6 new (bishop, king, knight, pawn and 2 more), 8 gone (a, b, c, d"


def train(root: Path, classes: tuple[str, ...], data: str, bias: float, **more: Any) -> str:
    """Move the name to what was trained on other images; its digest."""
    values = tensors()
    values["fc.bias"] = values["fc.bias"] + bias
    recipe = {"data": f"/home/ana/{data}", "task": "classification", **more}
    known = {"recipe": recipe, "provenance": {"data_digest": f"{data}-{bias}"}}
    with zoo.open(root) as opened:
        return str(add_checkpoint(opened.workspace, NAME, values, classes=classes, **known))


@pytest.fixture
def letters(bare: Run, mine: Path, theirs: Path) -> str:
    """What both have, and the lab: eight letters."""
    made = train(mine, LETTERS, "letters", 1)
    bare("push", NAME, "--to", "lab", "--force").done()
    bare("pull", NAME, "--from", "origin", "--force", "--home", theirs).done()
    return made


def test_a_push_of_other_classes_is_refused_before_it_sends(
    bare: Run, mine: Path, lab: Path, letters: str
) -> None:
    made = train(mine, CHESS, "chess", 2)
    before = sorted(lab.rglob("*"))
    other = "push --as team/flowers-chess"
    said = (letters, OF_OTHERS, "trained on chess, was letters", "--force", other)
    bare("push", NAME, "--to", "lab").refused(f"{NAME} at lab is for something else", *said)
    assert sorted(lab.rglob("*")) == before
    refused = bare("push", NAME, "--to", "lab", "--json")
    assert json.loads(refused.err)["error"]["code"] == "other_classes"
    # What it proposes works; forced, it says what it has done.
    bare("push", NAME, "--to", "lab", "--as", "team/flowers-chess").done()
    forced = bare("push", NAME, "--to", "lab", "--force", "--json").done().json
    assert (forced["manifest"], forced["moved_from"]) == (made, letters)
    assert forced["change"]["new_classes"] == list(CHESS)
    assert forced["change"]["gone_classes"] == list(LETTERS)
    assert forced["change"]["common_classes"] == 0


def test_a_pull_of_other_classes_is_refused(
    bare: Run, mine: Path, theirs: Path, letters: str
) -> None:
    made = train(mine, CHESS, "chess", 2)
    bare("push", NAME, "--to", "lab", "--force").done()
    pull = ("pull", NAME, "--from", "origin", "--home", theirs)
    bare(*pull).refused(f"{NAME} here is for something else", OF_OTHERS, letters, "pull --force",
                        f"zoo pull {NAME} --from origin --as team/flowers-chess")  # fmt: skip
    assert digest_of(bare, NAME, theirs) == letters
    assert bare(*pull, "--as", "team/flowers-chess", "--json").done().json["moved_from"] is None
    done = bare(*pull, "--force").done()
    moved = f"  moved; was {letters[7:19]} (zoo log {NAME})\n  {OF_OTHERS} and 4 more)\n"
    assert moved in done.out
    assert digest_of(bare, NAME, theirs) == made


def test_a_pull_says_what_a_name_was_and_what_differs(
    bare: Run, mine: Path, theirs: Path, letters: str
) -> None:
    train(mine, (*LETTERS[1:], "i"), "letters", 2)
    pushed = bare("push", NAME, "--to", "lab").done()
    lines = ("classes: 1 new (i), 1 gone (a)", "trained on other images of letters, was letters")
    for line in (f"moved there; was {letters[7:19]}", *lines):
        assert f"\n  {line}\n" in pushed.out
    pull = bare("pull", NAME, "--from", "origin", "--home", theirs).done()
    for line in (f"moved; was {letters[7:19]} (zoo log {NAME})", *lines):
        assert f"\n  {line}\n" in pull.out
    again = bare("pull", NAME, "--from", "origin", "--home", theirs).done()
    assert "moved" not in again.out
    # As does a tag; the same classes are no news.
    tagged = bare("tag", letters, NAME).done()
    assert "\n  classes: 1 new (a), 1 gone (i)\n" in tagged.out
    assert bare("tag", f"{NAME}", NAME, "--json").done().json["ref"] == NAME


def test_another_task_is_refused(bare: Run, mine: Path, letters: str) -> None:
    train(mine, LETTERS, "letters", 2, task="multi-label")
    told = "the task is multi-label, was classification"
    bare("push", NAME, "--to", "lab").refused(told)
    assert told in bare("push", NAME, "--to", "lab", "--force").done().out


def test_unknown_classes_are_no_difference(bare: Run, mine: Path, letters: str) -> None:
    train(mine, (), "letters", 2, task=None)
    done = bare("push", NAME, "--to", "lab", "--json").done().json
    assert done["change"]["new_classes"] == done["change"]["gone_classes"] == []


def test_all_tags_go_but_those_of_other_classes(bare: Run, mine: Path, letters: str) -> None:
    for tag in ("v1", "v2"):
        bare("tag", NAME, f"{NAME}:{tag}").done()
    bare("push", NAME, "--all-tags", "--to", "lab").done()
    made = train(mine, (*LETTERS, "i"), "letters", 3)
    train(mine, CHESS, "chess", 4)
    bare("tag", NAME, f"{NAME}:v1", "--force").done()
    bare("tag", made, f"{NAME}:v2", "--force").done()
    done = bare("push", NAME, "--all-tags", "--to", "lab")
    done.refused(f"{NAME}:v1 at lab is for something else", f"nor were sent: {NAME}\n",
                 f"sent before that: {NAME}:v2")  # fmt: skip
    bare("push", NAME, "--all-tags", "--to", "lab", "--force").done()


def test_the_class_names_of_strangers_are_shown_escaped_and_short(
    bare: Run, mine: Path, letters: str
) -> None:
    train(mine, ("\x1b[31mred", "x" * 300), "chess\x07", 2)
    done = bare("push", NAME, "--to", "lab")
    done.refused("no class in common")
    assert all(char.isprintable() or char == "\n" for char in done.err)
    assert "x" * 50 not in done.err


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


@pytest.mark.long
def test_a_repository_that_is_for_something_else_by_now(
    bare: Run, mine: Path, hub: HubServer
) -> None:
    config = json.loads(repository()["config.json"])
    for seed, names in enumerate(("abc", "abd", "KQR")):
        named = json.dumps({**config, "label_names": [*names]}).encode()
        hub.commit("lab/net", {**repository(seed), "config.json": named})
        stored = sorted(Path("objects").rglob("*"))
        done = bare("pull", "x/net", "--from", "hf://lab/net")
        if names == "abd":
            assert "\n  classes: 1 new (d), 1 gone (c)\n" in done.done().out
    done.refused("x/net here is for something else", "no class in common: 3 new (K, Q, R), 3 gone",
                 "zoo pull x/net-2 --from hf://lab/net")  # fmt: skip
    assert sorted(Path("objects").rglob("*")) == stored
    bare("pull", "x/net-2", "--from", "hf://lab/net").done()
    assert "moved; was" in bare("pull", "x/net", "--from", "hf://lab/net", "--force").done().out


@pytest.mark.long
def test_imports_say_what_differs(empty: Run) -> None:
    for seed, names in enumerate(("abc", "KQR")):
        Path("names.txt").write_text("\n".join(names))
        for folder in ("one", "all"):
            Path(folder).mkdir(exist_ok=True)
            Path(folder, "net.safetensors").write_bytes(weights(seed))
        how = ("--architecture", "test_resnet", "--classes", "names.txt", "--force")
        one = empty("import", "one/net.safetensors", "--as", "x/one", *how, "--json").done().json
        every = empty("import", "all", "--recursive", "--as", "x/{stem}", *how).done()
    assert one["change"]["gone_classes"] == ["a", "b", "c"]
    assert "\nx/all: no class in common: 3 new (K, Q, R), 3 gone (a, b, c)\n" in every.err


def called(few: Path, folder: Path, names: str) -> Path:
    """The images of three classes, which are called otherwise."""
    for kind, name in zip(sorted(few.iterdir()), names, strict=True):
        shutil.copytree(kind, folder / name)
    return folder


@pytest.mark.long
def test_a_fine_tune_asks_before_it_trains(small: Run, few: Path, tmp_path: Path) -> None:
    """The whole story: letters, then chess under the same name, and what a teammate meets."""
    letters, chess = (
        called(few, tmp_path / x, y) for x, y in (("letters", "abc"), ("chess", "KQR"))
    )
    tune = ("finetune", "team/net", "--strategy", "probe", "--image-size", 32, "--quiet")
    first = small(*tune, "--data", letters, "--save", "team/x", "--json").done().json
    assert (first["moved_from"], first["change"]) == (None, None)
    other = (*tune, "--data", chess, "--save", "team/x")
    runs = len(small("runs", "--json").json)
    said = ("team/x here is for something else", "no class in common: 3 new (K, Q, R), 3 gone",
            "nothing was trained; take another name: --save team/x-chess", "--force")  # fmt: skip
    for more in ((), ("--seeds", 2), ("--folds", 2), ("--dry-run",)):
        small(*other, *more).refused(*said)
    small("protect", "team/x").done()
    for more in ((), ("--dry-run",)):  # not only when it is trained
        small(*tune, "--data", letters, "--save", "team/x", *more).refused("team/x is protected")
    small("protect", "--off", "team/x").done()
    assert len(small("runs", "--json").json) == runs
    planned = small(*other, "--force", "--dry-run").done().out
    now = f"team/x is {first['manifest'][7:19]} now, and moves when it is done"
    assert f"\nsave      {now}\n          no class in common: 3 new (K, Q, R)" in planned
    plan = small(*tune, "--data", letters, "--save", "team/x", "--dry-run", "--json").done().json
    assert (plan["moves_from"], plan["change"]) == (first["manifest"], None)
    done = small(*(each for each in other if each != "--quiet"), "--force").done()
    assert f"{now.replace(' it ', ' this ')}; no class in common: 3 new (K, Q, R)" in done.err
    assert f"\n  moved; was {first['manifest'][7:19]} (zoo log team/x)\n" in done.out
    assert "\n  no class in common: 3 new (K, Q, R), 3 gone (a, b, c)\n" in done.out
    small("rerun", first["manifest"], "--save", "team/x", "--quiet").refused("no class in common")
