"""zoo verify: keep a store sound."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, note, print_json, size

if TYPE_CHECKING:
    from zoo.store.verify import Damage

__all__ = ["verify"]


@click.command()
@click.argument("remote", required=False)
@click.option("--repair", is_flag=True, help="Mend what is damaged, from the remote --from.")
@click.option("--from", "source", metavar="REMOTE", help="Where to take sound copies from.")
@as_json
@home_option
@click.pass_context
def verify(
    context: click.Context, remote: str | None, repair: bool, source: str | None, as_json: bool
) -> None:
    """Hash everything in the zoo, or in REMOTE, again.

    Names what is damaged or missing and the checkpoints that need it. The exit status is 1 if
    there is damage.

    \b
    Examples:
      zoo verify
      zoo verify /mnt/team/zoo
      zoo verify --repair --from /mnt/team/zoo
    """
    if repair != bool(source):
        raise click.UsageError("--repair and --from REMOTE go together")
    zoo = open_zoo()
    healed: tuple[Damage, ...] = ()
    if source:
        repaired = zoo.repair(source, remote=remote)
        healed, report = repaired.healed, repaired.report
    else:
        report = zoo.verify(remote)
    left = report.damages
    if as_json:
        print_json({
            "files": report.files,
            "bytes": report.bytes,
            "damages": [asdict(damage) for damage in left],
            "healed": [asdict(damage) for damage in healed],
        })  # fmt: skip
    else:
        for damage in healed:
            click.echo(clean(f"healed   {damage.kind} {damage.name}"))
        for damage in left:
            click.echo(clean(f"damaged  {damage.kind} {damage.name}: {damage.problem}"))
            for name in damage.needed_by:
                click.echo(clean(f"         needed by {name}"))
        click.echo(f"{report.files} files, {size(report.bytes)}: "
                   + (f"{len(left)} damaged" if left else "all sound"))  # fmt: skip
    if left and not source:
        note("mend it: zoo verify --repair --from REMOTE")
    context.exit(1 if left else 0)
