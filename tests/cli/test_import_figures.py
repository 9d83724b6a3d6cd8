"""Figures of what is imported: the best of a run, whose a table is, percents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.import_runs import ALL, NET, Run, by_file, moved, weights
from safetensors.torch import save_file


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


def test_a_figure_of_a_file_is_listed_as_one(empty: Run) -> None:
    torch.save({"arch": NET, "accuracy": 0.75, "state_dict": weights(1)}, "net.pth")
    empty("import", "net.pth", "--as", "team/net").done()
    assert "0.7500 (not measured here)" in empty("ls").out
    torch.save({"arch": NET, "state_dict": weights(2)}, "other.pth")
    empty("import", "other.pth", "--as", "team/other").done()
    said = empty("compare", "team/net", "team/other").done()
    row = next(line for line in said.out.splitlines() if line.startswith("accuracy"))
    assert row.split(maxsplit=1)[1].split("  ") == ["0.750 (not measured here)", "-"]
    assert "a figure that is -: not measured here" in said.err
    assert "not measured" not in empty("compare", "team/other", "team/other").err


@pytest.mark.long
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


@pytest.mark.long
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


def metrics_of(run: Run) -> dict[str, dict[str, float]]:
    """What each file of the folder ``made`` is said to have, alone and as one of the folder."""
    plan = run("import", "made", *ALL[2:], "--dry-run", "--json").json
    planned = {Path(file["path"]).relative_to("made").as_posix(): file for file in plan["files"]}
    for name, file in planned.items():
        line = ("import", f"made/{name}", "--as", "team/one", "--dry-run", "--json")
        assert run(*line).json["metrics"] == file["metrics"], name
    return {name: file["metrics"] for name, file in planned.items()}


@pytest.mark.long
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


@pytest.mark.long
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


def test_the_metric_of_timm_is_percents_above_1_and_else_nobody_knows(empty: Run) -> None:
    saved = {"arch": "test_resnet", "state_dict": weights(0, "test_resnet")}
    told = {
        72.5: "accuracy 0.725 from the file (in percent there)",
        0.8: "metric 0.8 from the file",
    }
    for number, (metric, said) in enumerate(told.items()):
        torch.save(saved | {"metric": metric}, f"{number}.pth.tar")
        line = ("import", f"{number}.pth.tar", "--as", f"team/{number}")
        assert f"; {said}; unknown" in empty(*line).done().out


@pytest.mark.long
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
