"""zoo search: the grammar, the table, and text that nobody has checked."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import PREPROCESSING, add_checkpoint, tensors

import zoo
from zoo.domain.catalog import CatalogEntry
from zoo.domain.manifest import Backbone
from zoo.domain.progress import Console
from zoo.workspace import Workspace
from zoo_cli.output import table

BASE, TUNED = "timm/tf_efficientnet_lite0.in1k", "team/digits"
Run = Callable[..., Any]
TURNS = "\u202e"
"""Turns the direction of what follows."""
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "bell\x07\x08\x7f\x9b2J",
    "right\u202eleft",
    "two\nlines\r\tand\x00nothing",
    "'; DROP TABLE item; --",
    '"quoted" OR NEAR(a b) * ^ + - {}',
    "<script>alert(1)</script>",
    "%s %n {0} $HOME `id`",
)


def names(run: Run, *arguments: str) -> list[str]:
    return [row["name"] for row in run("search", *arguments, "--json").json]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("head:linear dataset:digits num_classes=10 accuracy>=0", [TUNED]),
        ("parent:timm/tf_eff* frozen>=50% owner:team tag:latest", [TUNED]),
        ("frozen>99%", []),
        ("source:timm pulled:yes", [BASE]),
        ("arch:TF_EFFICIENTNET_LITE0 pulled:no", []),
        ('classes:7 input=32 metric.test_images=40 "team/"', [TUNED]),
        ('"accuracy>=0"', []),
    ],
)
def test_filters(run: Run, query: str, expected: list[str]) -> None:
    assert names(run, query) == expected
    assert names(run, *query.split()) == expected  # the shell may split it, too


def test_a_value_that_nothing_has_is_answered_with_near_ones(run: Run) -> None:
    for asked in ("license:apache", "license:apache2.0"):
        said = run("search", asked)
        assert f"nothing has {asked}; there is license:apache-2.0\n" in said.err
    assert "there is" not in run("search", "license:apache-2.0", "no-such-word").err


def test_a_unit_may_stand_apart(run: Run) -> None:
    for written in ("params<4 M", "params<4 m license:apache-2.0"):
        assert names(run, written, "--pulled") == names(run, written.replace(" m", "m").replace(
            " M", "M"), "--pulled") == [TUNED]  # fmt: skip
    assert names(run, "frozen>50 %") == names(run, "frozen>50%")
    assert names(run, "params<4M", "M") == []  # a word: there is a unit


def test_an_architecture_of_that_name_comes_first(run: Run) -> None:
    """Names that only begin so stand before it in the alphabet."""
    found = run("search", "resnet50", "--json", "--limit", 100).json
    exact = [row["architecture"] == "resnet50" for row in found]
    assert exact == sorted(exact, reverse=True)
    assert (exact[0], exact[-1]) == (True, False)
    few = run("search", "resnet50", "a1_in1k", "--json", "--limit", 1).json
    assert [row["name"] for row in few] == ["timm/resnet50.a1_in1k"]


def test_a_part_that_is_too_short_is_told(toy: Run) -> None:
    said = toy("search", "m/").done().err
    assert "'m/' is found as a whole word only: a part takes 3 characters" in said
    assert "whole word only" not in toy("search", "am/no").done().err
    assert [line.split()[0] for line in toy("search", "am/").done().out.splitlines()[1:]]


def test_a_pattern_for_a_word_is_told_where_patterns_are(toy: Run) -> None:
    assert "try arch:test_*, or zoo ls 'test_*'" in toy("search", "test_*").done().err


def test_ls_has_a_limit(toy: Run) -> None:
    assert len(toy("ls", "--json").json) == 2
    assert len(toy("ls", "--limit", 1, "--json").json) == 1
    said = toy("ls", "--limit", 1).done()
    assert (len(said.out.splitlines()), said.err) == (2, "1 of 2; --limit shows more\n")
    assert toy("ls", "--limit", 2).done().err == ""


def test_words_that_nothing_has_get_near_names(run: Run) -> None:
    said = run("search", "resnt50", "in1k").done()
    assert "nothing has resnt50; did you mean timm/" in said.err
    assert "nothing has in1k" not in said.err


def test_near_names_have_the_other_words_too(run: Run) -> None:
    said = run("search", "efficentnet", "lite")
    near = said.err.partition("nothing has efficentnet; did you mean ")[2].partition("?")[0]
    names = near.split(" or ")
    assert len(names) > 1
    assert all("lite" in name for name in names)
    alone = run("search", "efficentnet", "lyte").err  # which nothing has either
    assert "nothing has efficentnet; did you mean timm/" in alone


def test_a_number_of_classes_has_a_field_of_its_own(toy: Run) -> None:
    said = toy("search", "classes:3").done()
    assert said.out.splitlines()[1:] == []
    assert "classes:3 asks for a class of that name, num_classes=3 for so many" in said.err
    assert TUNED in toy("search", "num_classes=3").done().out
    assert "num_classes" not in toy("search", "classes:rose").done().err


def test_sorting(run: Run) -> None:
    assert names(run, "pulled:yes", "--sort", "-num_classes") == [BASE, TUNED]
    assert names(run, "pulled:yes", "--sort", "num_classes") == [TUNED, BASE]
    assert names(run, "lite0", "--sort", "-accuracy", "--limit", "2") == [TUNED, BASE]


def test_ls_sorts_as_search_does(run: Run) -> None:
    def listed(*asked: str) -> list[str]:
        return [row["name"] for row in run("ls", *asked, "--json").json]

    assert listed("--sort", "-params") == listed("*/*", "--sort", "-params") == [BASE, TUNED]
    assert listed("--sort", "params", "--limit", "1") == [TUNED]
    head, first, _ = run("ls", "--sort", "-loss").out.splitlines()
    assert "LOSS" in head.split()
    assert first.startswith(TUNED)  # what has no loss comes last
    refused = run("ls", "--sort", "parms")
    assert "field to sort by 'parms'" in refused.err
    assert refused.err == run("search", "--sort", "parms").err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("licence:mit",), ("unknown field 'licence'", "license:apache-2.0")),
        (("params<lots",), ("'params' takes a number", "params<30M")),
        (("--sort", "parms"), ("field to sort by 'parms'", "params")),
        (('"open',), ("not closed",)),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(
    run: Run, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    done = run("search", *arguments)
    assert done.code > 0
    assert done.out == ""
    assert all(part in done.err for part in says)


def test_a_column_for_what_is_asked(run: Run) -> None:
    plain = run("search", "team/digits").out.splitlines()[0].split()
    assert plain == ["NAME", "PARAMS", "INPUT", "CLASSES", "LICENSE", "HERE", "ACCURACY"]
    asked = run("search", "dataset:digits metric.test_images>1", "--sort", "-updated")
    head, row = (line.split() for line in asked.out.splitlines())
    assert head == [*plain, "DATASET", "UPDATED", "metric.test_images"]
    assert (row[-3], row[-1]) == ("digits", "40")


def test_the_list_that_everybody_wants_first(run: Run) -> None:
    done = run("search", "params<30M pulled:no", "--sort", "-metric.top1")
    head, *rows = (line.split() for line in done.out.splitlines())
    assert head == ["NAME", "PARAMS", "MACS", "INPUT", "TOP1%", "CLASSES", "LICENSE"]
    assert rows[0][0] == "timm/tiny_vit_21m_512.dist_in22k_ft_in1k"
    assert not any("-" in row for row in rows)
    scores = [float(row[4].partition("@")[0]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert any(row[4].endswith("@288") for row in rows), "measured at another size than the input's"
    assert names(run, "params<30M pulled:no", "--sort", "-top1") == [row[0] for row in rows]


def test_published_figures_are_fields(run: Run) -> None:
    rows = run("search", "macs<300M top1>75 dataset:imagenet-1k", "--json").json
    assert rows
    assert all(
        row["metrics"]["macs"] < 3e8 and row["metrics"]["top1"] > 75 and row["pulled"] is False
        for row in rows
    )


@pytest.mark.long
def test_a_search_for_nothing_begins_with_what_is_here_and_then_the_best(run: Run) -> None:
    found = names(run, "--limit", "4")
    assert found[:2] == [TUNED, BASE]
    assert found[2:] == names(run, "pulled:no", "--sort", "-top1", "--limit", "2")
    every = names(run, "--limit", "5000")
    assert sorted(every) == names(run, "--limit", "5000", "--sort", "name")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_table_fits_the_terminal(run: Run, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("search", "lite0", "source:timm").out.splitlines()
    assert all(len(line) <= width for line in out)
    assert BASE in out[1]
    assert "ACCURACY" not in out[0]  # nothing that sources list has one
    assert ("LICENSE" in out[0]) == (width > 60)


def test_values_are_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "10")
    rows = [("a", "1234567", "x", "-"), ("b", "12345678", "y", "-")]
    table(("A", "SECONDS", "LEAST", "EMPTY"), rows, least_first=("EMPTY", "LEAST"))
    assert capsys.readouterr().out.splitlines() == ["A  SECONDS", "a  1234567", "b  12345678"]


def test_a_long_note_leaves_the_numbers_of_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with (console := Console())("training", 250) as shown:
        console.say("epoch 4\x1b[2J  loss 0.1")
        shown.advance(113, note="epoch 5, loss 0.000, rate 3.4e-05, 12 images/s, accuracy 0.9876")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)  # without colors
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", plain).splitlines()
    last = next(line for line in reversed(lines) if "113/250" in line)
    assert last.startswith("training")
    assert "113/250 -:--:-- epoch 5" in last
    assert "epoch 4?[2J  loss 0.1\n" in plain  # stays above the bar


def test_work_without_a_terminal_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with (console := Console())("pulling", 4e9, "B") as shown:
        for _ in range(3):
            now[0] += 20
            shown.advance(1e9)
        console.say("half")
        now[0] += 20
        shown.advance(1e9, note="soon")
    assert capsys.readouterr().err == "pulling: 2,000 of 4,000 MB\nhalf\n"
    with zoo.init(tmp_path / "zoo", progress=False) as silent:
        silent.progress.say("nothing")
    monkeypatch.setenv("RANK", "1")
    console.say("nor the others")
    assert capsys.readouterr().err == ""


def test_hostile_text_is_shown_harmlessly(run: Run, home: Path) -> None:
    entries = [
        CatalogEntry(name=f"evil/m{number}.x{text}", backbone="timm", architecture=text, tag=text,
                     license=text, card=text, keywords=(text,), datasets=(text,))
        for number, text in enumerate(HOSTILE)
    ]  # fmt: skip
    with zoo.open(home) as opened:
        before = opened.count()
        opened.workspace.registry.replace_entries("evil", "1", entries, "now")
        assert opened.count() == before + len(HOSTILE)
        for entry, text in zip(entries, HOSTILE, strict=True):
            quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            assert entry.name in [found.name for found in opened.search(quoted)]
            found = opened.search(f"arch:{quoted} dataset:{quoted} license:{quoted} tag:{quoted}")
            # SQLite compares no further than a NUL.
            assert "\0" in text or entry.name in [each.name for each in found]
    rows = run("search", "owner:evil", "--sort", "name", "--json")
    assert {row["architecture"] for row in rows.json} == set(HOSTILE)
    for done in (rows, run("search", "owner:evil dataset:*"), run("show", entries[0].name),
                 run("search", f"{HOSTILE[0]}:x"), run("show", f"evil/{HOSTILE[1]}")):  # fmt: skip
        shown = (done.out + done.err).replace("\n", "")
        assert not [char for char in shown if unicodedata.category(char) == "Cc" or char in TURNS]
    assert len(run("search", "owner:evil").out.splitlines()) == 1 + len(HOSTILE)


@pytest.mark.long
def test_the_shell_waits_but_a_moment(home: Path) -> None:
    def cpu_seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call = [sys.executable, "-m", "zoo_cli", *arguments]
        subprocess.run(call, check=True, cwd=home, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Importing torch alone takes 2 s more; a busy machine makes all of it slower.
    assert min(cpu_seconds("--help") for _ in range(3)) < 0.5
    assert min(cpu_seconds("search", "convnext params<30M") for _ in range(3)) < 1.0


def test_a_fine_tune_has_the_macs_of_its_network_at_its_size(empty: Run) -> None:
    """Not where it was made shallower, or is for images of another size."""
    net, small = Backbone(plugin="timm", architecture="test_resnet"), (3, 8, 8)
    how = replace(PREPROCESSING, input_size=(3, 16, 16))
    cut = replace(net, options={"num_classes": 3, "truncate": "layer2"})
    tuned = replace(net, options={"num_classes": 3})
    entries = [
        CatalogEntry(name=f"timm/{tag}", backbone="timm", architecture=net.architecture,
                     input_size=small, metrics={"macs": macs, "top1": 40.0})
        for tag, macs in (("in1k", 2_000_000.0), ("in21k", 2_500_000.0))
    ]  # fmt: skip
    with zoo.open() as here:
        add_checkpoint(here.workspace, "team/early", backbone=tuned, license="mit")
        here.workspace.registry.replace_entries("timm", "1", entries, "2026-01-01T00:00:00Z")
        add_checkpoint(here.workspace, "team/tuned", backbone=tuned)
        add_checkpoint(here.workspace, "team/cut", backbone=cut)
        add_checkpoint(here.workspace, "team/larger", backbone=tuned, preprocessing=how)
    found = {row["name"]: row["metrics"] for row in empty("ls", "--json").json}
    same = {"macs": 2_000_000.0}
    assert found == {"team/early": same, "team/tuned": same, "team/cut": {}, "team/larger": {}}
    assert {*names(empty, "macs<3M", "pulled:yes")} == {"team/early", "team/tuned"}
    assert "2.0M" in empty("ls", "tuned").out
    published = {name: empty("show", name, "--json").json["published"] for name in found}
    assert published == found


def test_what_was_measured_on_other_images_is_marked(empty: Run) -> None:
    """Two folders may be called digits."""
    with closing(Workspace(Path.cwd())) as workspace:
        for seed, data in enumerate(("one", "one", "two")):
            add_checkpoint(
                workspace, f"team/n{seed}", tensors(seed), recipe={"data": "/data/digits"},
                metrics={"accuracy": seed / 10}, provenance={"data_digest": data},
            )  # fmt: skip
    for command in ("search", "ls"):
        lines = empty(command, "dataset:digits", "--sort", "-accuracy").out.splitlines()
        marked = [line.split()[0] for line in lines if "0 (other images)" in line]
        assert marked == ["team/n2"], command
