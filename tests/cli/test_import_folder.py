"""A team arrives with hundreds of files: `zoo import FOLDER --recursive`, and parents found."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.program import Said
from safetensors.torch import save_file

import zoo
from zoo import reflog
from zoo.errors import DiskFull, InvalidOption
from zoo.exchange import import_many, import_walk
from zoo.exchange.importing import import_weights

Run = Callable[..., Said]
State = dict[str, torch.Tensor]
NET = "test_vit"
ALL = ("import", "runs", "--recursive", "--as", "team/{stem}")


def weights(seed: int, architecture: str = NET) -> State:
    torch.manual_seed(seed)
    return dict(timm.create_model(architecture, num_classes=3).state_dict())


def moved(state: State, by: float) -> State:
    """All weights a little other, as after a full fine-tune."""
    torch.manual_seed(round(1 / by))
    return {
        name: tensor + by * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What timm, Lightning and timm's export for the hub wrote, and loose files."""
    root = tmp_path_factory.mktemp("made") / "runs"
    base = weights(1)
    _timm(root / "flowers", base)
    _lightning(root / "birds" / "lightning_logs" / "version_0", base)
    _trainer(root / "moths", base)
    save_file(weights(2, "test_resnet"), root / "bees.safetensors")
    (root / "broken.pt").write_bytes(b"nothing")
    torch.save(torch.zeros(3), root / "features.pt")
    return root


def _timm(folder: Path, base: State) -> None:
    folder.mkdir(parents=True)
    script = {"model": NET, "mean": None, "std": None, "crop_pct": None, "interpolation": ""}
    (folder / "args.yaml").write_text(json.dumps(script))
    (folder / "summary.csv").write_text(
        "epoch,train_loss,eval_loss,eval_top1,eval_top5\n0,2,1.5,61.5,90\n1,1,0.5,72.5,99\n"
    )
    for epoch in (0, 1):
        raw = moved(base, 0.001 * (epoch + 1))
        saved = {
            "epoch": epoch, "arch": NET, "state_dict": raw, "state_dict_ema": moved(raw, 0.0001),
            "optimizer": {}, "args": Namespace(model=NET), "metric": 60.0, "version": 2,
        }  # fmt: skip
        torch.save(saved, folder / f"checkpoint-{epoch}.pth.tar")
    for name in ("model_best.pth.tar", "last.pth.tar"):
        shutil.copy(folder / "checkpoint-1.pth.tar", folder / name)


def _lightning(folder: Path, base: State) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,val_acc\n0,9,1.0,\n0,10,,0.8\n1,20,,0.75\n"
    )
    for epoch, step in ((0, 10), (1, 20)):
        saved = {
            "epoch": epoch, "global_step": step, "pytorch-lightning_version": "2.5.0",
            "state_dict": {"model." + n: t for n, t in moved(base, 0.003 * (epoch + 1)).items()},
            "callbacks": {"ModelCheckpoint": {"best_model_path": "/gone/epoch=0-step=10.ckpt"}},
            "hyper_parameters": {"model_name": NET, "class_names": ["ant", "bee", "wasp"]},
        }  # fmt: skip
        torch.save(saved, folder / "checkpoints" / f"epoch={epoch}-step={step}.ckpt")
    (folder / "checkpoints" / "last.ckpt").symlink_to("epoch=1-step=20.ckpt")


