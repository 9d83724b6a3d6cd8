"""Words that people try, help that is whole, and completion in a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem, ShellComplete
from fakes.checkpoints import add_checkpoint, tensors
from fakes.prepared import BASE, TUNED, Run
from fakes.sampled import sampled
from safetensors.torch import save_file

import zoo
from zoo.domain.recipe import Recipe
from zoo.workspace import Workspace
from zoo_cli.main import ALIASES, cli

NARROW = 80
"""Columns of a terminal."""


# Other names


@pytest.mark.parametrize(("word", "ours"), sorted(ALIASES.items()))
def test_words_that_people_try_are_names_of_commands(run: Run, word: str, ours: str) -> None:
    assert run(word, "--help").out == run(ours, "--help").out
    assert f"Usage: zoo {ours}" in run(word, "--help").out
    assert f"\n  {word} " not in run("--help").out


def test_help_is_a_word(run: Run) -> None:
    assert run("help").out == run("--help").out
    assert run("help", "tag").out == run("tag", "--help").out
    assert "Usage: zoo remote add" in run("help", "remote", "add").out


def test_near_words_are_suggested(run: Run) -> None:
    assert "Did you mean 'search'?" in run("serach").err
    assert "zoo mv" in run("rename", TUNED, "team/new").err


def test_ls_is_what_is_here_and_the_newest_is_first(run: Run) -> None:
    done = run("ls")
    assert [line.split()[0] for line in done.out.splitlines()] == ["NAME", TUNED, BASE]
    assert "UPDATED" in done.out
    assert done.err == ""
    assert [row["name"] for row in run("list", "owner:team", "--json").json] == [TUNED]
    assert run("ls", "head:cosine").out == ""
    # A pull has no time at which it was made: what counts is when its name moved.
    run("tag", BASE, "team/zz")
    assert run("ls", "--json").json[0]["name"] == "team/zz"


def test_ls_of_an_empty_zoo_says_how_to_fill_it(bare: Run) -> None:
    bare("init")
    assert "zoo pull NAME" in bare("ls").err


# Renaming


def test_a_name_is_changed(run: Run) -> None:
    before = run("show", TUNED, "--json").json["manifest"]
    done = run("mv", TUNED, "team/stamps", "--json").json
    assert (done["ref"], done["manifest"]) == ("team/stamps", before)
    assert run("show", "team/stamps", "--json").json["refs"] == ["team/stamps"]
    assert run("show", TUNED).code == 1
    assert f"it was {TUNED}; its log: zoo log {TUNED}" in run("log", "team/stamps", "--ref").err
    assert run("delete", "--restore", TUNED).code == 0, "its history is there"


def test_a_name_is_changed_with_its_tags(run: Run) -> None:
    for name in (f"{TUNED}:v1", f"{TUNED}:v2"):
        run("tag", TUNED, name)
    said = run("mv", TUNED, "team/stamps").err
    assert f"not renamed: {TUNED}:v1, {TUNED}:v2; zoo mv --all-tags takes all tags" in said
    run("mv", "team/stamps", TUNED)
    run("tag", BASE, "team/new:v2")
    refused = run("mv", TUNED, "team/new", "--all-tags")
    assert (refused.code, "team/new:v2 is another checkpoint" in refused.err) == (1, True)
    assert run("show", "team/new:v1").code == 1  # nothing was renamed
    done = run("mv", TUNED, "team/stamps", "--all-tags", "--json").json
    assert [each["ref"] for each in done] == [f"team/stamps{tag}" for tag in (":v1", ":v2", "")]
    assert {row["name"] for row in run("ls", f"{TUNED}*", "--json").json} == set()


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("team/other", "is another checkpoint"),
        (TUNED, "is its name already"),
        pytest.param("timm/resnet50.a1_in1k", "published checkpoint", marks=pytest.mark.long),
        pytest.param("stamps", "is not a reference", marks=pytest.mark.long),
    ],
)
def test_a_name_that_is_not_free(run: Run, new: str, says: str) -> None:
    run("tag", BASE, "team/other")
    before = [run("log", name, "--json").json["history"] for name in (TUNED, "team/other")]
    refused = run("mv", TUNED, new)
    assert (refused.code, refused.out, says in refused.err) == (1, "", True)
    assert [run("log", name, "--json").json["history"] for name in (TUNED, "team/other")] == before


def test_a_protected_name_stays(run: Run) -> None:
    run("protect", TUNED)
    refused = run("mv", TUNED, "team/stamps")
    assert (refused.code, f"zoo protect --off {TUNED}" in refused.err) == (1, True)
    assert run("show", "team/stamps").code == 1


def test_a_rename_that_is_stopped_leaves_both_and_can_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "delete", stop)
        assert run("mv", TUNED, "team/stamps").code == 130
    both = run("show", TUNED, "--json").json["refs"]
    assert both == [TUNED, "team/stamps"]
    assert run("mv", TUNED, "team/stamps").code == 0
    assert run("show", "team/stamps", "--json").json["refs"] == ["team/stamps"]


# Help


def summaries() -> list[tuple[click.Group, str]]:
    groups = [cli, *(each for each in cli.commands.values() if isinstance(each, click.Group))]
    return [(group, name) for group in groups for name in group.commands]


@pytest.mark.parametrize(
    ("group", "name"), summaries(), ids=lambda value: getattr(value, "name", value)
)
def test_a_summary_is_one_whole_line(group: click.Group, name: str) -> None:
    column = max(map(len, group.commands))
    room = NARROW - 2 - column - 6  # as click reckons it
    summary = group.commands[name].get_short_help_str(room)
    assert summary == group.commands[name].get_short_help_str(1000)
    assert summary.endswith(".")


def test_finetune_shows_what_most_people_need_first(run: Run) -> None:
    few, whole = run("finetune", "--help").out, run("finetune", "--help-all").out
    shown = [line.split()[0] for line in few.splitlines() if line.startswith("  -")]
    assert shown[-2:] == ["--help-all", "-h,"]
    assert len(shown) == 12 + 2
    assert shown[0] == "--data"
    assert "--mixup" not in few
    assert {"--mixup", "--home", *shown[:-2]} <= set(whole.split())


def test_each_default_is_shown() -> None:
    program = click.Context(cli, **cli.context_settings)
    for name, command in cli.commands.items():
        context = click.Context(command, program, name)
        for param in command.params:
            record = param.get_help_record(context)
            valued = isinstance(param, click.Option) and not param.is_flag
            if record and valued and isinstance(param.default, str | int | float):
                assert "default" in record[1], f"{name} {param.opts}"
    finetune = click.Context(cli.commands["finetune"], program)
    texts = {
        param.name: (param.get_help_record(finetune) or ("", ""))[1]
        for param in finetune.command.params
    }
    for field in fields(Recipe):
        if field.default not in (None, "", (), MISSING):
            assert "[default: " in texts[field.name], field.name
    assert texts["mixup"].endswith("[default: 0.0]")
    assert texts["compile"].endswith("[default: no-compile]")


# Completion


def offered(line: str) -> list[CompletionItem]:
    """What a shell is offered for the last word of a line."""
    *words, last = line.split(" ")[1:]
    return ShellComplete(cli, {}, "zoo", "_ZOO_COMPLETE").get_completions(words, last)


def complete(line: str) -> list[str]:
    return [item.value for item in offered(line)]


def test_names_units_heads_and_remotes_are_completed(run: Run, tmp_path: Path) -> None:
    run("remote", "add", "lab", tmp_path / "lab")
    assert complete("zoo show team/d") == [TUNED]
    assert BASE in complete("zoo finetune timm/tf_efficientnet_l")
    assert complete("zoo rm te") == [TUNED]
    assert complete("zoo advise flowers --base team/d") == [TUNED]
    assert complete("zoo advise flo") == ["flo"]  # it stands for paths
    assert complete(f"zoo finetune {BASE} --freeze blocks.4") == [
        "blocks.4", "blocks.4.0", "blocks.4.1", "blocks.4.2",
    ]  # fmt: skip
    assert complete(f"zoo finetune {BASE} --freeze a") == ["all", "auto"]
    assert complete(f"zoo features {TUNED} x --at conv_") == ["conv_head", "conv_stem"]
    assert complete("zoo finetune --head ") == ["cosine", "linear", "mlp"]
    assert complete(f"zoo push {TUNED} --to l") == ["l", "lab"]  # the first stands for paths
    assert complete("zoo remote remove ") == ["lab"]
    assert complete("zoo finetune --resume la") == ["last"]
    assert complete("zoo finetune --strategy pr") == ["probe"]
    assert complete("zoo trust te") == []


@pytest.mark.parametrize("blocks", sampled([3, 8], [3]))
def test_the_units_are_those_of_the_checkpoint_itself(
    empty: Run, tmp_path: Path, blocks: int
) -> None:
    """Its config has another depth than the published architecture, which has six blocks."""
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", depth=blocks, num_classes=2)
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "test_vit", "num_classes": 2, "model_args": {"depth": blocks}})
    )
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    empty("import", tmp_path, "--as", "team/custom").done()
    line = "zoo finetune team/custom --freeze b"
    known = [f"blocks.{number}" for number in range(blocks)]
    assert complete(line) == ["blocks", *known]
    units = [unit["name"] for unit in empty("tree", "team/custom", "--json").json["units"]]
    assert complete(line)[1:] == [name for name in units if name.startswith("b")]
    assert len(complete(line)) == 1 + blocks


def test_what_was_deleted_is_offered_to_be_restored(toy: Run) -> None:
    toy("tag", TUNED, "team/second").done()
    toy("delete", TUNED).done()
    assert complete("zoo delete --restore team/") == [TUNED]
    assert complete("zoo delete team/") == ["team/base", "team/second"]
    assert complete("zoo delete --restore --from x te") == []
    toy("prune", "--keep", 0, "--grace", 0, "--yes").done()
    toy("delete", "team/second").done()
    toy("prune", "--keep", 0, "--grace", 0, "--yes").done()
    assert complete("zoo delete --restore team/") == [], "a prune has taken it"


def test_recipes_devices_and_data_are_completed(toy: Run) -> None:
    assert complete("zoo finetune --recipe s") == ["s", "small-data", "standard"]
    assert complete("zoo evaluate --device c") == ["cpu", "cuda"]
    assert complete("zoo finetune --device ") == ["auto", "cpu", "cuda", "mps"]
    with closing(Workspace.find()) as workspace:
        told = {"accuracy@other": 0.5, "loss": 1.0}
        add_checkpoint(workspace, "team/told", provenance={"dataset": "digits"}, metrics=told)
    assert complete("zoo best --dataset ") == ["digits", "other"]
    assert complete("zoo best --dataset d") == ["digits"]


@pytest.mark.parametrize(
    "line", ["zoo finetune --data ", f"zoo evaluate {TUNED} ", f"zoo push {TUNED} --to ",
             "zoo import ", "zoo finetune --recipe ", "zoo fetch ", "zoo verify --from ",
             "zoo features x ", "zoo remote add lab ", "zoo identify "],
)  # fmt: skip
def test_paths_are_completed(run: Run, line: str) -> None:
    assert "file" in [item.type for item in offered(line)]


def test_plugins_and_architectures_are_completed(run: Run) -> None:
    assert {"wandb", "mlflow"} <= {*complete("zoo finetune --log ")}
    assert complete("zoo import x --backbone tor") == ["torch", "torchvision"]
    assert "resnet50" in complete("zoo import x --architecture resnet5")
    assert complete("zoo search --arch tf_efficientnet_lite0") == ["tf_efficientnet_lite0"]
    assert complete("zoo index ti") == ["timm"]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("zoo finetune --data l", ["-o", "default"]),
        (f"zoo push {TUNED} --to l", ["-o", "default", "lab"]),
    ],
)
def test_bash_takes_paths_where_no_word_is_left(
    run: Run, tmp_path: Path, line: str, taken: list[str]
) -> None:
    """Click's script in a real bash, which hears what the program offers."""
    run("remote", "add", "lab", tmp_path / "lab")
    said = "".join(f"{item.type},{item.value}\n" for item in offered(line))
    program = tmp_path / "bin" / "zoo"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    script = BashComplete(cli, {}, "zoo", "_ZOO_COMPLETE").source()
    asked = '''compopt() { echo "$@"; }
        COMP_WORDS=(zoo l); COMP_CWORD=1; _zoo_completion zoo; printf '%s\\n' "${COMPREPLY[@]}"'''
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout.split() == taken, done.stdout + done.stderr


