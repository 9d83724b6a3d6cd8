"""Show the plan of an import of a folder, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

import click

from zoo.domain.words import many
from zoo_cli.output import clean, note, size, table

if TYPE_CHECKING:
    from zoo.exchange.planned import ImportPlan, PlannedFile

__all__ = ["show_imported", "show_plan"]


def show_plan(plan: ImportPlan) -> None:
    """Print what would be imported, run by run, and what it comes to."""
    files = [file for file in plan.files if file.status != "bad"]
    rows = [
        (", ".join(map(str, file.refs)), file.architecture or "-", size(file.size), _what(file),
         file.path.relative_to(plan.folder))
        for file in files
    ]  # fmt: skip
    if rows:
        table(("NAME", "NETWORK", "SIZE", "WHAT", "FILE"), rows, ("SIZE", "NETWORK"))
    runs = [(run, len(list(each))) for run, each in groupby(files, key=lambda file: file.run)]
    several = [f"{run}: {count} checkpoints of one run" for run, count in runs if count > 1]
    for line in several:
        click.echo(clean(line))
    for path, reason in plan.left_out.items():
        note(f"left out: {path} {reason}")
    _tell_bad(plan.having("bad"))
    new = plan.having("new")
    twins = sum(file.duplicate_of is not None for file in new)
    counts = (
        (len(new), "to import"),
        (twins, "of these twice"),
        (len(plan.having("here")), "here already"),
        (len(plan.having("bad")), "bad"),
    )
    told = ", ".join(f"{number} {what}" for number, what in counts if number)
    saved = f"; sharing saves {size(plan.shared_bytes)} of {size(plan.weights_bytes)}"
    click.echo(f"{many(len(plan.files), 'file')}: {told or 'none'}{saved if new else ''}")


def show_imported(plan: ImportPlan) -> None:
    """Print what was imported."""
    done = plan.having("imported")
    for file in done:
        for text in file.notes:
            note(f"{file.refs[0]}: {text}")
    _tell_bad([file for file in plan.having("bad") if file.sha256])
    click.echo(f"imported {len(done)} of {many(len(plan.files), 'file')}")


def _tell_bad(files: Iterable[PlannedFile]) -> None:
    for file in files:
        note(f"bad: {file.path}: {file.problem}")


def _what(file: PlannedFile) -> str:
    parts = [file.script, file.key if "ema" in file.key else ""]
    if "accuracy" in file.metrics:
        parts.append(f"accuracy {file.metrics['accuracy']:.4g}")
    if file.status == "here":
        parts.append("here already")
    elif file.duplicate_of:
        parts.append(f"the same as {file.duplicate_of.name}")
    elif file.manifest:
        parts.append(f"the same as {file.of}")
    elif file.of and file.share:
        parts.append(f"{file.verdict}: {file.share:.1%} of {file.of}")
    return ", ".join(filter(None, parts)) or "-"
