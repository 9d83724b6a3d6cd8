"""A team arrives with hundreds of files: `zoo import FOLDER --recursive`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.import_runs import ALL, NET, Run, State, by_file, moved, only_bees, weights
from fakes.program import Said
from PIL import Image
from safetensors.torch import save_file

import zoo
from zoo import reflog
from zoo.errors import DiskFull
from zoo.exchange import import_many, import_walk
from zoo.exchange.importing import import_weights


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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
    assert "model_best.pth.tar: team/flowers is here already, with other" in at_runs(*yes).err
    at_runs("tag", "team/flowers:epoch-2", "team/flowers").done()
    save_file(weights(3, "test_resnet"), runs / "bees.safetensors")
    assert "bees.safetensors: team/bees is here already, with other" in at_runs(*yes).err
    save_file(weights(3), runs / "bees.safetensors")
    at_runs(*yes, "--force", "--architecture", NET).done()
    assert at_runs("show", "team/bees", "--json").json["backbone"]["architecture"] == NET


@pytest.mark.long
def test_of_names_that_clash_none_is_taken_and_the_rest_is_imported(at_runs: Run) -> None:
    shutil.copytree("runs/birds", "runs/more/birds", symlinks=True)
    torch.save(moved(weights(1), 0.2), "runs/more/birds/flowers_best.pth")
    torch.save(moved(weights(1), 0.3), "runs/more/flowers_best.pth")
    Path("runs/more/flowers-best.safetensors").write_bytes(b"")
    more = ("import", "runs/more", *ALL[2:], "--architecture", NET)
    plan = at_runs(*more, "--dry-run").err
    clash = "birds/flowers_best.pth, flowers_best.pth: one of several that would be team/flowers_"
    assert f"bad: {clash}" in plan
    assert "take --as 'team/{folder}-{stem}'" in plan
    assert at_runs("search", "team/", "--json").json == []
    apart = ("import", "runs/more", "--recursive", "--as", "team/{folder}-{stem}-{epoch}")
    names = at_runs(*apart, "--architecture", NET, "--json").json["files"]
    refs = sorted(ref for file in names for ref in file["refs"])
    assert refs == [
        "team/birds-flowers_best-best", "team/birds-version_0-birds-version_0-0",
        "team/birds-version_0-birds-version_0-1", "team/birds-version_0-birds-version_0-1",
        "team/more-flowers_best-best",
    ]  # fmt: skip


@pytest.mark.long
def test_a_name_that_has_other_weights_is_never_moved(at_runs: Run) -> None:
    save_file(weights(7), "net.safetensors")
    at_runs("import", "net.safetensors", "--architecture", NET, "--as", "team/flowers").done()
    assert (
        "team/flowers is here already, with other weights (--force moves it)" in at_runs(*ALL).err
    )
    assert at_runs("log", "team/flowers", "--json").json["history"][0]["why"] == "import"
    assert at_runs("show", "team/bees", "--json").code == 0


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
    assert "'日本' has no letter or digit that a name can have" in printed.err
    assert "a pipe" in printed.err


@pytest.mark.long
def test_a_terminal_is_asked(at_runs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, **_: asked.append(text))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    only = ("import", "runs/birds", *ALL[2:])
    assert at_runs(*only, "--dry-run").code == 0
    assert asked == []
    assert at_runs(*only).out.endswith("imported 3 of 3 files\n")
    assert asked == ["import?"]


def test_a_folder_without_weights_is_refused(empty: Run) -> None:
    Path("none/inner").mkdir(parents=True)
    said = empty("import", "none", "--recursive", "--as", "team/{stem}")
    said.refused("none has no files of weights (.safetensors, ")


def test_digests_of_what_has_no_name_are_short(empty: Run) -> None:
    """What is here without a name, as after its name has moved."""
    Path("runs").mkdir()
    save_file(weights(1), "runs/bees.safetensors")
    empty("import", "runs/bees.safetensors", "--architecture", NET, "--as", "team/bees").done()
    found = empty("show", "team/bees", "--json").json["manifest"]
    empty("delete", "team/bees").done()
    asked = ("import", "runs", "--recursive", "--as", "other/{stem}", "--architecture", NET)
    alone = ("import", "runs/bees.safetensors", "--architecture", NET, "--as", "other/bees")
    lines = ((*asked, "--dry-run"), ("identify", alone[1]), (*alone, "--dry-run"), alone)
    for line in lines:
        said = empty(*line).done().out
        assert found[7:19] in said
        assert found[7:20] not in said


def test_there_is_a_limit(at_runs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_walk, "IMPORT_FILES", 3)
    at_runs(*ALL, "--dry-run").refused("runs has more than 3 files of weights")
    usage = at_runs("import", "runs/bees.safetensors", "--as", "team/x", "--yes")
    assert (usage.code, "for an import with --recursive" in usage.err) == (2, True)


def test_a_name_with_the_same_weights_from_another_file_is_here(empty: Run) -> None:
    state = weights(1)
    Path("runs").mkdir()
    torch.save(state, "runs/plain.pth")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, "ddp.pth")
    one = ("--architecture", NET, "--as", "team/plain")
    first = empty("import", "runs/plain.pth", *one, "--license", "mit", "--json").json
    now = empty("import", "ddp.pth", *one, "--json").json
    plan = (*ALL, "--architecture", NET, "--dry-run")
    said = " ".join(empty(*plan).done().out.split())
    assert "here already, team/plain has the same weights from ddp.pth" in said
    assert "1 file: 1 here already" in said
    empty("tag", first["manifest"], "team/kept").done()
    said = " ".join(empty(*plan).done().out.split())
    assert f"from ddp.pth, {first['manifest'][7:19]}, of this file, differs in license" in said
    empty(*ALL, "--architecture", NET, "--yes").done()
    assert empty("show", "team/plain", "--json").json["manifest"] == now["manifest"]
    forced = empty(*ALL, "--architecture", NET, "--force", "--dry-run").done().out
    assert f"moves team/plain from {now['manifest'][7:19]}" in " ".join(forced.split())


@pytest.mark.long
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
    stored = sorted(Path("objects").rglob("*"))
    imported(weights(2), NET).refused(says, "--force", "zoo log team/x keeps")
    assert sorted(Path("objects").rglob("*")) == stored
    torch.save(weights(1), "same.pth")  # the same weights in other bytes may take the name
    empty("import", "same.pth", "--as", "team/x", "--architecture", NET).done()
    empty("tag", first["manifest"], "team/x").done()
    planned = imported(weights(2), NET, "--dry-run").done()
    assert f"team/x is {was} now; it moves with --force alone, unless this derives" in planned.out
    assert "--force" not in imported(weights(1), NET, "--dry-run").done().out
    moved = f"\n  moved; was {was} (zoo log team/x)\n"
    assert moved in imported(weights(2), NET, "--force").done().out
    other = weights(3, "test_resnet")
    says = f"team/x is of the architecture {NET} here, and would become one of test_resnet"
    imported(other, "test_resnet").refused(says, "--force")
    imported(other, "test_resnet", "--dry-run").refused(says, "--force")
    assert len(empty("log", "team/x", "--json").json["history"]) == 4
    assert "moved; was" in imported(other, "test_resnet", "--force").done().out


@pytest.mark.long
def test_the_page_prints_what_it_shows(at_runs: Run) -> None:
    page = (Path(__file__).parents[2] / "docs/import.md").read_text()
    for name in ("moths", "bees.safetensors", "features.pt"):
        path = Path("runs") / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    line, _, shown = page.split("```console\n$ ")[2].partition("\n```")[0].partition("\n")
    printed = at_runs(*shlex.split(line)[1:]).out
    wanted = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    assert re.fullmatch(wanted, " ".join(printed.split()), re.DOTALL), printed


@pytest.mark.long
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


def test_the_folder_of_a_run_is_told_how_it_is_imported(at_runs: Run) -> None:
    refused = at_runs("import", "runs/flowers", "--as", "team/flowers")
    refused.refused("zoo import runs/flowers --recursive --as 'team/{stem}'")
    line = ("import", "runs/flowers", "--recursive", "--as", "team/{stem}", "--dry-run")
    assert "4 files: 4 to import" in at_runs(*line).done().out


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


@pytest.mark.parametrize("same", [True, pytest.param(False, marks=pytest.mark.long)])
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
        taken = "team/bees is here already, with other weights, since the import was planned"
        assert (mine["status"], mine["problem"]) == ("bad", taken)


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


@pytest.mark.long
def test_letters_with_marks_lose_them(empty: Run) -> None:
    Path("uml").mkdir()
    for number, name in enumerate(("Tür", "Tör", "Käfer", "Straße", "a b", "a-b", "猫")):
        save_file(weights(number, "test_resnet"), f"uml/{name}.safetensors")
    done = empty("import", "uml", "--recursive", "--as", "t/{stem}", "--json")
    names = {Path(file["path"]).stem: file["refs"] for file in done.json["files"]}
    assert names == {
        "Tür": ["t/Tur"], "Tör": ["t/Tor"], "Käfer": ["t/Kafer"], "Straße": ["t/Strasse"],
        "a b": [], "a-b": [], "猫": [],
    }  # fmt: skip
    assert done.code == 1
    assert len(empty("ls", "--json").json) == 4


@pytest.mark.long
def test_an_average_is_no_obstacle_to_the_parent_of_what_has_none(empty: Run) -> None:
    """As torchvision's script writes: found the first time, and nothing is left to add then."""
    Path("old/run").mkdir(parents=True)
    first = weights(1)
    for epoch, name in ((0, "model_0"), (1, "model_1"), (1, "checkpoint")):
        state = moved(first, 0.003) if epoch else first
        ema = {"n_averaged": torch.tensor(5), **{f"module.{n}": t for n, t in state.items()}}
        saved = {"model": moved(state, 0.001), "epoch": epoch, "args": Namespace(model=NET)}
        whole = saved | ({"model_ema": ema} if name != "checkpoint" else {})
        torch.save(whole, f"old/run/{name}.pth")
    line = ("import", "old", "--recursive", "--as", "a/{stem}", "--parent", "auto", "--json")
    files = {Path(file["path"]).name: file for file in empty(*line).done().json["files"]}
    assert files["checkpoint.pth"]["parent"]["ref"] == "a/run:epoch-0"
    again = empty(*line).done().json["files"]
    assert [file["status"] for file in again] == ["here"] * 3