def test_nothing_is_completed_where_there_is_no_zoo(bare: Run) -> None:
    assert complete("zoo show t") == []


def test_a_shell_asks_the_program(console: Run, home: Path) -> None:
    asked = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo show team/", "COMP_CWORD": "2"}
    done = console(cwd=home, env={**os.environ, **asked})
    assert (done.code, done.out, done.err) == (0, f"plain,{TUNED}\n", "")
    source = console(cwd=home, env={**os.environ, "_ZOO_COMPLETE": "zsh_source"})
    assert "#compdef zoo" in source.out


# What is shown first


def test_show_begins_with_what_matters(run: Run) -> None:
    def first(*arguments: str) -> list[str]:
        return [line.partition(":")[0] for line in run("show", *arguments).out.splitlines()]

    assert first(TUNED)[:3] == ["name", "metrics.accuracy", "params"]
    assert first(BASE)[:2] == ["name", "published.top1"]
    assert first("timm/resnet50.a1_in1k")[:2] == ["name", "metrics.top1"]
    assert re.search(r"0\.\d+ \(0\.\d+ to 0\.\d+\)", run("show", TUNED).out.splitlines()[1])
    assert first(TUNED, "--all")[:2] == ["name", "metrics.accuracy"]
    assert run("show", TUNED, "--json").json["params"] == 3_383_818


