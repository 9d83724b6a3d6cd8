"""zoo token: one's own tokens at a server that one is logged in to."""

from __future__ import annotations

import click

from zoo_cli.command import command, group
from zoo_cli.output import note, print_json, table
from zoo_cli.token_options import token_options

__all__ = ["token"]


@group
@click.pass_context
def token(context: click.Context, as_json: bool) -> None:  # noqa: ARG001 - as all groups
    """List your own tokens at a server, or make and revoke them.

    It takes a login (zoo login) by a token to write that is not for some names only. A token that
    expires makes none that lasts longer. Those of other accounts: zoo serve token, on the machine.

    \b
    Examples:
      zoo token ls https://zoo.lab.org
      zoo token create https://zoo.lab.org --name ci --for append --only lab/flowers --days 30
      zoo token revoke https://zoo.lab.org ci
    """
    if not context.invoked_subcommand:
        click.echo(context.get_help())


@command("ls", of=token)
@click.argument("url")
def token_ls(url: str, as_json: bool) -> None:
    """List your tokens at URL, without their secrets."""
    from zoo import Zoo

    tokens = Zoo.tokens(url)
    if as_json:
        print_json([each.to_json() for each in tokens])
        return
    rows = [
        (
            each.id,
            each.name,
            " ".join((each.purpose, *each.only)),
            each.ended or each.expires or "-",
            each.used or "-",
            "this login" if each.here else "-",
        )
        for each in tokens
    ]
    table(("ID", "NAME", "FOR", "EXPIRES", "USED", "HERE"), rows, least_first=("HERE",))


@command("create", of=token)
@click.argument("url")
@token_options("you")
def token_create(
    url: str, name: str, purpose: str, only: tuple[str, ...], days: int | None, as_json: bool
) -> None:
    """Make a token of yours at URL, and print it this once.

    \b
    Examples:
      zoo token create https://zoo.lab.org --name notebook
      zoo token create https://zoo.lab.org --name ci --for append --only lab/flowers --days 30
    """
    from zoo import Zoo

    done = Zoo.make_token(url, name, purpose=purpose, only=only, days=days)
    if as_json:
        print_json(done.to_json())
        return
    created = done.made
    click.echo(done.secret)
    where = f", {' and '.join(created.only)} only" if created.only else ""
    until = f" until {created.expires}" if created.expires else ""
    note(f"{created.name}, a token to {created.purpose} with{where}{until}; it is shown this once")


@command("revoke", of=token)
@click.argument("url")
@click.argument("which", metavar="NAME|ID")
def token_revoke(url: str, which: str, as_json: bool) -> None:
    """End your token NAME at URL at once.

    NAME may be its id. Those that end with it are at an end, too.
    """
    from zoo import Zoo

    ended = Zoo.revoke_token(url, which)
    if as_json:
        print_json({"id": ended.id, "name": ended.name})
        return
    note(f"{ended.name} ({ended.id}) is revoked")
    if ended.here:
        note(f"it was the one of this login: zoo logout {url}")
