"""zoo init, index, plugins: set a zoo up."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo import config
from zoo.domain.words import plural
from zoo_cli.command import POSITIVE, command, flag, open_zoo
from zoo_cli.output import clean, note, print_json, table

if TYPE_CHECKING:
    from zoo import Zoo

__all__ = ["index", "init", "plugins"]


@command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
def init(folder: Path | None, as_json: bool) -> None:
    """Make a zoo in FOLDER.

    FOLDER is --home, ZOO_HOME, or else the current folder. A zoo that is there already is kept as
    it is. A zoo may lie in another one, which is told: commands use the nearest one upward.

    \b
    Example:
      zoo init
    """
    import zoo

    # Not open_zoo(): there may be none yet.
    named = click.get_current_context().meta.get("home") or config.home()
    home: Path = folder or named or Path()
    existed = zoo.Zoo.exists(home)
    with zoo.init(home) as opened:
        root = opened.root
    around = zoo.Zoo.around(root)
    if as_json:
        print_json({"root": str(root), "created": not existed, "inside": around})
        return
    click.echo(f"{'there is a zoo already' if existed else 'created an empty zoo'} in {root}")
    if around:
        note(f"it lies inside another zoo, {around}: commands run in {root} do not see that one")
        note(f"  to use the outer one here, too: --home {shlex.quote(around)}")


@command()
@click.argument("source")
@flag("--deep", help="Trace all their networks, too (timm: minutes).")
@click.option("--library", help="With hub: only what belongs to this library (timm).")
@click.option("--author", help="With hub: only what belongs to this owner.")
@click.option("--limit", type=POSITIVE, help="With hub: at most this many, the newest first.")
@click.option(
    "--results",
    multiple=True,
    metavar="FILE|URL",
    help="Join a table of results that timm publishes; repeatable.",
)
@flag(
    "--forget",
    help="Remove the listing instead: of --author, or all. Checkpoints that were pulled stay.",
)
def index(source: str, deep: bool, forget: bool, as_json: bool, **query: Any) -> None:
    """List the checkpoints of SOURCE, to search and pull them.

    SOURCE is the name of a source plugin: timm, torchvision or transformers (all published
    weights of the installed version), package (weights that installed Python packages ship), or
    hub (repositories of the HF Hub, newest first; the next run lists only what changed since).

    With --deep, zoo tree answers at once, for networks without published weights, too, and zoo
    search knows sizes that the source does not tell. An interrupted run resumes where it was.

    \b
    Examples:
      zoo index timm
      zoo index timm --deep
      zoo index timm --results results-imagenet.csv
      zoo index hub --library timm --author my-team
      zoo index hub --forget
    """
    zoo = open_zoo()
    if forget:
        _forget(zoo, source, query, as_json)
        return
    done = zoo.index(source, **query)
    report = done.to_json()
    if done.skipped:
        shown = ", ".join(done.skipped[:3]) + (", …" if len(done.skipped) > 3 else "")
        note(f"{len(done.skipped):,} that cannot be read are skipped: {shown}")
    if done.unheard:
        asked = " and ".join(f"--{key} {value}" for key, value in query.items() if value)
        note(f"{source} lists nothing for {asked or 'that'}; check the spelling")
    if deep:
        traced = zoo.trace(source)
        report |= traced.to_json()
    if as_json:
        print_json(report)
        return
    came = f"{done.came:,} added, " if done.came != done.entries else ""
    click.echo(f"{source}: {came}{done.entries:,} checkpoints")
    if deep:
        click.echo(f"{source}: {traced.traced:,} architectures traced")
        for name, why in traced.failed.items():
            note(clean(f"{name} could not be traced: {why}"))


def _forget(zoo: Zoo, source: str, query: dict[str, Any], as_json: bool) -> None:
    author = query.pop("author")
    if any(query.values()):
        raise click.UsageError("--forget goes with --author only")
    forgotten = zoo.forget_listing(source, author)
    if as_json:
        print_json({"source": source, "forgotten": forgotten})
    else:
        listed = plural(forgotten, "checkpoint is", "checkpoints are")
        click.echo(f"{source}: {listed} no longer listed")


@command(home=False)
def plugins(as_json: bool) -> None:
    """List the plugins, and whether they work.

    They are backbones, sources, heads and remotes, each with the package it is from. The exit
    status is 0 even if one is broken: it breaks nothing else.

    \b
    Example:
      zoo plugins
    """
    from zoo import Zoo

    available = Zoo.plugins()
    if as_json:
        print_json([plugin.to_json() for plugin in available])
        return
    rows = [
        (plugin.group.removeprefix("zoo."), plugin.name, plugin.origin, plugin.problem or "works")
        for plugin in available
    ]
    table(("KIND", "NAME", "FROM", ""), rows, least_first=("FROM",))
