"""Parents of what is imported with `zoo import FOLDER --recursive`: found, stated, planned."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from fakes.import_runs import ALL, NET, Run, by_file, moved, only_bees, weights
from safetensors.torch import save_file

import zoo
from zoo.errors import InvalidOption
from zoo.lookup.parent import ParentFinder


def test_a_parent_is_found_by_nearness_and_strangers_have_none(empty: Run) -> None:
    with zoo.open() as here:
        for name, state in {
            "base": weights(1),
            "stranger": weights(2),
            "tuned": moved(weights(1), 0.005),
            "again": moved(weights(1), 0.005),
            "later": moved(moved(weights(1), 0.005), 0.002),
            "base-again": weights(1),
        }.items():
            save_file(state, "net.safetensors")
            here.import_file("net.safetensors", f"team/{name}", architecture=NET, parent="auto")
    parents = {
        name: empty("show", f"team/{name}", "--json").json["lineage"]
        for name in ("base", "stranger", "tuned", "later", "base-again")
    }
    assert parents == {
        "base": [], "stranger": [], "tuned": ["team/base"], "later": ["team/again", "team/base"],
        "base-again": [],
    }  # fmt: skip
    same = [empty("show", f"team/{name}", "--json").json["manifest"] for name in ("tuned", "again")]
    assert same[0] == same[1]
    shown = empty("show", "team/tuned", "--json").json
    assert shown["provenance"]["parent"].startswith("found by nearness: 0.")
    assert shown["parents"][0]["relation"] == "found"
    assert "(found, not declared)" in empty("show", "team/tuned", "--all").out
    assert "(found, not declared)" in empty("log", "team/tuned").out
    assert "declares" not in empty("log", "team/tuned").err


def test_a_parent_is_found_by_bytes(empty: Run) -> None:
    tuned = weights(1)
    for name in tuned:
        if name.startswith(("head", "norm", "blocks.5")):
            tuned[name] = tuned[name] * 1.01
    for name, state in {
        "base": weights(1),
        "tuned": tuned,
        "vit2": weights(1, "test_vit2"),
    }.items():
        save_file(state, "net.safetensors")
        done = empty("import", "net.safetensors", "--as", f"team/{name}", "--parent", "auto",
                     "--architecture", "test_vit2" if name == "vit2" else NET)  # fmt: skip
        told = "parent: team/base, found by bytes: " if name == "tuned" else "none here resembles"
        assert told in done.out
    empty("push", "team/base", "--to", "../store").done()
    sent = empty("push", "team/tuned", "--to", "../store", "--json").json
    assert sent["sent_bytes"] < sent["logical_bytes"] / 2


AUTO = (*ALL, "--parent", "auto")


def only_flowers(at_runs: Run) -> Run:
    """As `at_runs`, with nothing but the run of timm."""
    for name in ("birds", "moths"):
        shutil.rmtree(Path("runs") / name)
    for name in ("bees.safetensors", "broken.pt", "features.pt"):
        (Path("runs") / name).unlink()
    return at_runs


@pytest.mark.long
def test_what_is_here_under_another_name_gets_the_figures_and_the_parent_that_it_lacks(
    at_runs: Run,
) -> None:
    for name in ("flowers", "moths"):
        shutil.rmtree(Path("runs") / name)
    run, folder = at_runs, "birds/lightning_logs/version_0/checkpoints/"
    only = ("import", "runs/birds", *ALL[2:], "--parent", "auto")
    alone = {}
    for name, file in (("last", "epoch=1-step=20.ckpt"), ("first", "epoch=0-step=10.ckpt")):
        shutil.copy(f"runs/{folder}{file}", "alone.ckpt")
        made = run("import", "alone.ckpt", "--architecture", NET, "--as", f"solo/{name}", "--json")
        alone[name] = made.json["manifest"]
    plan = by_file(run(*only, "--dry-run", "--json").json)
    assert plan[f"{folder}epoch=0-step=10.ckpt"]["adds"] == ["metrics"]
    assert plan[f"{folder}epoch=1-step=20.ckpt"]["adds"] == ["metrics", "parent"]
    done = run(*only)
    assert "accuracy 0.75, here already as solo/last, adds its metrics and parent" in done.out
    names = "team/birds-version_0:epoch-1, team/birds-version_0:last"  # said once
    lacked = "has the bytes of solo/last, and what that lacked: metrics, parent"
    assert f"{names}: {lacked}" in done.err.splitlines()
    first = run("show", "team/birds-version_0", "--json").json
    assert (first["metrics"], first["lineage"]) == ({"accuracy": 0.8}, [])  # solo/last is later
    assert first["provenance"]["metrics"] == "from metrics.csv, not measured here"
    last = run("show", "team/birds-version_0:epoch-1", "--json").json
    assert (last["metrics"], last["lineage"]) == ({"accuracy": 0.75}, ["team/birds-version_0"])
    assert [parent["manifest"] for parent in last["parents"]] == [first["manifest"]]
    assert run("best", "--metric", "accuracy", "--json").json["value"] == 0.8
    for name, digest in alone.items():  # these stay where they were
        assert run("show", f"solo/{name}", "--json").json["manifest"] == digest
    again = run(*only, "--json").json
    assert {(file["status"], file["parent"]) for file in again["files"]} == {("here", None)}


@pytest.mark.long
def test_figures_that_are_recorded_are_kept(at_runs: Run) -> None:
    run = only_flowers(at_runs)
    run("import", "runs/flowers/model_best.pth.tar", "--architecture", NET, "--as", "team/flowers",
        "--metric", "accuracy=0.5").done()  # fmt: skip
    done = run(*ALL)
    assert "accuracy 0.725, here already as team/flowers, its metrics not recorded" in done.out
    assert "has the bytes of team/flowers, whose metrics it keeps" in done.err
    assert run("show", "team/flowers:epoch-1", "--json").json["metrics"] == {"accuracy": 0.5}


@pytest.mark.long
def test_a_plan_shows_parents_and_how_they_were_found(at_runs: Run) -> None:
    run = only_flowers(at_runs)
    save_file(weights(1), "runs/base.safetensors")
    torch.save(weights(1), "runs/copy.pth")
    run("import", "runs/base.safetensors", "--architecture", NET, "--as", "one/base").done()
    printed = run(*AUTO)
    row = (
        r"team/flowers:epoch-0 .* one/base \(0\.\d+ apart; could be a sibling: it is in that folder"
    )
    assert re.search(row, printed.out)
    assert re.search(r"team/copy .* the same weights as one/base +- +copy.pth", printed.out)
    assert re.search(r"team/flowers  .* one/base \(0\.", printed.out)  # nearer than :epoch-0
    shown = run("show", "team/flowers:epoch-0", "--json").json
    assert shown["lineage"] == ["one/base"]
    assert shown["provenance"]["parent"].startswith("found by nearness: 0.")
    assert run("show", "team/flowers", "--json").json["lineage"] == ["one/base"]
    assert run("show", "team/base", "--json").json["lineage"] == []


@pytest.mark.long
def test_runs_of_one_folder_are_siblings_also_where_one_is_here(at_runs: Run) -> None:
    shutil.rmtree("runs/moths")
    at_runs("import", "runs/flowers", *ALL[2:]).done()
    plan = at_runs(*AUTO, "--dry-run", "--json").json
    parents = {name: file["parent"] for name, file in by_file(plan).items()}
    folder = "birds/lightning_logs/version_0/checkpoints/"
    first = parents[f"{folder}epoch=0-step=10.ckpt"]
    later = parents[f"{folder}epoch=1-step=20.ckpt"]
    assert first is None
    assert (later["ref"], later["manifest"]) == ("team/birds-version_0", None)
    assert later["how"].endswith("apart, unrelated weights are 1.41 (earlier in the same run)")
    assert parents[f"{folder}last.ckpt"] == later


@pytest.mark.long
def test_the_same_import_again_makes_no_sibling_a_parent(empty: Run) -> None:
    Path("runs").mkdir()
    for name, state in {"ema": weights(1), "last": moved(weights(1), 0.001)}.items():
        save_file(state, f"runs/of_{name}.safetensors")
    assert [file["parent"] for file in empty(*AUTO, "--json").json["files"]] == [None, None]
    save_file(moved(weights(1), 0.002), "later.safetensors")
    empty("import", "later.safetensors", "--architecture", NET, "--as", "team/later").done()
    again = empty(*AUTO, "--json").json["files"]
    assert [(file["status"], file["parent"]) for file in again] == [("here", None)] * 2


@pytest.mark.long
def test_an_epoch_that_is_here_is_the_parent_of_the_next(at_runs: Run) -> None:
    run = only_flowers(at_runs)
    Path("later").mkdir()
    for name in ("checkpoint-1", "last", "model_best"):
        shutil.move(f"runs/flowers/{name}.pth.tar", "later")
    each = ("import", "runs", "--recursive", "--as", "team/{stem}:{epoch}", "--parent", "auto")
    first = run(*each, "--json").json["files"][0]["manifest"]
    shutil.move("later/checkpoint-1.pth.tar", "runs/flowers")
    second = run(*each, "--json").json["files"][1]
    assert (second["parent"]["manifest"], second["parent"]["ref"]) == (first, "team/flowers:0")
    shown = run("show", "team/flowers:1", "--json").json
    assert [parent["manifest"] for parent in shown["parents"]] == [first]


@pytest.mark.long
def test_the_parents_of_a_plan_are_taken_whoever_carries_it_out(at_runs: Run) -> None:
    only_flowers(at_runs)
    with zoo.open() as here:
        plan = here.import_all("runs/flowers", "team/{stem}", dry_run=True, parent="auto")
        assert here.import_all("runs/flowers", "team/{stem}", plan=plan).having("imported")
    told = at_runs("show", "team/flowers", "--json").json["parents"]
    assert [(parent["ref"], parent["relation"]) for parent in told] == [
        ("team/flowers:epoch-0", "found")
    ]


def test_a_parent_belongs_to_the_plan(at_runs: Run) -> None:
    with zoo.open() as here:
        plan = here.import_all("runs/flowers", "team/{stem}", dry_run=True)
        with pytest.raises(InvalidOption, match="when it is made"):
            here.import_all("runs/flowers", "team/{stem}", plan=plan, parent="auto")
    at_runs(*AUTO[:-1], "team/nosuch").refused("unknown checkpoint 'team/nosuch'")


def test_names_and_shapes_count_more_than_a_checkpoint_that_shares_tensors(empty: Run) -> None:
    base, deeper = weights(1), weights(2, "test_vit2")
    shared = {n: base[n] for n in base if n in deeper and base[n].shape == deeper[n].shape}
    save_file(base, "base.safetensors")
    empty("import", "base.safetensors", "--as", "team/base")
    Path("runs").mkdir()
    save_file(deeper | shared, "runs/deeper.safetensors")
    (file,) = empty(*ALL, "--dry-run", "--json").json["files"]
    assert (file["of"], file["share"] > 0.1) == ("team/base", True)
    assert (file["architecture"], file["architecture_by"]) == (
        "test_vit2",
        "found by names and shapes",
    )


def test_a_stated_parent_is_the_one_that_was_planned(at_runs: Run) -> None:
    only_bees()
    save_file(weights(4, "test_resnet"), "base.safetensors")
    save_file(weights(5, "test_resnet"), "other.safetensors")
    with zoo.open() as here:
        base = here.import_file("base.safetensors", "team/base", architecture="test_resnet")
        plan = here.import_all("runs", "team/{stem}", dry_run=True, parent="team/base")
        here.import_file("other.safetensors", "team/base", architecture="test_resnet", force=True)
        here.import_all("runs", "team/{stem}", plan=plan)
    (parent,) = at_runs("show", "team/bees", "--json").json["parents"]
    assert (parent["manifest"], parent["relation"]) == (str(base.manifest), "finetune")


def test_nothing_gets_a_parent_that_descends_from_the_same_weights(empty: Run) -> None:
    """Whatever was stated of a base before it was fine-tuned, and however often."""
    Path("runs").mkdir()
    save_file(weights(1), "runs/base.safetensors")
    save_file(moved(weights(1), 0.005), "tuned.safetensors")
    with zoo.open() as here:
        here.import_file("runs/base.safetensors", "me/base", architecture=NET)
        for stated in ("mit", "bsd-3-clause"):
            here.edit("me/base", license=stated)
        here.import_file("tuned.safetensors", "me/tuned", architecture=NET, parent="me/base")
    again = ("import", "runs", "--recursive", "--as", "o/{stem}", "--parent", "auto", "--yes")
    for _ in range(3):
        (file,) = empty(*again, "--architecture", NET, "--json").json["files"]
        assert file["parent"] is None
    assert empty("show", "o/base", "--json").json["lineage"] == []
    with zoo.open() as here:  # as where only some may be told of: nothing else is alike
        workspace = here.workspace
        _, digest = workspace.names.resolve("o/base")
        assert ParentFinder(workspace).find(workspace.store.manifest(digest), ()) is None