def test_show_says_whose_license_is_unknown(toy: Run) -> None:
    said = toy("show", TUNED).done()
    assert f"no license known of: {TUNED}, team/base\n" in re.sub(" +", " ", said.out)
    assert "terms." not in said.out


def test_show_says_whose_license_is_not_here(toy: Run, tmp_path: Path) -> None:
    toy("push", TUNED, "--to", tmp_path / "team").done()
    there = ("--home", tmp_path / "there")
    toy("clone", tmp_path / "team", tmp_path / "there").done()
    toy("pull", TUNED, *there).done()
    said = re.sub(" +", " ", toy("show", TUNED, *there).done().out)
    assert f"no license known of: {TUNED}\n" in said
    assert "license not here of: team/base\n" in said


def test_a_loaded_network_says_what_it_is_in_a_line(run: Run, home: Path) -> None:
    with zoo.open(home) as opened:
        shown = repr(opened.load(TUNED).zoo)
    assert re.fullmatch(r"<Card of \w{12}: <Manifest of \w+: 10 classes, \d+ tensors>>", shown)


def test_a_run_is_given_by_enough_of_its_id(run: Run, home: Path) -> None:
    ids = [each["id"] for each in run("runs", "--json").json]
    assert run("runs", "show", ids[0][:-2], "--json").json["id"] == ids[0]
    (home / "runs" / f"{ids[0]}x").mkdir()
    shutil.copy(home / "runs" / ids[0] / "run.json", home / "runs" / f"{ids[0]}x")
    assert f"runs begin with {ids[0][:4]}: " in run("runs", "show", ids[0][:4]).err