@pytest.mark.long
def test_loose_files_are_called_after_themselves_and_an_average_says_so(empty: Run) -> None:
    for folder in ("run", "tv"):
        Path("loose", folder).mkdir(parents=True)
    state, other = weights(1, "test_resnet"), weights(2, "test_resnet")
    both = {f"model.{name}": tensor for name, tensor in state.items()}
    both |= {f"model_ema.{name}": tensor for name, tensor in other.items()}
    torch.save({"state_dict": both}, "loose/final.pth")
    save_file(other, "loose/bees.safetensors")
    shutil.copy("loose/bees.safetensors", "loose/tv/again.safetensors")
    save_file(weights(4, "test_resnet"), "loose/run/last.safetensors")
    save_file(weights(3, "test_resnet"), "loose/tv/model_3.safetensors")
    line = ("import", "loose", "--recursive", "--as", "a/{stem}", "--dry-run")
    files = {Path(file["path"]).name: file for file in empty(*line, "--json").done().json["files"]}
    assert {name: file["refs"][0] for name, file in files.items()} == {
        "again.safetensors": "a/again",
        "bees.safetensors": "a/bees",
        "final.pth": "a/final",
        "last.safetensors": "a/run",
        "model_3.safetensors": "a/model_3",
    }
    assert re.search(r"a/final +test_resnet .* model_ema ", empty(*line).out)


