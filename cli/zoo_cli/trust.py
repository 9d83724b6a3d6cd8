"""zoo trust: allow code that checkpoints name."""

from __future__ import annotations

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, note, print_json, table

__all__ = ["trust"]


@click.command()
@click.argument("name", required=False)
@click.option("--remove", is_flag=True, help="Trust it no longer.")
@as_json
@home_option
def trust(name: str | None, remove: bool, as_json: bool) -> None:
    """Allow checkpoints in this zoo whose network is NAME, an import path (acme.nets:make).

    A checkpoint may come from anybody, and to build a network of its own module is to run that
    module. So nothing is imported that you have not named: here, or to zoo import. It holds for the
    file that the module is in now. Without NAME: list what is allowed.

    \b
    Examples:
      zoo trust
      zoo trust acme.nets:make
      zoo trust acme.nets:make --remove
    """
    zoo = open_zoo()
    if name is None and remove:
        raise click.UsageError("--remove takes back one NAME: give it.")
    if name is None:
        known = sorted(zoo.trusted().items())
        if as_json:
            print_json([{"name": path, "files": files} for path, files in known])
        elif known:
            table(("NAME", "FROM"), [(path, file) for path, files in known for file in files])
        else:
            note("no import path is trusted; allow one: zoo trust MODULE:NAME")
    elif remove:
        zoo.distrust(name)
        note(f"{name} is no longer trusted")
    else:
        file = zoo.trust(name)
        if as_json:
            print_json({"name": name, "file": file})
        else:
            click.echo(clean(f"{name}  from {file}"))
