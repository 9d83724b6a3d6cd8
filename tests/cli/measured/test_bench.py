"""zoo bench: what it measures, keeps, and what finds it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes.prepared import PROBES, Run
from torch import nn

from zoo.backbones import bench as measuring
from zoo.backbones.load import load

A, B = PROBES
QUICK = ("--seconds", "0.01", "--batch-size", "1", "--batch-size", "3")


def files(home: Path) -> list[Path]:
    return sorted(home.glob("benches/*/*.json"))


def test_figures_are_kept_shown_and_searched(run: Run, home: Path) -> None:
    said = run("bench", A, *QUICK, "--threads", "1", "--json").done().json
    first, last = said["batches"]
    assert (first["batch"], last["batch"], said["threads"]) == (1, 3, 1)
    assert 0 < first["ms"] <= first["p95"]
    assert last["images_per_second"] == pytest.approx(3000 / last["ms"])
    assert [json.loads(file.read_text()) for file in files(home)] == [said]
    assert run("show", A, "--json").done().json["benches"] == [said]
    assert f"{first['ms']:.4g} ms" in run("show", A).out
    for again in (False, True):
        if again:  # an index is only that
            (home / "registry.db").unlink()
        assert [row["name"] for row in run("search", "ms.cpu>0", "--json").json] == [A]
        slower = run("search", f"ms.cpu>{first['ms']}")
        assert (slower.out, "zoo bench" in slower.err) == ("", False)
    best = max(each["images_per_second"] for each in said["batches"])
    told = run("search", "pulled:yes", "--sort", "-images_per_second.cpu").done().out
    assert "images_per_second.cpu" in told.splitlines()[0]
    assert f"{best:.4g}" in told.splitlines()[1]
    assert A in told.splitlines()[1]


def test_the_last_one_of_a_device_counts(run: Run, home: Path) -> None:
    run("bench", A, *QUICK).done()
    run("bench", A, *QUICK, "--no-save").done()
    (before,) = (file.read_text() for file in files(home))
    again = run("bench", A, *QUICK, "--precision", "bf16", "--json").done().json
    (after,) = (file.read_text() for file in files(home))
    assert json.loads(after) == again != json.loads(before)


def test_it_goes_with_the_weights(run: Run, home: Path) -> None:
    """An edit changes what is said of them; a prune takes the figures with the checkpoint."""
    run("bench", A, *QUICK).done()
    run("edit", A, "--note", "once more").done()
    assert run("search", "ms.cpu>0", "--json").json[0]["name"] == A
    assert len(files(home)) == 2
    run("edit", A, "--image-size", "64").done()
    assert not run("search", "ms.cpu>0", "--json").json, "it was not measured at that size"
    run("delete", A, "--yes").done()
    run("prune", "--yes", "--keep", "0", "--grace", "0").done()
    assert not files(home)


def test_a_damaged_file_is_told_and_left_out(run: Run, home: Path) -> None:
    run("bench", A, *QUICK).done()
    (file,) = files(home)
    file.write_text(file.read_text().replace('"threads": ', '"threads": -'))
    assert "zoo bench it again" in run("show", A).done().err
    said = run("verify")
    assert (said.code, "benchmark" in said.out) == (1, True)
    run("bench", A, *QUICK).done()
    run("verify").done()


def test_what_does_not_fit_is_left_out(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger ones are not tried; where none fits, that is said."""

    def small(*given: object, **more: object) -> nn.Module:
        module = load(*given, **more)  # type: ignore[arg-type]

        def refuse(_: nn.Module, images: tuple[torch.Tensor]) -> None:
            if len(images[0]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

        module.register_forward_pre_hook(refuse)
        return module

    monkeypatch.setattr(measuring, "load", small)
    said = run("bench", A, *QUICK, "--batch-size", "4", "--batch-size", "5").done()
    assert "4 images at once do not fit into memory" in said.err
    assert "5 images" not in said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["BATCH", "1", "3"]
    run("bench", B, "--batch-size", "4").refused("does not fit into the memory of")
    run("bench", B, "--batch-size", "900000000").refused("does not fit into the memory of")
    assert len(files(home)) == 1


def test_peak_memory_is_of_that_run() -> None:
    memory = measuring._Memory(torch.device("cpu"))
    if memory.before is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    block = torch.ones(25_000_000)
    taken = memory.taken()
    assert taken is not None
    assert 90e6 < taken < 190e6
    del block
    again = measuring._Memory(torch.device("cpu")).taken()
    assert again is not None
    assert again < 50e6