def test_the_same_weights_in_other_bytes_are_told(empty: Run) -> None:
    Path("run").mkdir()
    for name in ("epoch=2", "last"):
        torch.save({"state_dict": weights(1), "epoch": 2, "arch": NET}, f"run/{name}.ckpt")
    other = weights(1)
    other["head.fc.bias" if "head.fc.bias" in other else "head.bias"] += 1
    torch.save({"state_dict": other, "epoch": 3, "arch": NET}, "run/epoch=3.ckpt")
    said = empty("import", "run", "--recursive", "--as", "a/{stem}", "--dry-run").done().out
    assert said.count("the same weights as epoch=2.ckpt") == 1


def test_what_options_state_is_recorded_of_what_is_here_already(empty: Run) -> None:
    """As of a single file, as far as nobody knows it; and what is not recorded is told."""
    Path("run").mkdir()
    outputs = len(weights(1, "test_resnet")["fc.bias"])
    own = [f"class {at}" for at in range(outputs)]
    for seed, more in ((1, {"classes": own}), (2, {})):
        kept = {"state_dict": weights(seed, "test_resnet"), "arch": "test_resnet", **more}
        torch.save(kept, f"run/n{seed}.pth")
    Path("names.txt").write_text("\n".join(f"column {at}" for at in range(outputs)))
    empty("import", "run/n1.pth", "--as", "t/plain").done()
    line = ("import", "run", "--recursive", "--as", "r/{stem}", "--yes")
    said = ("--task", "regression", "--classes", "names.txt", "--mean", "0.4", "--license", "ofl")
    plain = ("--task", "classification", "--image-size", 64)
    done = empty(*line[:-2], "p/{stem}", "--yes", *plain).done()
    assert "t/plain, whose image size it keeps\n" in done.err
    names = [empty("show", name, "--json").json["manifest"] for name in ("t/plain", "p/n1")]
    assert names[0] == names[1]
    done = empty(*line, *said).done()
    assert "p/n1, and what that lacked: license, task, preprocessing\n" in done.err
    assert "p/n1, whose class names it keeps\n" in done.err
    one, two = (empty("show", f"r/n{seed}", "--json").json for seed in (1, 2))
    for shown, first in ((one, "class 0"), (two, "column 0")):
        assert shown["recipe"] == {"task": "regression"}
        assert (shown["classes"][0], shown["preprocessing"]["mean"]) == (first, [0.4] * 3)
        assert shown["license"] == "ofl"
    assert "task" not in empty("show", "t/plain").out
    assert "recipe.task:" in empty("show", "r/n1").out
    again = empty(*line, "--task", "multi-label").done()
    assert "stays as it is: zoo edit NAME states more of it" in again.err
    # Said of classes, it is what nobody need say.
    empty("import", "run/n1.pth", "--as", "t/c", "--task", "classification").done()
    names = [empty("show", name, "--json").json["manifest"] for name in ("t/plain", "t/c")]
    assert names[0] == names[1]


