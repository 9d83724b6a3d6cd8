"""Who trained a checkpoint and what for: it goes with it, wherever it is pulled."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.hub_zoo import weights
from fakes.prepared import Run

import zoo

NOTE = "for the greenhouse, with photos of May"


@pytest.fixture
def trained(small: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A zoo with ``team/x``, which Ana trained."""
    monkeypatch.setenv("ZOO_AUTHOR", "ana")
    tune = ("finetune", "team/net", "--data", few, "--strategy", "probe", "--image-size", 32)
    small(*tune, "--save", "team/x", "--note", f" {NOTE}\n", "--quiet").done()
    return small


def test_a_teammate_sees_who_trained_it_and_what_for(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("push", "team/x", "--to", tmp_path / "lab").done()
    monkeypatch.setenv("ZOO_AUTHOR", "ben")
    trained("clone", tmp_path / "lab", tmp_path / "bens").done()
    at = ("--home", tmp_path / "bens")
    assert "team/x" in trained("search", "greenhouse", *at).done().out  # fetched, and not here yet
    trained("pull", "team/x", *at).done()
    shown = trained("show", "team/x", *at).done().out
    assert f"\nnote: {NOTE}\n" in "\n".join(" ".join(x.split()) for x in shown.splitlines())
    assert "\ntrained by: ana\n" in "\n".join(" ".join(x.split()) for x in shown.splitlines())
    logged = trained("log", "team/x", *at).done().out
    assert "trained by ana" in logged
    assert f"({NOTE})" in logged
    step = trained("log", "team/x", "--json", *at).json["ancestors"][0]
    assert (step["author"], step["note"]) == ("ana", NOTE)
    assert "team/x" in trained("search", "may", "ana", *at).done().out
    trained("export", "team/x", tmp_path / "out", *at).done()
    card = (tmp_path / "out/README.md").read_text()
    assert f"\n{NOTE}\n" in card
    assert "outputs), by ana." in card


def test_a_note_is_a_line_of_bounded_length(small: Run, few: Path) -> None:
    tune = ("finetune", "team/net", "--data", few, "--save", "team/x")
    small(*tune, "--note", "x" * 501).refused("the note has 501 letters; the most is 500")
    small(*tune, "--note", "red \x1b[31m").refused("characters that cannot be shown")
    assert small("runs", "--json").json == []


def test_an_import_takes_a_note(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.safetensors").write_bytes(weights(7))
    how = ("import", "a.safetensors", "--architecture", "test_resnet", "--as", "team/a")
    plain = small(*how, "--json").done().json["manifest"]
    monkeypatch.setenv("ZOO_AUTHOR", "ben")  # the same file is the same checkpoint for everybody
    assert small(*how, "--json").done().json["manifest"] == plain
    small(*how, "--note", NOTE).done()
    assert small("show", "team/a", "--json").json["provenance"]["note"] == NOTE
    assert "team/a" in small("search", "greenhouse").out


def test_what_strangers_say_is_escaped_and_cut(toy: Run) -> None:
    said = {"author": "\x1b[31mred" + "y" * 9999, "note": "\x07" + "x" * 9999}
    with zoo.open() as here:
        add_checkpoint(here.workspace, "x/y", tensors(3), provenance=said)
    for command in ("show", "log"):
        out = toy(command, "x/y").done().out
        assert all(char.isprintable() or char == "\n" for char in out)
        assert len(out) < 3000