def _trainer(folder: Path, base: State) -> None:
    config = {"architecture": NET, "num_classes": 3, "label_names": ["a", "b", "c"]}
    for step in (500, 1000):
        inner = folder / f"checkpoint-{step}"
        inner.mkdir(parents=True)
        (inner / "config.json").write_text(json.dumps(config))
        save_file(moved(base, 0.00001 * step), inner / "model.safetensors")
        torch.save({}, inner / "optimizer.pt")
        history = [{"step": 500, "eval_accuracy": 0.9}, {"step": 1000, "eval_accuracy": 0.8}]
        state = {"best_model_checkpoint": "/gone/checkpoint-500", "log_history": history}
        (inner / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def at_runs(empty: Run, runs: Path) -> Run:
    """As ``empty``, with the folder ``runs`` in it."""
    shutil.copytree(runs, "runs", symlinks=True)
    return empty


def by_file(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {str(Path(file["path"]).relative_to("runs")): file for file in plan["files"]}


def test_a_plan_says_what_each_file_is_and_changes_nothing(at_runs: Run) -> None:
    done = at_runs(*ALL, "--dry-run", "--json")
    files = by_file(done.json)
    assert done.code == 1  # some of them are bad
    assert {name: file["refs"] for name, file in files.items()} == {
        "bees.safetensors": ["team/bees"],
        "birds/lightning_logs/version_0/checkpoints/epoch=0-step=10.ckpt": [
            "team/birds-version_0", "team/birds-version_0:epoch-0"],
        "birds/lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt": [
            "team/birds-version_0:epoch-1"],
        "birds/lightning_logs/version_0/checkpoints/last.ckpt": ["team/birds-version_0:last"],
        "broken.pt": [],
        "features.pt": [],
        "flowers/checkpoint-0.pth.tar": ["team/flowers:epoch-0"],
        "flowers/checkpoint-1.pth.tar": ["team/flowers:epoch-1"],
        "flowers/last.pth.tar": ["team/flowers:last"],
        "flowers/model_best.pth.tar": ["team/flowers"],
        "moths/checkpoint-500": ["team/moths", "team/moths:step-500"],
        "moths/checkpoint-1000": ["team/moths:step-1000"],
    }  # fmt: skip
    bees = files["bees.safetensors"]
    assert (bees["architecture"], bees["architecture_by"]) == (
        "test_resnet", "found by names and shapes"
    )  # fmt: skip
    assert files["broken.pt"]["problem"] == "neither safetensors nor a PyTorch file"
    assert "not a set of named tensors" in files["features.pt"]["problem"]
    timm_file = files["flowers/checkpoint-1.pth.tar"]
    assert (timm_file["script"], timm_file["key"]) == ("timm", "state_dict_ema")
    assert (timm_file["architecture"], timm_file["architecture_by"]) == (NET, "the file")
    metrics = {"accuracy": 0.725, "top5_accuracy": 0.99, "loss": 0.5}
    assert (timm_file["metrics"], timm_file["metrics_by"]) == (
        metrics,
        "summary.csv (in percent there)",
    )
    same = files["flowers/model_best.pth.tar"]["duplicate_of"]
    assert same == "runs/flowers/checkpoint-1.pth.tar"
    lightning = files["birds/lightning_logs/version_0/checkpoints/epoch=0-step=10.ckpt"]
    assert (lightning["script"], lightning["metrics"]) == ("Lightning", {"accuracy": 0.8})
    trainer = files["moths/checkpoint-500"]
    assert (trainer["script"], trainer["metrics"]) == ("Trainer", {"accuracy": 0.9})
    assert "resumes from" in done.json["left_out"]["moths/checkpoint-500/optimizer.pt"]
    assert 0 < done.json["shared_bytes"] < done.json["weights_bytes"]
    assert at_runs("search", "team/", "--json").json == []
    printed = at_runs(*ALL, "--dry-run")
    assert "flowers: 4 checkpoints of one run\n" in printed.out
    assert "12 files: 10 to import, 3 of these twice, 2 bad; sharing saves" in printed.out


def test_a_folder_is_imported_and_a_second_call_skips_what_is_in(at_runs: Run) -> None:
    done = at_runs(*ALL, "--architecture", "test_resnet", "--json")
    files = by_file(done.json)
    assert done.code == 1
    bad = {name for name, file in files.items() if file["status"] == "bad"}
    assert bad == {"broken.pt", "features.pt"}
    assert {file["status"] for name, file in files.items() if name not in bad} == {"imported"}
    best = at_runs("show", "team/flowers", "--json").json
    assert best["metrics"] == {"accuracy": 0.725, "top5_accuracy": 0.99, "loss": 0.5}
    assert best["provenance"]["metrics"] == "from summary.csv (in percent there), not measured here"
    assert sorted(best["refs"]) == ["team/flowers", "team/flowers:epoch-1", "team/flowers:last"]
    birds = at_runs("show", "team/birds-version_0", "--json").json
    assert (birds["classes"], birds["metrics"]) == (["ant", "bee", "wasp"], {"accuracy": 0.8})
    assert at_runs("show", "team/moths", "--json").json["classes"] == ["a", "b", "c"]
    (Path("runs") / "broken.pt").unlink()
    (Path("runs") / "features.pt").unlink()
    again = at_runs(*ALL, "--architecture", "test_resnet", "--json")
    assert again.code == 0
    assert {file["status"] for file in again.json["files"]} == {"here"}
    assert {n: f["manifest"] for n, f in by_file(again.json).items()} == {
        name: file["manifest"] for name, file in files.items() if name not in bad
    }


def test_what_was_cut_off_goes_on_where_it_was(
    at_runs: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ("import", "runs/flowers", *ALL[2:])

    def full(*args: Any, **known: Any) -> Any:
        if "checkpoint-1" in str(args[1]):
            raise DiskFull(Path("runs"))
        return import_weights(*args, **known)

    with monkeypatch.context() as patch:
        patch.setattr(import_many, "import_weights", full)
        at_runs(*only).refused("no space left")
    status = {
        Path(file["path"]).name: file["status"] for file in at_runs(*only, "--json").json["files"]
    }
    assert status["checkpoint-0.pth.tar"] == "here"
    assert {*status.values()} == {"here", "imported"}


def test_a_run_that_has_grown_is_imported_again(at_runs: Run) -> None:
    runs, yes = Path("runs"), (*ALL, "--yes")
    for other in set(runs.iterdir()) - {runs / "flowers", runs / "bees.safetensors"}:
        shutil.rmtree(other) if other.is_dir() else other.unlink()
    at_runs(*yes).done()
    before = {ref["name"]: ref["manifest"] for ref in at_runs("ls", "--json").json}
    saved = torch.load(runs / "flowers/last.pth.tar", weights_only=False)
    saved["epoch"], saved["state_dict_ema"] = 2, moved(saved["state_dict"], 0.0002)
    torch.save(saved, runs / "flowers/checkpoint-2.pth.tar")
    for name in ("last", "model_best"):
        shutil.copy(runs / "flowers/checkpoint-2.pth.tar", runs / f"flowers/{name}.pth.tar")
    with (runs / "flowers/summary.csv").open("a") as table:
        table.write("2,0,0.4,80.5,99\n")
    was = before["team/flowers"].removeprefix("blake3:")[:12]
    assert f"moves team/flowers from {was}" in at_runs(*ALL, "--dry-run").done().out
    done = at_runs(*yes).done()
    assert f"team/flowers moved; was {was} (zoo log team/flowers)\n" in done.err
    now = {ref["name"]: ref["manifest"] for ref in at_runs("ls", "--json").json}
    assert now["team/flowers"] == now["team/flowers:epoch-2"] == now["team/flowers:last"]
    kept = ("team/bees", "team/flowers:epoch-0", "team/flowers:epoch-1")
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}
    assert at_runs("best", "team/flowers", "team/flowers:epoch-1").out.startswith("team/flowers")
    at_runs("tag", "team/flowers:epoch-0", "team/flowers").done()  # what somebody chose stays
    at_runs(*yes).refused("team/flowers is here already", "--force")
    at_runs("tag", "team/flowers:epoch-2", "team/flowers").done()
    save_file(weights(3, "test_resnet"), runs / "bees.safetensors")
    done = at_runs(*yes).refused("team/bees is here already, with other weights", "--force")
    save_file(weights(3), runs / "bees.safetensors")
    at_runs(*yes, "--force", "--architecture", NET).done()
    assert at_runs("show", "team/bees", "--json").json["backbone"]["architecture"] == NET


def test_a_clash_of_names_is_found_before_anything_is_imported(at_runs: Run) -> None:
    shutil.copytree("runs/birds", "runs/more/birds", symlinks=True)
    torch.save(moved(weights(1), 0.2), "runs/more/birds/flowers_best.pth")
    torch.save(moved(weights(1), 0.3), "runs/more/flowers_best.pth")
    Path("runs/more/flowers-best.safetensors").write_bytes(b"")
    more = ("import", "runs/more", *ALL[2:], "--architecture", NET)
    done = at_runs(*more).refused("names clash", "team/flowers_best would be", "{folder}")
    assert "runs/more/birds/flowers_best.pth and runs/more/flowers_best.pth" in done.err
    assert at_runs("search", "team/", "--json").json == []
    apart = ("import", "runs/more", "--recursive", "--as", "team/{folder}-{stem}-{epoch}")
    names = at_runs(*apart, "--architecture", NET, "--json").json["files"]
    refs = sorted(ref for file in names for ref in file["refs"])
    assert refs == [
        "team/birds-flowers_best-best", "team/birds-version_0-birds-version_0-0",
        "team/birds-version_0-birds-version_0-1", "team/birds-version_0-birds-version_0-1",
        "team/more-flowers_best-best",
    ]  # fmt: skip


def test_a_name_that_has_other_weights_is_never_moved(at_runs: Run) -> None:
    save_file(weights(7), "net.safetensors")
    at_runs("import", "net.safetensors", "--architecture", NET, "--as", "team/flowers").done()
    at_runs(*ALL).refused("team/flowers is here already, with other weights")


def test_links_out_of_the_folder_zoos_and_hostile_names(at_runs: Run, tmp_path: Path) -> None:
    folder = Path("odd")
    folder.mkdir()
    save_file(weights(3), tmp_path / "secret.safetensors")
    (folder / "out.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (folder / "up").symlink_to(tmp_path)
    (folder / ".hidden").mkdir()
    shutil.copy(tmp_path / "secret.safetensors", folder / ".hidden" / "a.safetensors")
    with zoo.init(folder / "inner"):
        pass
    save_file(weights(3), folder / "a\x1b[31m b..safetensors")
    save_file(weights(4), folder / "日本.safetensors")
    os.mkfifo(folder / "pipe.pth")
    export = folder / "export"
    export.mkdir()
    (export / "config.json").write_text(json.dumps({"architecture": NET, "num_classes": 3}))
    (export / "README.md").symlink_to("/etc/passwd")
    save_file(weights(5), export / "model.safetensors")
    odd = ("import", "odd", *ALL[2:], "--architecture", NET)
    done = at_runs(*odd, "--json")
    assert sorted((file["status"], *file["refs"]) for file in done.json["files"]) == [
        ("bad",), ("bad",), ("imported", "team/a-31m-b"), ("imported", "team/export")
    ]  # fmt: skip
    assert at_runs("show", "team/export", "--json").json["files"] == []
    assert done.json["left_out"] == {
        "inner": "is a zoo",
        "out.safetensors": "is a link out of the folder",
        "up": "is a link to a folder",
    }
    printed = at_runs(*odd)
    assert "\x1b" not in printed.out + printed.err
    assert "is not a reference" in printed.err
    assert "a pipe" in printed.err


def test_a_terminal_is_asked(at_runs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, **_: asked.append(text))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    only = ("import", "runs/birds", *ALL[2:])
    assert at_runs(*only, "--dry-run").code == 0
    assert asked == []
    assert at_runs(*only).out.endswith("imported 3 of 3 files\n")
    assert asked == ["import?"]


def test_there_is_a_limit(at_runs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_walk, "IMPORT_FILES", 3)
    at_runs(*ALL, "--dry-run").refused("runs has more than 3 files of weights")
    usage = at_runs("import", "runs/bees.safetensors", "--as", "team/x", "--yes")
    assert (usage.code, "for an import with --recursive" in usage.err) == (2, True)


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


def test_a_name_that_an_import_moves_says_what_it_was(empty: Run) -> None:
    def imported(state: State, architecture: str, *options: str) -> Said:
        save_file(state, "net.safetensors")
        return empty("import", "net.safetensors", "--as", "team/x", "--architecture", architecture,
                     *options)  # fmt: skip

    first = imported(weights(1), NET, "--json").json
    assert first["moved_from"] is None
    assert "moved" not in imported(weights(1), NET).out
    was = first["manifest"][7:19]
    says = f"team/x is another checkpoint here, {was}, and the new one does not derive from it"
    imported(weights(2), NET).refused(says, "--force", "zoo log team/x keeps")
    planned = imported(weights(2), NET, "--dry-run").done()
    assert f"team/x is {was} now; it moves with --force alone, unless this derives" in planned.out
    assert "--force" not in imported(weights(1), NET, "--dry-run").done().out
    moved = f"\n  moved; was {was} (zoo log team/x)\n"
    assert moved in imported(weights(2), NET, "--force").done().out
    other = weights(3, "test_resnet")
    says = f"team/x is of the architecture {NET} here, and would become one of test_resnet"
    imported(other, "test_resnet").refused(says, "--force")
    imported(other, "test_resnet", "--dry-run").refused(says, "--force")
    assert len(empty("log", "team/x", "--json").json["history"]) == 2
    assert "moved; was" in imported(other, "test_resnet", "--force").done().out


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


def test_the_page_prints_what_it_shows(at_runs: Run) -> None:
    page = (Path(__file__).parents[2] / "docs/import.md").read_text()
    for name in ("moths", "bees.safetensors", "features.pt"):
        path = Path("runs") / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    line, _, shown = page.split("```console\n$ ")[2].partition("\n```")[0].partition("\n")
    printed = at_runs(*shlex.split(line)[1:]).out
    wanted = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    assert re.fullmatch(wanted, " ".join(printed.split()), re.DOTALL), printed


AUTO = (*ALL, "--parent", "auto")


def only_flowers(at_runs: Run) -> Run:
    """As `at_runs`, with nothing but the run of timm."""
    for name in ("birds", "moths"):
        shutil.rmtree(Path("runs") / name)
    for name in ("bees.safetensors", "broken.pt", "features.pt"):
        (Path("runs") / name).unlink()
    return at_runs


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


def test_figures_that_are_recorded_are_kept(at_runs: Run) -> None:
    run = only_flowers(at_runs)
    run("import", "runs/flowers/model_best.pth.tar", "--architecture", NET, "--as", "team/flowers",
        "--metric", "accuracy=0.5").done()  # fmt: skip
    done = run(*ALL)
    assert "accuracy 0.725, here already as team/flowers, its metrics not recorded" in done.out
    assert "has the bytes of team/flowers, whose metrics it keeps" in done.err
    assert run("show", "team/flowers:epoch-1", "--json").json["metrics"] == {"accuracy": 0.5}


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


def test_a_run_whose_own_folder_has_weights_ends_with_them(at_runs: Run) -> None:
    shutil.copy("runs/moths/checkpoint-500/config.json", "runs/moths")
    save_file(weights(9), "runs/moths/model.safetensors")
    for folder, below in (("runs", "moths/"), ("runs/moths", "")):
        plan = at_runs("import", folder, *ALL[2:], "--dry-run", "--json").json
        refs = {
            os.path.relpath(file["path"], folder): file["refs"]
            for file in plan["files"]
            if file["path"].startswith("runs/moths")
        }
        assert refs == {
            os.path.normpath(f"{below}."): ["team/moths:final"],
            f"{below}checkpoint-500": ["team/moths", "team/moths:step-500"],
            f"{below}checkpoint-1000": ["team/moths:step-1000"],
        }


def test_a_single_import_reads_what_that_of_the_folder_reads(at_runs: Run) -> None:
    plan = by_file(at_runs(*ALL, "--dry-run", "--json").json)
    lightning = "birds/lightning_logs/version_0/checkpoints/epoch=0-step=10.ckpt"
    several = (
        "bees.safetensors",
        "flowers/checkpoint-0.pth.tar",
        "moths/checkpoint-1000",
        lightning,
    )
    for number, name in enumerate(several):
        file, ref, path = plan[name], f"one/n{number}", Path("runs", name)
        planned = at_runs("import", path, "--as", ref, "--dry-run", "--json").json
        assert (planned["architecture"], planned["metrics"]) == (
            file["architecture"], file["metrics"]
        ), name  # fmt: skip
        assert at_runs("show", ref).code == 1
        made = at_runs("import", path, "--as", ref, "--json").json
        assert made["taken"] == planned["taken"], name
        shown = at_runs("show", ref, "--json").json
        network = shown["backbone"]["architecture"]
        assert (network, shown["metrics"]) == (file["architecture"], file["metrics"])
        if file["metrics"]:
            by = f"from {file['metrics_by']}, not measured here"
            assert shown["provenance"]["metrics"] == by
    said = at_runs("import", "runs/flowers/model_best.pth.tar", "--as", "one/best").out
    assert (
        "test_vit from the file; accuracy 0.725, top5_accuracy 0.99, loss 0.5 from summary" in said
    )
    assert "preprocessing from args.yaml" in said
    assert "left out epoch, state_dict, optimizer" not in said


def test_a_table_of_another_network_says_nothing_of_a_file(at_runs: Run) -> None:
    saved = {"state_dict": weights(5, "test_resnet"), "epoch": 1}
    torch.save(saved, "runs/flowers/other.pth")
    made = at_runs("import", "runs/flowers/other.pth", "--architecture", "test_resnet",
                   "--as", "team/other").done()  # fmt: skip
    assert "accuracy" not in made.out
    assert at_runs("show", "team/other", "--json").json["metrics"] == {}


def test_the_folder_of_a_run_is_told_how_it_is_imported(at_runs: Run) -> None:
    refused = at_runs("import", "runs/flowers", "--as", "team/flowers")
    refused.refused("zoo import runs/flowers --recursive --as 'team/{stem}'")
    line = ("import", "runs/flowers", "--recursive", "--as", "team/{stem}", "--dry-run")
    assert "4 files: 4 to import" in at_runs(*line).done().out


def run_of(folder: str, files: dict[str, dict[str, Any]]) -> None:
    """A run of Lightning: files with what their callback says; none that it calls the best."""
    Path(folder).mkdir(parents=True)
    for number, (name, callback) in enumerate(files.items()):
        state = {"best_model_path": "/gone/other.ckpt" if number else "", **callback}
        saved = {
            "epoch": number, "global_step": number, "pytorch-lightning_version": "2.5.0",
            "state_dict": moved(weights(1), 0.01 * (number + 1)), "callbacks": {"best": state},
        }  # fmt: skip
        torch.save(saved, f"{folder}/{name}")


def heads(run: Run) -> dict[str, tuple[str, str]]:
    """The file that gets the name of its run, and how it was chosen, by run."""
    plan = run("import", "made", *ALL[2:], "--architecture", NET, "--dry-run", "--json").json
    return {
        ref: (Path(file["path"]).name, file["chosen"])
        for file in plan["files"]
        for ref in file["refs"]
        if ":" not in ref
    }


def test_the_best_of_a_run_is_told_by_figures_where_no_file_is_called_so(empty: Run) -> None:
    run_of("made/named", {f"epoch={n}-val_loss=0.{d}.ckpt": {} for n, d in enumerate("523")})
    scores = ({"monitor": "val_acc", "current_score": torch.tensor(x)} for x in (0.5, 0.75, 0.75))
    run_of("made/scored", {f"epoch={n}.ckpt": each for n, each in enumerate(scores)})
    run_of("made/table", {f"epoch={n}-step={n}.ckpt": {} for n in range(3)})
    Path("made/table/metrics.csv").write_text("epoch,val_acc\n0,0.9\n1,0.7\n2,0.8\n")
    run_of("made/untold", {"epoch=0.ckpt": {}, "epoch=1.ckpt": {}})
    assert heads(empty) == {
        "team/named": ("epoch=1-val_loss=0.2.ckpt", "best by loss"),
        "team/scored": ("epoch=1.ckpt", "best by accuracy"),
        "team/table": ("epoch=0-step=0.ckpt", "best by accuracy"),
        "team/untold": ("epoch=1.ckpt", "last"),
    }
    shown = empty("import", "made", *ALL[2:], "--architecture", NET, "--dry-run").done().out
    assert "best by loss of its run" in shown
    assert "last of its run" in shown
    for name, metrics, by in (
        ("named/epoch=1-val_loss=0.2.ckpt", {"loss": 0.2}, "the file's name"),
        ("scored/epoch=1.ckpt", {"accuracy": 0.75}, "the file"),
    ):
        line = ("import", f"made/{name}", "--architecture", NET, "--as", "team/one", "--dry-run")
        planned = empty(*line, "--json").json
        assert planned["metrics"] == metrics
        assert planned["taken"]["metrics"].endswith(f" from {by}")


def test_figures_that_make_no_sense_choose_nothing(empty: Run) -> None:
    odd: tuple[dict[str, Any], ...] = (
        {"monitor": ["x"], "current_score": 1.0}, {"monitor": "a" * 999, "current_score": 2.0},
        {"monitor": "val_acc", "current_score": "high"},
        {"monitor": "val_acc", "current_score": float("nan")},
    )  # fmt: skip
    run_of("made/odd", {f"epoch={n}.ckpt": each for n, each in enumerate(odd)})
    assert heads(empty) == {"team/odd": ("epoch=3.ckpt", "last")}


def only_bees() -> None:
    """Leave one file of the folder ``runs``, which is quick."""
    for path in Path("runs").iterdir():
        if path.name != "bees.safetensors":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_name_that_is_taken_after_the_plan_is_not_moved(at_runs: Run) -> None:
    only_bees()
    with zoo.open() as here:
        plan = here.import_all("runs", "team/{stem}", dry_run=True)
        save_file(weights(4, "test_resnet"), "other.safetensors")
        theirs = here.import_file("other.safetensors", "team/bees", architecture="test_resnet")
        (file,) = here.import_all("runs", "team/{stem}", plan=plan).files
        now = here.workspace.names.resolve("team/bees")[1]
    assert (file.status, now) == ("bad", theirs.manifest)
    assert file.problem == (
        "team/bees is here already, with other weights, since the import was planned"
    )


@pytest.mark.parametrize("same", [True, False])
def test_two_that_import_a_folder_at_once(
    at_runs: Run, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    only_bees()
    Path("theirs").mkdir()
    save_file(weights(2 if same else 4, "test_resnet"), "theirs/bees.safetensors")
    found, real = list[Said](), reflog.now

    def now() -> str:
        """Just before the name is given, somebody else gives it."""
        monkeypatch.setattr(reflog, "now", real)
        found.append(at_runs("import", "theirs", *ALL[2:], "--json"))
        return real()

    monkeypatch.setattr(reflog, "now", now)
    (mine,) = at_runs(*ALL, "--json").json["files"]
    (theirs,) = found[0].done().json["files"]
    assert at_runs("show", "team/bees", "--json").json["manifest"] == theirs["manifest"]
    if same:
        assert (mine["status"], mine["manifest"]) == ("imported", theirs["manifest"])
        assert len(at_runs("log", "team/bees", "--json").json["history"]) == 1
    else:
        moved = f"team/bees was moved by someone else; it is now {theirs['manifest']}"
        assert (mine["status"], mine["problem"]) == ("bad", moved)


def test_a_file_that_changes_after_the_plan_is_not_taken_for_the_planned_one(at_runs: Run) -> None:
    only_bees()
    shutil.copy("runs/bees.safetensors", "runs/twin.safetensors")
    with zoo.open() as here:
        plan = here.import_all("runs", "team/{stem}", dry_run=True)
        assert plan.files[1].duplicate_of == plan.files[0].path
        save_file(weights(4, "test_resnet"), "runs/bees.safetensors")
        bees, twin = here.import_all("runs", "team/{stem}", plan=plan).files
        assert (bees.status, twin.status) == ("bad", "imported")
    assert bees.problem == "has changed since the import was planned: plan it again"


def test_a_folder_with_weights_in_several_files_is_imported_alone(empty: Run) -> None:
    folder = Path("runs/moths")
    folder.mkdir(parents=True)
    config = {"architecture": NET, "num_classes": 3}
    (folder / "config.json").write_text(json.dumps(config))
    state = weights(1)
    names = sorted(state)
    weight_map = dict.fromkeys(names[::2], "a.safetensors") | dict.fromkeys(
        names[1::2], "b.safetensors"
    )
    for file in ("a.safetensors", "b.safetensors"):
        save_file({n: state[n] for n in names if weight_map[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    plan = empty(*ALL, "--json").json
    assert plan["files"] == []
    said = plan["left_out"]["moths"]
    assert said.startswith("its weights are in several files")
    command = said[said.index("zoo import") :].removesuffix("NAME").split()[1:]
    assert empty(*command, "team/moths").code == 0


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


def metrics_of(run: Run) -> dict[str, dict[str, float]]:
    """What each file of the folder ``made`` is said to have, alone and as one of the folder."""
    plan = run("import", "made", *ALL[2:], "--dry-run", "--json").json
    planned = {Path(file["path"]).relative_to("made").as_posix(): file for file in plan["files"]}
    for name, file in planned.items():
        line = ("import", f"made/{name}", "--as", "team/one", "--dry-run", "--json")
        assert run(*line).json["metrics"] == file["metrics"], name
    return {name: file["metrics"] for name, file in planned.items()}


def test_a_table_of_figures_is_of_the_files_that_its_script_names(empty: Run) -> None:
    net, of_vit = weights(3, "test_resnet"), weights(4)
    for folder in ("light", "timm", "hf/checkpoint-500"):
        Path("made", folder).mkdir(parents=True)
    Path("made/light/metrics.csv").write_text("epoch,val_acc\n3,0.97\n")
    torch.save({"state_dict": net, "epoch": 3}, "made/light/someone_else.pth")
    save_file(of_vit, "made/light/epoch_3.safetensors")
    save_file(of_vit, "made/light/epoch=3-step=40.safetensors")
    torch.save({"state_dict": of_vit, "epoch": 3}, "made/light/last-v1.ckpt")
    Path("made/timm/args.yaml").write_text("model: test_resnet\n")
    Path("made/timm/summary.csv").write_text("epoch,eval_top1\n2,70\n")
    for name in ("downloaded.pth", "model_best.pth.tar"):
        torch.save({"model": net, "epoch": 2}, f"made/timm/{name}")
    for name in ("other_epoch2", "checkpoint-2"):
        save_file(net, f"made/timm/{name}.safetensors")
    history = json.dumps({"log_history": [{"step": 500, "eval_accuracy": 0.99}]})
    for at in (Path("made/hf"), Path("made/hf/checkpoint-500")):
        (at / "trainer_state.json").write_text(history)
        (at / "config.json").write_text(json.dumps({"architecture": NET, "num_classes": 3}))
    for name in ("x-step=500", "model", "checkpoint-500/model"):
        save_file(of_vit, f"made/hf/{name}.safetensors")
    assert metrics_of(empty) == {
        "hf": {},
        "hf/checkpoint-500": {"accuracy": 0.99},
        "hf/x-step=500.safetensors": {},
        "light/epoch=3-step=40.safetensors": {"accuracy": 0.97},
        "light/epoch_3.safetensors": {},
        "light/last-v1.ckpt": {"accuracy": 0.97},
        "light/someone_else.pth": {},
        "timm/checkpoint-2.safetensors": {"accuracy": 0.7},
        "timm/downloaded.pth": {},
        "timm/model_best.pth.tar": {"accuracy": 0.7},
        "timm/other_epoch2.safetensors": {},
    }


def test_no_accuracy_is_below_0_or_above_100(empty: Run) -> None:
    net = weights(3, "test_resnet")
    Path("made/run").mkdir(parents=True)
    Path("made/run/metrics.csv").write_text("epoch,val_acc,val_loss\n1,-3,120\n2,101,0.5\n")
    callback = {"monitor": "val_acc", "current_score": 9.2e18}
    files: dict[str, dict[str, Any]] = {
        "below.pth": {"acc": -5.0, "best_acc1": 72.5}, "above.pth": {"acc": 2**62},
        "scored.ckpt": {"callbacks": {"ModelCheckpoint": callback}},
        "named-epoch=1-val_acc=500.0.pth": {}, "run/epoch=1-step=1.ckpt": {},
        "run/epoch=2-step=2.ckpt": {},
    }  # fmt: skip
    for name, more in files.items():
        torch.save({"state_dict": net, **more}, f"made/{name}")
    assert metrics_of(empty) == {
        "above.pth": {},
        "below.pth": {"best_acc1": 72.5},
        "named-epoch=1-val_acc=500.0.pth": {},
        "run/epoch=1-step=1.ckpt": {"loss": 120},
        "run/epoch=2-step=2.ckpt": {"loss": 0.5},
        "scored.ckpt": {},
    }


def test_top1_is_in_percent_if_a_number_of_top1_or_top5_is_above_1(empty: Run) -> None:
    """timm writes percents; a script that was made of its may write shares."""
    tables = {
        "shares": ((0.25, 1.0), (0.2083, 1.0)),
        "percent": ((60.0, 90.0), (0.9, 3.0)),
        "small": ((0.1, 0.5), (0.2, 1.2)),  # of a thousand classes, at the start
    }
    net = weights(0, "test_resnet")
    for run, rows in tables.items():
        Path("made", run).mkdir(parents=True)
        lines = [f"{epoch},{top1},{top5}" for epoch, (top1, top5) in enumerate(rows)]
        Path("made", run, "summary.csv").write_text(
            "\n".join(["epoch,eval_top1,eval_top5", *lines])
        )
        saved = {"epoch": 1, "arch": "test_resnet", "state_dict": net, "run": run}
        torch.save(saved, f"made/{run}/checkpoint-1.pth.tar")
    planned = empty("import", "made", *ALL[2:], "--dry-run", "--json").json["files"]
    found = {file["path"].split("/")[-2]: (file["metrics"], file["metrics_by"]) for file in planned}
    percent = "summary.csv (in percent there)"
    assert found == {
        "shares": ({"accuracy": 0.2083, "top5_accuracy": 1.0}, "summary.csv"),
        "percent": ({"accuracy": 0.9 / 100, "top5_accuracy": 3.0 / 100}, percent),
        "small": ({"accuracy": 0.2 / 100, "top5_accuracy": 1.2 / 100}, percent),
    }
    one = ("import", "made/shares/checkpoint-1.pth.tar", "--as", "team/one")
    assert "accuracy 0.2083, top5_accuracy 1 from summary.csv" in empty(*one).done().out


def test_accuracies_in_percent_become_shares(empty: Run) -> None:
    """The column tells, not the row: 0.5 is half a percent beside 72.5, and half beside 0.725."""
    nets = [weights(seed, "test_resnet") for seed in range(3)]
    tables = {"percent": (0.5, 72.5), "shares": (0.5, 1.0000001)}
    for run, (first, second) in tables.items():
        Path("made", run).mkdir(parents=True)
        rows = f"epoch,val_acc,val_loss\n0,{first},72.5\n1,{second},0.5\n2,,0.4\n"
        Path("made", run, "metrics.csv").write_text(rows)
        for epoch, net in enumerate(nets):
            save_file(net, f"made/{run}/epoch={epoch}-step=1.safetensors")
    at = Path("made/hf/checkpoint-500")
    at.mkdir(parents=True)
    history = [{"step": 500, "eval_accuracy": 90.0}, {"step": 600, "eval_accuracy": 0.9}]
    (at / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    save_file(nets[0], at / "model.safetensors")
    planned = empty("import", "made", *ALL[2:], "--dry-run", "--json").json["files"]
    found = {Path(file["path"]).relative_to("made").as_posix(): file["metrics"] for file in planned}
    assert found == {
        "hf/checkpoint-500/model.safetensors": {"accuracy": 0.9},
        "percent/epoch=0-step=1.safetensors": {"accuracy": 0.005, "loss": 72.5},
        "percent/epoch=1-step=1.safetensors": {"accuracy": 0.725, "loss": 0.5},
        "percent/epoch=2-step=1.safetensors": {"loss": 0.4},
        "shares/epoch=0-step=1.safetensors": {"accuracy": 0.5, "loss": 72.5},
        "shares/epoch=1-step=1.safetensors": {"accuracy": 1.0000001, "loss": 0.5},
        "shares/epoch=2-step=1.safetensors": {"loss": 0.4},
    }
    for epoch, by in ((1, "metrics.csv (in percent there)"), (2, "metrics.csv")):
        file = f"made/percent/epoch={epoch}-step=1.safetensors"
        assert empty("import", file, "--as", f"team/{epoch}").code == 0
        told = empty("show", f"team/{epoch}", "--json").json["provenance"]["metrics"]
        assert told == f"from {by}, not measured here"
    assert empty("best", "--json").json["value"] == 0.725
    assert empty("import", "made/shares", *ALL[2:]).code == 0
    stated = ("import", file, "--as", "team/net", "--metric", "accuracy=72.5")
    empty(*stated).refused("accuracy=0.725")
