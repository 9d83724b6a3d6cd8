"""zoo login, logout: the token for a server of a zoo."""

from __future__ import annotations

import sys

import click

from zoo.errors import InvalidOption
from zoo_cli.command import command, flag
from zoo_cli.output import note, print_json

__all__ = ["login", "logout"]


@command()
@click.argument("url")
@flag(
    "--plain-http",
    help="Send the token to another machine over http://, too: others on the way can read it.",
)
def login(url: str, plain_http: bool, as_json: bool) -> None:
    """Keep a token for the server of a zoo at URL.

    Who runs the server makes it: zoo serve token create. It is asked for, or read from standard
    input, and kept in the file zoo/tokens.json of your own settings, which nobody else can read. It
    is sent to that server and nowhere else. If ZOO_TOKEN is set, it comes first for the server that
    ZOO_SERVER names.

    \b
    Examples:
      zoo login https://zoo.lab.org
      zoo login http://127.0.0.1:8765 < token
    """
    from zoo import Zoo
    from zoo.logins import ServerUrl

    server = ServerUrl.parse(url)
    if not plain_http:
        server.check_private()  # before anybody types a secret
    if sys.stdin.isatty():
        token = click.prompt("token", hide_input=True, err=True)
    else:
        token = sys.stdin.readline()
    if not token.strip():
        raise InvalidOption("no token was given")
    account = Zoo.login(url, token.strip(), plain_http=plain_http)
    if as_json:
        print_json({"url": url, "account": account})
    else:
        note(f"{url} knows you as {account}")


@command()
@click.argument("url")
def logout(url: str, as_json: bool) -> None:
    """Forget the token for the server at URL. It stays valid until it is revoked there.

    \b
    Example:
      zoo logout https://zoo.lab.org
    """
    from zoo import Zoo

    Zoo.logout(url)
    if as_json:
        print_json({"url": url})
    else:
        note(f"no token for {url} is kept any more")
