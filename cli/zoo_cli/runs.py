"""zoo runs: what was trained here, how far it came, and what it showed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.plain import Json
from zoo.domain.recipe import chosen
from zoo.domain.run_state import STATES, State
from zoo.domain.task import SCORE, with_intervals
from zoo.domain.words import NOTHING_GAINED, ago, of_groups, plural
from zoo_cli.command import agreed, command, dry_run, flag, group, open_zoo
from zoo_cli.compare import each_seed as each_seed_option
from zoo_cli.compare import print_compared
from zoo_cli.evaluate import print_report
from zoo_cli.output import brief, clean, note, paragraph, print_json, size, table

if TYPE_CHECKING:
    from zoo.domain.table import Table
    from zoo.lookup.history import PastTrial
    from zoo.lookup.remove_runs import Removal
    from zoo.lookup.runs import Run

__all__ = ["runs"]

CANDIDATES = ("probe", "epoch", "blend")
WIDE = 100_000
"""From here on a figure is written in short: a loss that diverged widens the table."""


@group
@flag("--trials", help="List what zoo advise has tried here in their place, probes and recipes.")
@click.pass_context
def runs(context: click.Context, trials: bool, as_json: bool) -> None:
    """List the fine-tunes that were begun here, newest first.

    \b
    Examples:
      zoo runs
      zoo runs --trials
      zoo runs show last
      zoo runs report last --to https://zoo.lab.org
      zoo runs rm --state failed
      zoo finetune --resume last
    """
    if context.invoked_subcommand is not None:
        return
    if trials:
        _trials(open_zoo().trials(), as_json)
        return
    listed = open_zoo().runs()
    if as_json:
        print_json([run.to_json() for run in listed])
        return
    rows: list[tuple[str, ...]] = [
        (_result(run), run.id, _saved(run), run.base, run.started) for run in listed
    ]
    header: tuple[str, ...] = ("RESULT", "RUN", "SAVED AS", "BASE", "STARTED")
    if any(run.reporter for run in listed):
        header = (*header, "REPORTED BY")
        rows = [(*row, run.reporter) for row, run in zip(rows, listed, strict=True)]
    table(header, rows, least_first=("STARTED", "BASE", "SAVED AS"))  # an id begins with its date


def _trials(past: Table[PastTrial], as_json: bool) -> None:
    """All that was tried; what was advised has a star."""
    if as_json:
        print_json(past.to_json())
        return
    rows = [
        (
            f"{each.measure} {brief(each.score, each.low, each.high)}",
            f"{'*' if each.advised else ''}{each.name}",
            each.base,
            each.data,
            each.images,
            each.at,
        )
        for each in past
    ]
    header = ("SCORE", "TRIED", "BASE", "DATA", "IMAGES", "AT")
    table(header, rows, least_first=("AT", "IMAGES", "DATA", "BASE"))


@command(of=runs)
@click.argument("run")
def show(run: str, as_json: bool) -> None:
    """Show the run RUN: how it went, and where its curves are.

    last is the newest that you (ZOO_AUTHOR, or your login) began; of anybody if you began none.

    \b
    Example:
      zoo runs show last
    """
    shown = open_zoo().run(run)
    lines, report = list(shown.lines()), shown.report()
    if as_json:
        print_json({**shown.to_json(), "lines": lines, "report": report})
        return
    click.echo(f"{shown.id}  {shown.status}")
    paragraph(f"{shown.base} -> {shown.save}, on {shown.device}, {shown.started}", "  ")
    _print_reporter(shown)
    if shown.error:
        paragraph(f"error: {shown.error}", "  ")
    paragraph(f"recipe: {_recipe(shown)}", "  ")
    for line in lines:
        if line.get("kind") == "remark":
            paragraph(f"note: {line['text']}", "  ")
        if line.get("kind") == "probe":
            paragraph(_probe(line), "  ")
    _figures(lines, SCORE.get(shown.recipe.get("task", ""), ""))
    _outcome(shown.result)
    if report:
        print_report(report)
    for path in sorted([*shown.folder.glob("*.png"), *shown.folder.glob("*.csv")]):
        click.echo(clean(path))
    if shown.resumable:
        click.echo(f"{shown.kept}; resume it: zoo finetune --resume {shown.id}")


@command(of=runs)
@click.argument("run")
@click.option("--to", metavar="URL", help="The server; default: where it was reported.")
def report(run: str, to: str | None, as_json: bool) -> None:
    """Report the run RUN to a server.

    As zoo finetune --report does while a run goes on, also of one that has ended, or was cut off:
    what is there already is not sent again. last is your newest.

    \b
    Example:
      zoo runs report last --to https://zoo.lab.org
    """
    page = open_zoo().report_run(run, to or "")
    if as_json:
        print_json({"page": page})
    else:
        click.echo(f"reported to {clean(page)}")


def _print_reporter(run: Run) -> None:
    """Who reports it, or to whom."""
    if run.reporter:
        heard = f"; last heard {ago(run.heard)}" if run.heard else ""
        paragraph(f"reported by {run.reporter} since {run.reported}{heard}", "  ")
    if run.told_to:
        paragraph(f"reported to {run.told_to}", "  ")


def _outcome(result: Mapping[str, Any]) -> None:
    """What training gained, and why that may be nothing."""
    if gained := result.get("gained"):
        paragraph(gained["text"], "  ")
    if warning := result.get("warning"):
        paragraph(f"WARNING: {warning}", "  ")


@command(of=runs)
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Those in which nothing was written in the last DAYS.",
)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Those in this state."
)
@flag("--resumable", help="Also those that could be resumed.")
@flag("--results", help="Also those that a checkpoint here relies on; the checkpoint stays.")
@flag("--yes", help="Remove without asking.")
@dry_run
def rm(
    names: tuple[str, ...],
    older_than: float | None,
    states: tuple[State, ...],
    resumable: bool,
    results: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove runs with all that is in their folders.

    That is the runs RUN, or of all runs those that fit. One that is running is never removed, and
    what somebody may still need only when an option says so; its checkpoint stays in any case. What
    goes is shown first. Without --yes, and with nobody to ask, nothing is removed.

    \b
    Examples:
      zoo runs rm 20261127-081500
      zoo runs rm --state failed --state interrupted --resumable --dry-run
      zoo runs rm --older-than 180 --results --yes
    """
    zoo, done = open_zoo(), False
    plan = zoo.plan_remove_runs(
        *names, older_days=older_than, states=states, resumable=resumable, results=results
    )
    if not as_json:
        _removal(plan)
    if plan.runs and agreed("remove?", dry_run=dry_run, yes=yes, as_json=as_json):
        plan, done = zoo.remove_runs(plan), True
    if as_json:
        print_json({"removed": done, **plan.to_json()})
    elif done:
        click.echo(f"removed {plural(len(plan.runs), 'run')}, {size(plan.bytes)}")
    elif plan.runs:
        note("nothing was removed" + "; --yes removes" * (not dry_run))


