"""Where a push or pull goes: a word is no folder, and the hub is not a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import Run
from fakes.teammates import NAME, grow, move_at_lab

import zoo
from zoo.contracts import Kind
from zoo.errors import (
    InvalidOption,
    Protected,
    UnknownName,
    WouldReplace,
)
from zoo.store import Store


@pytest.mark.parametrize("word", ["lap", "nosuch", "team.v2"])
def test_a_push_to_a_word_makes_no_folder(bare: Run, mine: Path, word: str) -> None:
    done = bare("push", NAME, "--to", word)
    assert (done.code, done.out) == (1, "")
    for part in (f"unknown remote '{word}'", "did you mean lab?", f"./{word}"):
        assert part in done.err
    assert not (mine / word).exists()


def test_a_word_is_none_either_where_no_remote_has_a_name(bare: Run, mine: Path) -> None:
    bare("remote", "remove", "lab")
    done = bare("push", NAME, "--to", "lab")
    assert (done.code, "./lab" in done.err) == (1, True)
    assert not (mine / "lab").exists()


@pytest.mark.parametrize("where", ["./new", "{tmp}/new", "sub/../new"])
def test_a_path_may_be_made(bare: Run, mine: Path, tmp_path: Path, where: str) -> None:
    (mine / "sub").mkdir()
    assert bare("push", NAME, "--to", where.format(tmp=tmp_path)).code == 0


def test_a_push_gives_another_name(bare: Run, mine: Path, theirs: Path) -> None:
    digest = bare("show", NAME, "--json").json["manifest"]
    sent = bare("push", NAME, "--to", "lab", "--as", "team/other:v2", "--json").done().json
    assert (sent["ref"], sent["manifest"]) == ("team/other:v2", digest)
    bare("push", digest, "--to", "lab", "--as", "team/third").done()
    assert bare("search", "team/other", "--json").json[0]["remotes"] == ["lab"]
    for name in ("team/other:v2", "team/third"):
        got = bare("pull", name, "--from", "origin", "--home", theirs, "--json").done().json
        assert got["manifest"] == digest
    assert bare("push", digest, "--to", "lab").err.count("--as NAME") == 1
    assert bare("push", "team/*", "--to", "lab", "--as", "team/x").code == 2
    assert bare("push", NAME, "--to", "hf://a/b", "--as", "team/x").code == 1


def test_a_push_under_another_name_hides_nobodys_work(bare: Run, mine: Path, theirs: Path) -> None:
    with zoo.open(theirs) as there:
        grow(theirs, "team/work", bias=3)
        there.push("team/work", "origin")
    refused = bare("push", NAME, "--to", "lab", "--as", "team/work")
    assert (refused.code, "--force" in refused.err) == (1, True)
    with zoo.open(mine) as here, pytest.raises(WouldReplace):
        here.push(NAME, "lab", save="team/work")
    bare("push", NAME, "--to", "lab", "--as", "team/work", "--force").done()


@pytest.mark.parametrize(
    "line",
    [
        ("pull", NAME, "--from", "lap"), ("verify", "lap"), ("prune", "lap"),
        ("verify", "--repair", "--from", "lap"), ("delete", NAME, "--from", "lap", "--yes"),
        ("protect", NAME, "--at", "lap"), ("fetch", "lap"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_commands_do_not_take_a_word_for_a_folder(
    bare: Run, mine: Path, line: tuple[str, ...]
) -> None:
    done = bare(*line)
    assert (done.code, "unknown remote 'lap'" in done.err) == (1, True)
    assert "did you mean lab?" in done.err


def test_a_place_without_a_name_is_fetched_by_its_location(
    bare: Run, mine: Path, tmp_path: Path
) -> None:
    place = tmp_path / "unnamed"
    bare("push", NAME, "--to", place).done()
    bare("delete", NAME, "--yes").done()
    (fetched,) = bare("fetch", place, "--json").done().json
    assert (fetched["remote"], [*fetched["refs"]]) == (str(place), [NAME])
    assert bare("search", "--json").json[0]["remotes"] == [str(place)]
    assert f"from {place}, " in bare("pull", NAME).done().out
    assert bare("show", NAME, "--json").json["at_remotes"][0]["here"] == "same"
    bare("push", NAME, "--to", place).done()
    bare("remote", "remove", place).done()
    assert bare("show", NAME, "--json").json["at_remotes"] == []
    bare("remote", "remove", place).refused("unknown remote")


def test_a_store_in_this_folder_has_its_word(bare: Run, mine: Path, tmp_path: Path) -> None:
    bare("push", NAME, "--to", "./store")
    assert bare("pull", NAME, "--from", "store").code == 0


@pytest.mark.parametrize(
    "where", ["hf://org/net", "HF://org/net", "https://huggingface.co/org/net"]
)
def test_what_is_no_store_says_what_takes_it(bare: Run, mine: Path, where: str) -> None:
    for line in (
        ("delete", NAME, "--from", where, "--yes"), ("verify", where), ("prune", where),
        ("remote", "add", "hub", where), ("clone", where, "there"),
    ):  # fmt: skip
        done = bare(*line)
        assert (done.code, "is not a store" in done.err) == (1, True), line
        assert "--to hf://org/net publishes there" in done.err
    done = bare("pull", NAME, "--from", where)
    assert "zoo pull team/flowers:theirs --from hf://org/net" in done.err
    assert bare("remote", "--json").json[0]["name"] == "lab"


@pytest.mark.parametrize("by", ["its name", "its path"])
@pytest.mark.parametrize("left", ["an empty folder", "nothing"])
def test_a_disk_that_is_not_mounted_gets_no_new_store(
    bare: Run, mine: Path, lab: Path, left: str, by: str
) -> None:
    to = "lab" if by == "its name" else "../lab"
    bare("push", NAME, "--to", to).done()
    lab.rename(lab.with_name("unmounted"))
    if left == "an empty folder":
        lab.mkdir()
    said = bare("push", NAME, "--to", to)
    said.refused("1 name was there when it was last seen: is its disk mounted?")
    assert not lab.exists() or not [*lab.iterdir()]
    bare("remote", "remove", "lab").done()
    bare("remote", "add", "lab", lab).done()
    assert "6 sent" in bare("push", NAME, "--to", "lab").done().out


def test_a_disk_that_goes_away_under_a_push(
    bare: Run, mine: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def unmount_first(store: Store, kind: Kind, *what: Any) -> bool:
        if kind == "manifests":
            lab.rename(lab.with_name("unmounted"))
            lab.mkdir()
        return write(store, kind, *what)

    grow(mine, "team/new", bias=1)
    monkeypatch.setattr(Store, "write", unmount_first)
    bare("push", "team/new", "--to", "lab").refused(f"{lab}: is not a zoo store any more")
    assert not (lab / "refs").exists()


def test_python_offers_the_same(mine: Path, theirs: Path, bare: Run) -> None:
    new = move_at_lab(bare, theirs)
    own = grow(mine, NAME, NAME, bias=3)
    with zoo.open(mine) as opened:
        with pytest.raises(WouldReplace) as caught:
            opened.pull(NAME, remote="lab")
        assert (caught.value.ref, caught.value.current) == (NAME, own)
        done = opened.pull(NAME, remote="lab", save=f"{NAME}:theirs")
        assert str(done.ref) == f"{NAME}:theirs"
        assert str(opened.search(NAME, pulled=True)[0].at_remotes[0].manifest) == new
        opened.pull(NAME, remote="lab", force=True)
        with pytest.raises(InvalidOption, match="is not a store") as refused:
            opened.verify("hf://org/net")
        assert "zoo push NAME --to hf://org/net publishes there" in str(refused.value.hint)
        opened.protect(NAME, remote="lab")
        with pytest.raises(Protected):
            opened.delete(NAME, remote="lab")
        opened.protect(NAME, on=False, remote="lab")
        assert opened.delete(NAME, remote="lab").deleted
        assert not opened.restore(NAME, remote="lab").deleted
        with pytest.raises(UnknownName) as unknown:
            opened.show("team/flower")
        assert str(unknown.value).endswith(f"did you mean {' or '.join(unknown.value.near)}?")