def test_a_renamed_name_says_what_it_is_called_now(toy: Run) -> None:
    toy("mv", TUNED, "team/stamps").done()
    toy("show", TUNED).refused(f"it was renamed to team/stamps; zoo delete --restore {TUNED}")
    logged = toy("log", TUNED).done()
    assert f"{TUNED} was renamed to team/stamps" in logged.err
    assert "renamed to team/stamps" in logged.out
    assert toy("log", TUNED, "--json").json["history"][0]["why"] == "renamed to team/stamps"
    toy("delete", "--restore", TUNED).done()
    toy("show", TUNED).done()
    toy("delete", TUNED).done()
    assert "renamed" not in toy("show", TUNED).refused("was deleted; restore it").err


def test_what_a_probe_does_not_use_is_not_shown(toy: Run) -> None:
    recipe = {"strategy": "probe", "task": "classification", "epochs": 5, "lr": 0.003,
              "warmup": 0.1, "head": "linear", "at": ""}  # fmt: skip
    with zoo.open() as here:
        add_checkpoint(here.workspace, "p/probe", tensors(2), recipe=recipe)
        add_checkpoint(here.workspace, "p/full", tensors(3), recipe={**recipe, "strategy": "full"})
    for more in ((), ("--all",)):
        shown = toy("show", "p/probe", *more).done().out
        assert "recipe.strategy: " in shown
        assert not any(name in shown for name in ("epochs", "recipe.lr", "warmup"))
    assert toy("show", "p/probe", "--json").json["recipe"] == recipe
    assert "recipe.head: " in shown
    assert "recipe.epochs: " in toy("show", "p/full").done().out


def test_ls_has_the_architecture_and_what_has_values(
    toy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"metrics": {"accuracy": 0.5}, "license": "apache-2.0"}
    long = f"team/{'a-long-name-' * 4}x"
    with zoo.open() as here:
        add_checkpoint(here.workspace, long, tensors(2), license="apache-2.0")
        add_checkpoint(here.workspace, "team/one", tensors(3), **known)
    head, *rows = toy("ls").done().out.splitlines()
    assert "ARCH" in head.split()
    assert all("toynet" in row for row in rows)
    # One of four has an accuracy: what all have comes before it.
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "82")
    assert toy("ls").done().out.splitlines()[0].split() == ["NAME", "PARAMS", "ARCH", "UPDATED"]
    monkeypatch.setenv("COLUMNS", "64")
    assert toy("ls").done().out.splitlines()[0].split() == ["NAME", "ARCH"]