@pytest.mark.long
def test_a_plan_has_room_on_a_terminal(at_runs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = at_runs(*ALL, "--parent", "auto", "--dry-run").out
    monkeypatch.setattr("zoo_cli.output.on_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = at_runs(*ALL, "--parent", "auto", "--dry-run").out
    assert max(map(len, wide.splitlines())) > 150
    paths = [line for line in narrow.splitlines() if len(line) > 80]
    assert all(" " not in line.strip() for line in paths)  # nothing but what cannot be broken
    joined = " ".join(narrow.split())
    assert "what timm, state_dict_ema, accuracy 0.725" in joined
    assert "parent team/flowers:epoch-0 (0.11 apart; earlier in the same run)" in joined


def test_a_package_that_is_missing_is_named_with_what_installs_it(
    empty: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("hf/checkpoint-100")
    folder.mkdir(parents=True)
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"vit.embeddings.cls_token": torch.zeros(1, 1, 32)}, folder / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    needs = "'transformers', which a network of the kind 'vit' needs, is not installed"
    how = "pip install 'zoo-registry[transformers]'"
    empty("import", folder, "--as", "a/b").refused(needs, how)
    said = empty("import", "hf", "--recursive", "--as", "a/{stem}")
    assert said.code == 1
    assert f"bad: checkpoint-100/model.safetensors: {needs}: {how}" in said.err


@pytest.mark.long
def test_a_plan_says_what_the_import_does(at_runs: Run) -> None:
    """Of a head of other features, of the weights of a folder, and of values that are none."""
    only_bees()
    base = weights(2, "test_resnet")
    torch.save({**base, "fc.weight": torch.zeros(3, 5)}, "runs/odd.pth")
    odd = {**base, "conv1.0.weight": base["conv1.0.weight"] * float("nan")}
    torch.save(odd, "runs/nan.pth")
    Path("runs/net").mkdir()
    Path("runs/net/config.json").write_text(json.dumps({"architecture": NET, "num_classes": 3}))
    save_file(weights(6, "test_resnet"), "runs/net/model.safetensors")
    at_runs("import", "runs/bees.safetensors", "--as", "t/plain").done()
    planned, done = (at_runs(*ALL, *more, "--json") for more in (["--dry-run"], ["--yes"]))
    for plan in (planned, done):
        files = by_file(plan.json)
        bad = {name: file["problem"] for name, file in files.items() if file["problem"]}
        assert (plan.code, {*bad}) == (1, {"odd.pth", "net"})
        assert "'fc.weight' of the shape (3, 5), the network's is (3, 96)" in bad["odd.pth"]
        assert files["nan.pth"]["nan_tensors"] == ["conv1.0.weight"]
    alone = at_runs("import", "runs/odd.pth", "--as", "t/odd", "--dry-run")
    alone.refused(by_file(planned.json)["odd.pth"]["problem"])
    says = "nan.pth: NaN or infinite values in conv1.0.weight"
    assert at_runs(*ALL, "--dry-run", "--force").err.count(says) == 0  # it is here
    nan = ("import", "runs/nan.pth", "--as", "t/nan")
    assert says.partition(": ")[2] in at_runs(*nan, "--dry-run").out
    assert "with NaN or infinite weights: team/nan\n" in at_runs("ls").err
    assert "warning" in at_runs("show", "team/nan").out
    assert says.partition(": ")[2] in at_runs("show", "team/nan").out
    assert ">99.9% of the file's weights match" in at_runs("identify", "runs/odd.pth").out
    Image.new("RGB", (64, 64)).save("x.png")
    predicted = at_runs("predict", "team/nan", "x.png", "--json")
    assert (predicted.code, predicted.out) == (1, "")
    assert "the network gives NaN or infinite outputs for x.png" in predicted.err
