"""zoo remote, clone, fetch: name remotes, and know what they have, without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.domain.words import plural
from zoo.errors import ZooError
from zoo.logins import ServerUrl, token_for
from zoo_cli.command import command, group, open_zoo
from zoo_cli.errors import failure
from zoo_cli.output import clean, note, print_json, table

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.transfer.fetch import Fetched

__all__ = ["clone", "fetch", "remote"]

SHOWN = 20
"""Names of a kind that are printed; JSON has all."""


@group
@click.pass_context
def remote(context: click.Context, as_json: bool) -> None:
    """List the remotes that have a short name here, or change them.

    \b
    Examples:
      zoo remote
      zoo remote add team /mnt/team/zoo
      zoo push team/flowers --to team
    """
    if context.invoked_subcommand:
        return
    known = open_zoo().remotes()
    if as_json:
        print_json(
            [{"name": name, "location": location} for name, location in sorted(known.items())]
        )
    elif known:
        table(("NAME", "LOCATION"), sorted(known.items()))
    else:
        note("no remotes yet; add one: zoo remote add NAME LOCATION")


@command("add", of=remote)
@click.argument("name")
@click.argument("location")
def remote_add(name: str, location: str, as_json: bool) -> None:
    """Give the remote at LOCATION (a folder or a URL) a short NAME."""
    zoo = open_zoo()
    zoo.add_remote(name, location)
    if as_json:
        print_json({"name": name, "location": zoo.remotes()[name]})
    else:
        note(f"{name} is {location}")
        place = zoo.remotes()[name]
        if "://" not in place and not Path(place).exists():
            note("it does not exist yet: the first push makes it, unless a letter is wrong")


@command("remove", of=remote)
@click.argument("name")
def remote_remove(name: str, as_json: bool) -> None:
    """Forget the short NAME. Nothing is deleted at the remote."""
    open_zoo().remove_remote(name)
    if as_json:
        print_json({"name": name})
    else:
        note(f"{name} is removed; nothing was deleted there")


@command()
@click.argument("remotes", nargs=-1, metavar="[REMOTE]...")
def fetch(remotes: tuple[str, ...], as_json: bool) -> None:
    """Learn what REMOTE, or each named remote, has now.

    REMOTE is a name of one, a URL or a folder; what is fetched without a name is known by that.

    Told are the names that are new there, have moved or are gone. All can then be found with zoo
    search and zoo show, and zoo log tells what is ahead or behind. No weights are fetched: zoo pull
    NAME does that.

    \b
    Examples:
      zoo fetch
      zoo fetch lab
      zoo fetch https://zoo.lab.org
    """
    zoo = open_zoo()
    names = remotes or sorted(zoo.remotes())
    if not names:
        raise click.UsageError("no remote has a short name yet: zoo remote add NAME LOCATION")
    fetched: dict[str, Fetched] = {}
    failed: dict[str, ZooError] = {}
    for name in names:
        try:
            fetched[name] = zoo.fetch(name)
        except ZooError as error:  # the others may be there
            failed[name] = error
    _report(fetched, failed, _anonymous(zoo), as_json=as_json)
    if failed:
        raise list(failed.values())[-1]


@command()
@click.argument("remote")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
def clone(remote: str, folder: Path | None, as_json: bool) -> None:
    """Make a zoo in FOLDER that follows the store at REMOTE.

    REMOTE, a folder or URL, is called "origin" there. FOLDER is the current one unless given.
    Nothing is pulled yet: search it, and pull what you need.

    \b
    Example:
      zoo clone s3://lab/zoo flowers
    """
    import zoo

    named = click.get_current_context().meta.get("home")
    place = folder or named or Path()
    existed = zoo.Zoo.exists(place)
    with zoo.clone(remote, place) as opened:
        fetched = opened.fetch("origin")
        if not as_json:
            click.echo(
                f"{'there is a zoo already' if existed else 'created a zoo'} in {opened.root}"
            )
    _report({"origin": fetched}, {}, {}, as_json=as_json)
    if fetched.refs and not as_json:
        note("these are listed, and not here yet: zoo pull NAME, or zoo pull '*' --from origin")


def _report(
    fetched_by_name: dict[str, Fetched],
    failed: dict[str, ZooError],
    anonymous: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    if as_json:
        errors = [{"remote": name, "error": failure(e).to_json()} for name, e in failed.items()]
        print_json([*(fetched.to_json() for fetched in fetched_by_name.values()), *errors])
        return
    for name, fetched in fetched_by_name.items():
        names, new = plural(len(fetched.refs), "name"), plural(len(fetched.new), "new checkpoint")
        click.echo(f"{name}: {names}, {new}")
        _list("new", [f"{ref}  {fetched.refs[ref].short}" for ref in fetched.added])
        moved = fetched.moved.items()
        _list("moved", [f"{ref}  {old.short} to {new.short}" for ref, (old, new) in moved])
        _list("gone", [str(ref) for ref in fetched.gone])
        if fetched.gone and (url := anonymous.get(name)):
            note(f"it was asked without a token, which not all names are shown to: zoo login {url}")
        for ref, problem in fetched.damaged.items():
            note(clean(f"{name} has {ref} damaged: {problem}"))
        for folder, problem in fetched.unlisted.items():
            note(clean(f"names in {folder} at {name} are left out: {problem}"))
    for name in [*failed][:-1]:  # the last one ends the command
        note(f"{name}: {failed[name]}")


def _anonymous(zoo: Zoo) -> dict[str, str]:
    """The servers among the remotes for which there is no token, by name."""
    served = {name: at for name, at in zoo.remotes().items() if at.startswith("http")}
    anonymous = {}
    for name, location in served.items():
        with suppress(ZooError):
            if token_for(ServerUrl.parse(location)) is None:
                anonymous[name] = location
    return anonymous


def _list(what: str, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        click.echo(clean(f"  {what:5}  {line}"))
    if len(lines) > SHOWN:
        click.echo(f"  {what:5}  and {len(lines) - SHOWN} more")