def _removal(plan: Removal) -> None:
    """What goes, what is lost with it, and what stays."""
    rows = [
        (size(run.bytes), run.id, run.state, run.save, run.author, run.at[:10]) for run in plan.runs
    ]
    header = ("SIZE", "RUN", "STATE", "SAVED AS", "BY", "WRITTEN")
    if rows:
        table(header, rows, least_first=("BY", "WRITTEN", "SAVED AS"))
    for run in plan.runs:
        if run.lost:
            note(f"{run.save} loses with {run.id}: {'; '.join(run.lost)}")
    click.echo(f"{plural(len(plan.runs), 'run')}, {size(plan.bytes)} to remove")
    whys = (run.why(resumable=plan.resumable, results=plan.results) for run in plan.spared)
    for why, count in Counter(whys).items():
        note(f"{plural(count, 'run')} left alone: {why}")


@command(of=runs)
@click.argument("ids", nargs=-1, required=True)
@each_seed_option
def compare(ids: tuple[str, ...], each_seed: bool, as_json: bool) -> None:
    """Show the runs IDS side by side, as zoo compare does.

    \b
    Example:
      zoo runs compare last 20261127-081500
    """
    compared = open_zoo().compare_runs(*ids, fold=not each_seed)
    if as_json:
        print_json(compared.to_json())
    else:
        print_compared(compared)


def _recipe(run: Run) -> str:
    """What was chosen; defaults are in the JSON."""
    options = chosen(run.recipe, run.device).items()
    shown = (f"{name}={','.join(v) if isinstance(v, list) else v}" for name, v in options)
    return " ".join(shown)


def _figures(lines: Iterable[Json], score: str) -> None:
    """What candidates show on the validation images, and the result on the test images."""
    shown = [line for line in lines if line.get("kind") in CANDIDATES]
    figures = (name for line in shown for name, value in line.items() if isinstance(value, float))
    first = (score, "loss", "train_loss")
    names = sorted(
        {*figures} - {"time"}, key=lambda name: first.index(name) if name in first else len(first)
    )
    heads = [name.upper().replace("_", " ") for name in names]
    rows = [
        (
            line.get("name", line["kind"]),
            *(_number(line[name]) if name in line else "" for name in names),
            line["steps"],
        )
        for line in shown
    ]
    if rows:
        click.echo()
        table(("VALIDATION", *heads, "STEP"), rows, least_first=("STEP", *heads[:0:-1]))
    for line in lines:
        if line.get("kind") == "test":
            click.echo()
            _test(line, score)


def _test(line: Mapping[str, object], score: str) -> None:
    """The result, the score first."""
    known = {name: value for name, value in line.items() if isinstance(value, float)}
    images, groups = known.pop("test_images", None), known.pop("test_groups", None)
    known.pop("test_seen", None)  # the warning says it
    figures = with_intervals({name: v for name, v in known.items() if name != "time"})
    order = sorted(figures, key=lambda name: name != score)
    parts = "; ".join(f"{name.replace('_', ' ')} {figures[name]}" for name in order)
    paragraph(f"test{f' on {images:.0f} images' if images else ''}: {parts}")
    if groups:
        paragraph(of_groups(groups))


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < WIDE else f"{value:.3g}"


def _probe(line: Json) -> str:
    """What was chosen for the probe of each head, and what nearest neighbors would reach."""
    text = "probe: C " + ", ".join(f"{c:g}" for c in line["c"])
    if votes := line.get("knn"):
        text += "; nearest neighbors: accuracy " + ", ".join(
            f"{accuracy:.4f} (k = {int(k)})" for k, accuracy in votes.items()
        )
    return text


def _saved(run: Run) -> str:
    """The name of its result; in parentheses where there is none yet."""
    return run.save if run.status == "done" else f"({run.save})"


def _result(run: Run) -> str:
    """What it showed, or how it ended without."""
    if run.status == "silent":
        return f"last heard {ago(run.heard)}"
    if not run.result:
        return ", ".join(filter(None, (run.status, run.kept)))
    score = SCORE.get(run.recipe.get("task", ""), "")
    metrics = run.result.get("metrics", {})
    if score not in metrics:
        return run.status
    low, high = (metrics.get(f"{score}{end}") for end in ("_low", "_high"))
    text = f"{score.replace('_', ' ')} {brief(metrics[score], low, high, digits=4)}"
    gained = (run.result.get("gained") or {}).get("text", "")
    return f"{text}, by a probe: {NOTHING_GAINED}" if gained.endswith(NOTHING_GAINED) else text
