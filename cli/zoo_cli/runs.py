"""zoo runs: what was trained here, how far it came, and what it showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from zoo_cli.command import command, group, open_zoo
from zoo_cli.evaluate import print_report
from zoo_cli.output import clean, print_json, scored, table

if TYPE_CHECKING:
    from zoo.lookup.runs import Run

__all__ = ["runs"]

SHOWN = ("probe", "epoch", "test")


@group
@click.pass_context
def runs(context: click.Context, as_json: bool) -> None:
    """List the fine-tunes that were begun here, newest first.

    \b
    Examples:
      zoo runs
      zoo runs show last
      zoo finetune --resume last
    """
    if context.invoked_subcommand is not None:
        return
    found = open_zoo().runs()
    if as_json:
        print_json([run.to_json() for run in found])
        return
    rows = [(run.id, run.status, run.base, run.save, run.started, _result(run)) for run in found]
    header = ("RUN", "STATUS", "BASE", "SAVED AS", "STARTED", "RESULT")
    table(header, rows, least_first=("STARTED", "BASE"))  # a run's id begins with its date


@command(of=runs)
@click.argument("run")
def show(run: str, as_json: bool) -> None:
    """Show the run RUN: how it went, and where its curves are. last is the newest.

    \b
    Example:
      zoo runs show last
    """
    shown = open_zoo().run(run)
    lines, report = list(shown.lines()), shown.report()
    if as_json:
        print_json({**shown.to_json(), "lines": lines, "report": report})
        return
    click.echo(f"{shown.id}  {shown.status}  {clean(shown.base)} -> {clean(shown.save)}")
    if shown.error:
        click.echo(f"error: {clean(shown.error)}")
    options = (f"{name}={value}" for name, value in shown.recipe.items() if value not in (None, []))
    click.echo(clean("recipe: " + " ".join(options)))
    for line in lines:
        if line.get("kind") == "remark":
            click.echo(f"note: {clean(line['text'])}")
        if line.get("kind") == "probe":
            click.echo(_probe(line))
    _figures(lines)
    _outcome(shown.result)
    if report:
        print_report(report)
    for path in sorted([*shown.folder.glob("*.png"), *shown.folder.glob("*.csv")]):
        click.echo(clean(path))
    if shown.resumable:
        click.echo(f"resume it: zoo finetune --resume {shown.id}")


def _outcome(result: Mapping[str, Any]) -> None:
    """What training gained, and why that may be nothing."""
    if gained := result.get("gained"):
        click.echo(clean(gained["text"]))
    if warning := result.get("warning"):
        click.echo(clean(f"WARNING: {warning}"))


def _figures(lines: Iterable[Mapping[str, Any]]) -> None:
    shown = [line for line in lines if line.get("kind") in SHOWN]
    figures = (name for line in shown for name, value in line.items() if isinstance(value, float))
    names = [name for name in dict.fromkeys(figures) if name != "time"]
    if not shown:
        return
    rows = [
        (
            line.get("name", line["kind"]),
            line["steps"],
            *(f"{line[name]:.4f}" if name in line else "" for name in names),
        )
        for line in shown
    ]
    table(("", "STEP", *(name.upper().replace("_", " ") for name in names)), rows)


def _probe(line: Mapping[str, Any]) -> str:
    """What was chosen for the probe of each head, and what nearest neighbors would reach."""
    text = "probe: C " + ", ".join(f"{c:g}" for c in line["c"])
    if votes := line.get("knn"):
        text += "; nearest neighbors: accuracy " + ", ".join(
            f"{accuracy:.4f} (k = {int(k)})" for k, accuracy in votes.items()
        )
    return text


def _result(run: Run) -> str:
    return scored(run.recipe["task"], run.result["metrics"]) if run.result else ""
