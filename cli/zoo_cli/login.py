"""zoo login, logout: the token for a server of a zoo."""

from __future__ import annotations

import sys

import click

from zoo import config
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
@flag("--browser", help="By a page of the server, where you are signed in, and no token.")
@flag("--oidc", help="For what a service says of this job, signed: no secret is needed.")
@click.option(
    "--for", "name", default="", metavar="NAME", help="With --oidc: a name or a namespace."
)
def login(url: str, plain_http: bool, browser: bool, oidc: bool, name: str, as_json: bool) -> None:
    """Keep a token for the server of a zoo at URL.

    Who runs the server makes it: zoo serve token create. It is asked for, or read from standard
    input. Give none in a terminal, or --browser, and you are told of a page of the server, which
    gives this program one, to pull and to push what is new. It is kept in the file zoo/tokens.json
    of your own settings, which nobody else can read, and sent to that server and nowhere else. If
    ZOO_TOKEN is set, it comes first for the server that ZOO_SERVER names.

    With --oidc a job of CI gets one to append, for 15 minutes: zoo serve publisher says which. What
    says that it is that job is in ZOO_ID_TOKEN, or given by GitHub Actions, or in standard input.
    What takes longer gets another one in GitHub Actions; elsewhere, log in again.

    \b
    Examples:
      zoo login https://zoo.lab.org
      zoo login https://zoo.lab.org --browser
      zoo login http://127.0.0.1:8765 < token
      zoo login https://zoo.lab.org --oidc --for lab/flowers
    """
    from zoo import Zoo
    from zoo.logins import ServerUrl

    if (browser and oidc) or (name and not oidc):
        raise click.UsageError("--browser or --oidc, and --for with that.")
    server = ServerUrl.parse(url)
    if not plain_http:
        server.check_private()  # before anybody types a secret
    token = "" if browser or oidc else _typed()
    if oidc:
        account = Zoo.login_by_job(url, _given(), name=name, plain_http=plain_http)
    elif token:
        account = Zoo.login(url, token, plain_http=plain_http)
    elif browser or sys.stdin.isatty():
        account = Zoo.login_by_page(url, _show, plain_http=plain_http)
    else:
        raise InvalidOption("no token was given", hint="--browser needs none")
    if as_json:
        print_json({"url": url, "account": account})
    else:
        note(f"{url} knows you as {account}")


def _typed() -> str:
    if sys.stdin.isatty():
        what = "token (none: by a page in a browser)"
        token: str = click.prompt(what, hide_input=True, err=True, default="", show_default=False)
        return token.strip()
    return sys.stdin.readline().strip()


def _given() -> str:
    """What says which job this is, if the environment does not and somebody has sent it here."""
    if config.id_token() or config.id_token_request() or sys.stdin.isatty():
        return ""
    return sys.stdin.readline().strip()


def _show(page: str, code: str) -> None:
    note(f"open {page}")
    note(f"and see that it shows {code}; waiting for that")


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
