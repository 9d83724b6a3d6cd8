"""Runs to report: folders as fine-tunes write them, and what a server has of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fakes.served import Served

from zoo.lookup.reporting import reported_line
from zoo.lookup.runs import METRICS, RUN, Run

__all__ = ["SECRETS", "make_run", "steps", "told_there", "told_here", "with_token", "write_lines"]

SECRETS = ("/home/ann/private", "ann-laptop", "patient-7")
"""Of the sender's machine: nothing of them goes over."""


def with_token(patch: pytest.MonkeyPatch, url: str, token: str) -> None:
    """Have a token for a server, as ``zoo login`` keeps one."""
    patch.setenv("ZOO_SERVER", url)
    patch.setenv("ZOO_TOKEN", token)


def make_run(root: Path, save: str = "ann/net", number: int = 1, **values: Any) -> Run:
    """A run that was cut off, without lines."""
    folder = root / f"20260101-000000-{number:06}"
    folder.mkdir(parents=True)
    recipe = {
        "data": f"{SECRETS[0]}/flowers",
        "root": f"/x/{SECRETS[1]}",
        "epochs": 3,
        "strategy": "full",
    }
    said: dict[str, Any] = {
        "base": "team/base", "parent": f"blake3:{'0' * 64}", "save": save, "device": "cpu",
        "recipe": {**recipe, "task": "classification"}, "started": "2026-01-01T00:00:00Z",
        "status": "interrupted", "host": SECRETS[1], "error": f"{SECRETS[0]} is gone",
        "provenance": {"data_digest": f"blake3:{'1' * 64}", "author": SECRETS[1]},
    }  # fmt: skip
    return Run(folder=folder, **{**said, **values}).write()


def steps(*numbers: int) -> list[dict[str, Any]]:
    """Lines of steps."""
    return [
        {"kind": "step", "steps": at, "time": 1.5 * at, "epoch": 1, "loss": 1 / (at + 1), "lr": 0.1,
         "images_per_second": 9.5}
        for at in numbers
    ]  # fmt: skip


def write_lines(run: Run, lines: Iterable[dict[str, Any]], mode: str = "a") -> None:
    """Add lines to the journal of a run."""
    with (run.folder / METRICS).open(mode) as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


def told_here(folder: Path) -> list[Any]:
    """The lines of a local journal that are to be told."""
    found = (
        reported_line(json.loads(text)) for text in (folder / METRICS).read_text().splitlines()
    )
    return [json.loads(text) for text in found if text]


def told_there(served: Served) -> dict[str, list[Any]]:
    """The lines that a server has, by the run's local id."""
    found = {}
    for path in (served.root / "reported").glob(f"*/*/{RUN}"):
        journal = path.with_name(METRICS)
        text = journal.read_text() if journal.exists() else ""
        assert text == "" or text.endswith("\n")
        found[path.parent.name.rpartition("-")[0]] = [*map(json.loads, text.splitlines())]
    return found
