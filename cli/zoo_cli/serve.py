"""zoo serve: a zoo over HTTP, and who may read what of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_cli.command import command, flag, group, open_zoo
from zoo_cli.output import note, print_json, table

if TYPE_CHECKING:
    from zoo.serve.who.accounts import Account, Accounts, Token

__all__ = ["serve"]

LEVELS = ("public", "internal", "private")
HOST, PORT = "127.0.0.1", 8765


def _accounts() -> Accounts:
    """The accounts of the zoo to work in, closed with the command."""
    from zoo.serve.who.accounts import Accounts

    opened = Accounts.of(open_zoo().workspace)
    click.get_current_context().call_on_close(opened.close)
    return opened


@group
@click.option("--host", default=HOST, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help="0: any that is free.")
@click.option(
    "--public-url",
    default="",
    metavar="URL",
    help="The URL that clients use, where a proxy stands in front.",
)
@flag("--quiet", help="Print no line for each request.")
@click.pass_context
def serve(
    context: click.Context, host: str, port: int, public_url: str, quiet: bool, as_json: bool
) -> None:
    """Serve the zoo to clients of the model hub, until Ctrl-C.

    huggingface_hub, the hf program, timm and transformers read it with HF_ENDPOINT and HF_TOKEN
    set. Who may read what: zoo serve user, token and access.

    \b
    Examples:
      zoo serve
      zoo serve user add ann
      zoo serve access team/secret private
      zoo serve --public-url https://zoo.lab.org
    """
    if context.invoked_subcommand:
        return
    from zoo.serve import check_installed

    check_installed()
    from zoo.serve.run import Address, run

    workspace = open_zoo(quiet=True).workspace
    none = not _accounts().all()

    def told(url: str) -> None:
        if as_json:
            print_json({"url": url})
            return
        click.echo(f"serving {workspace.root} at {url} (Ctrl-C ends it)")
        if none:
            note("nobody has an account yet; this makes one, and its first token:")
            note("  zoo serve user add NAME")
        else:
            note(f"clients need: export HF_ENDPOINT={url} HF_TOKEN=zoo_...")

    run(workspace, Address.checked(host, port, public_url), told, quiet=quiet)


@group
@click.pass_context
def user(context: click.Context, as_json: bool) -> None:
    """List who has an account, or make and delete accounts.

    \b
    Examples:
      zoo serve user
      zoo serve user add ann
      zoo serve user rm ann
    """
    if not context.invoked_subcommand:
        _show_users(_accounts().all(), as_json=as_json)


@command("ls", of=user)
def user_ls(as_json: bool) -> None:
    """List who has an account."""
    _show_users(_accounts().all(), as_json=as_json)


@command("add", of=user)
@click.argument("name")
@flag("--admin", help="Who may read everything.")
def user_add(name: str, admin: bool, as_json: bool) -> None:
    """Make an account for NAME, and print its first token.

    It may read what is internal or public, all in the namespace NAME, and what it is allowed with
    zoo serve access.
    """
    accounts = _accounts()
    accounts.add(name, admin=admin)
    token, secret = accounts.new_token(name, "first")
    _show_secret(token, str(secret), as_json=as_json)


@command("rm", of=user)
@click.argument("account")
def user_rm(account: str, as_json: bool) -> None:
    """Delete an account with its tokens."""
    _accounts().remove(account)
    if as_json:
        print_json({"name": account})
    else:
        note(f"{account} and its tokens are deleted")


@group
@click.pass_context
def token(context: click.Context, as_json: bool) -> None:
    """List tokens, or make and revoke them. Nobody can print one again.

    \b
    Examples:
      zoo serve token create ann --name laptop --days 90
      zoo serve token ls
      zoo serve token revoke 1a2B3c4D
    """
    if not context.invoked_subcommand:
        _show_tokens(_accounts().tokens(), as_json=as_json)


@command("ls", of=token)
def token_ls(as_json: bool) -> None:
    """List tokens, without their secrets."""
    _show_tokens(_accounts().tokens(), as_json=as_json)


@command("create", of=token)
@click.argument("account")
@click.option("--name", default="token", help="What you call it.")
@click.option("--days", type=click.IntRange(1, 36500), help="It expires after so many.")
def token_create(account: str, name: str, days: int | None, as_json: bool) -> None:
    """Make a token for ACCOUNT to read with, and print it this once."""
    lasts = None if days is None else days * 86400.0
    made, secret = _accounts().new_token(account, name, lasts=lasts)
    _show_secret(made, str(secret), as_json=as_json)


@command("revoke", of=token)
@click.argument("token_id", metavar="ID")
def token_revoke(token_id: str, as_json: bool) -> None:
    """End the token ID at once."""
    _accounts().revoke(token_id)
    if as_json:
        print_json({"id": token_id})
    else:
        note(f"{token_id} is revoked")


@command()
@click.argument("path", metavar="[NAME]", required=False)
@click.argument("level", type=click.Choice(LEVELS), required=False)
@click.option("--allow", metavar="ACCOUNT", help="Let somebody read NAME.")
@click.option("--disallow", metavar="ACCOUNT", help="Take that back.")
def access(
    path: str | None, level: str | None, allow: str | None, disallow: str | None, as_json: bool
) -> None:
    """Say who may read NAME, or list what was said.

    NAME is a namespace, or a name in one. public: anybody may, without a token. internal: who has
    an account, which is how all is unless you say otherwise. private: who is allowed, whom the
    namespace is called after, and admins. What is said of a name wins over what is said of its
    namespace; who may read a namespace may read all in it.

    \b
    Examples:
      zoo serve access team/flowers public
      zoo serve access secret private --allow ann
      zoo serve access
    """
    if path is None and (allow or disallow):
        raise click.UsageError("say of which NAME")
    accounts = _accounts()
    if path is not None:
        if not (level or allow or disallow):
            raise click.UsageError(f"say who may read {path}: one of {', '.join(LEVELS)}")
        accounts.change(path, level=level, allow=allow, disallow=disallow)
    rows = [each for each in accounts.given() if path in (None, each.path)]
    if as_json:
        print_json([row.to_json() for row in rows])
    elif rows:
        table(
            ("NAME", "LEVEL", "READERS"),
            [(row.path, row.level or "-", ", ".join(row.readers) or "-") for row in rows],
        )
    else:
        note("all is internal: whoever has an account may read it")


for command_below in (user, token, access):
    serve.add_command(command_below)


def _show_users(accounts: list[Account], *, as_json: bool) -> None:
    if as_json:
        print_json([account.to_json() for account in accounts])
    elif accounts:
        rows = [(a.name, "admin" if a.admin else "-", a.made) for a in accounts]
        table(("NAME", "ROLE", "MADE"), rows)
    else:
        note("nobody has an account yet; make one: zoo serve user add NAME")


def _show_tokens(tokens: list[Token], *, as_json: bool) -> None:
    if as_json:
        print_json([each.to_json() for each in tokens])
    elif tokens:
        rows = [
            (t.id, t.account, t.name, f"revoked {t.revoked}" if t.revoked else t.expires or "-",
             t.used or "-")
            for t in tokens
        ]  # fmt: skip
        table(("ID", "ACCOUNT", "NAME", "EXPIRES", "USED"), rows)
    else:
        note("there are no tokens yet; make one: zoo serve token create ACCOUNT")


def _show_secret(made: Token, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**made.to_json(), "token": secret})
        return
    click.echo(secret)
    until = f" until {made.expires}" if made.expires else ""
    note(f"a token for {made.account} to read with{until}; it is shown this once")
