"""zoo serve: a zoo over HTTP, and who may do what with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo import config
from zoo.domain.quantity import read_bytes
from zoo.domain.words import plural
from zoo.errors import ZooError
from zoo.serve.watch.logs import FORMATS, Format
from zoo.serve.who.may import LEVELS, ROLES
from zoo_cli.command import command, flag, group, open_accounts, open_zoo
from zoo_cli.output import note, print_json, table
from zoo_cli.serve_sso import publisher, sso
from zoo_cli.serve_watch import audit, backup, check, quota
from zoo_cli.serve_webhooks import webhook
from zoo_cli.token_options import token_options

if TYPE_CHECKING:
    from zoo.serve.who.accounts import Accounts, Token
    from zoo.serve.who.seals import Seals
    from zoo.workspace import Workspace

__all__ = ["serve"]

HOST, PORT, CACHE = "127.0.0.1", 8765, "20GB"


@group
@click.option("--host", default=HOST, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help="0: any that is free.")
@click.option(
    "--public-url",
    default="",
    metavar="URL",
    help="The URL that clients use, where a proxy stands in front.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="Processes that answer; one that dies is started again.",
)
@click.option(
    "--store",
    metavar="URL",
    help="A bucket that several machines serve, such as s3://lab/zoo; ZOO_DB names their database.",
)
@click.option(
    "--cache",
    metavar="SIZE",
    help="With --store: so much of the bucket is kept in this machine's folder.  "
    f"[default: {CACHE}]",
)
@click.option(
    "--scrub",
    metavar="SIZE",
    help="With --store: read so much of the bucket a day again, to see that it is what was stored.",
)
@flag("--try", "tries", help="Who has an account tries images on the pages of models.")
@flag("--quiet", help="Print no line for each request.")
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    help="json: an object in each line of the log, which goes to stderr.",
)
@click.pass_context
def serve(
    context: click.Context,
    host: str,
    port: int,
    public_url: str,
    workers: int,
    store: str | None,
    cache: str | None,
    scrub: str | None,
    tries: bool,
    quiet: bool,
    log_format: Format,
    as_json: bool,
) -> None:
    """Serve the zoo to clients of the model hub, until Ctrl-C.

    huggingface_hub, the hf program, timm and transformers read it with HF_ENDPOINT and HF_TOKEN
    set. Who may do what: zoo serve user, team, role, access, token and protect.

    \b
    Examples:
      zoo serve
      zoo serve user add ann
      zoo serve access team/secret private
      zoo serve --public-url https://zoo.lab.org --workers 4
      zoo serve --store s3://lab/zoo --cache 200GB --workers 8
      zoo serve --store s3://lab/zoo --scrub 50GB
      zoo serve --try
    """
    if context.invoked_subcommand:
        return
    from zoo.serve import check_installed

    check_installed(tries=tries)
    from zoo.serve.run import Address, join, run
    from zoo.serve.watch.check import open_to_others
    from zoo.serve.who.seals import seals_of
    from zoo.serve.workers import run_workers

    for option, value in (("--cache", cache), ("--scrub", scrub)):
        if value and not store:
            raise click.UsageError(f"{option} is of a bucket: it goes with --store.")
    daily = read_bytes(scrub) if scrub else None
    if daily == 0:
        raise click.UsageError("--scrub is the bytes that may be read a day; without it, none are.")
    if store:
        home = context.meta.get("home") or config.home() or "."
        join(Path(home).resolve(), store, read_bytes(cache or CACHE))
    workspace = open_zoo(quiet=True).workspace
    seals = seals_of(workspace.store)  # before any worker would fail by it
    for problem in open_to_others(workspace):
        note(problem)
    has, address = _names(workspace), Address.checked(host, port, public_url)
    with _setup_key(seals) as key:

        def announce(url: str) -> None:
            _tell_begun(workspace, url, has, key, as_json=as_json)

        if workers == 1:
            at = workspace, address, announce
            run(*at, quiet=quiet, log_format=log_format, tries=tries, scrub=daily)
        else:
            workspace.close()
            where = workspace.root, address, workers, announce
            run_workers(*where, quiet=quiet, log_format=log_format, tries=tries, scrub=daily)


@contextmanager
def _setup_key(seals: Seals) -> Iterator[str]:
    """A key to make the first account by, as long as the server answers; empty: there is one."""
    setup = open_accounts().setup
    key = setup.key(seals) if setup.needed() else ""
    try:
        yield key
    finally:
        with suppress(ZooError):  # it was used
            setup.end(seals, key)


def _tell_begun(workspace: Workspace, url: str, has: str, key: str, *, as_json: bool) -> None:
    """Say where the server answers, and what who begins with it needs."""
    if as_json:
        print_json({"url": url})
    else:
        click.echo(f"serving {workspace.store} at {url} (Ctrl-C ends it)")
        note(has)
    if key:
        note("nobody has an account yet; who opens this within the hour makes one, an admin's:")
        note(f"  {url}/-/setup?key={key}")
    elif not as_json:
        note(f"clients need: export HF_ENDPOINT={url} HF_TOKEN=zoo_...")


def _names(workspace: Workspace) -> str:
    """How many names there are to serve, and how many only remotes have."""
    here = {ref for ref, *_ in workspace.registry.refs()}
    remotes = workspace.remotes.all()
    listed = {ref for name in remotes for ref in workspace.registry.remote_refs(name)} - here
    more = f"; {len(listed):,} more only listed, not here yet: zoo pull NAME" if listed else ""
    return plural(len(here), "name") + more


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
        context.invoke(user_ls, as_json=as_json)


@command("ls", of=user)
def user_ls(as_json: bool) -> None:
    """List who has an account."""
    users = [each for each in open_accounts().all() if not each.team]
    if as_json:
        print_json([account.to_json() for account in users])
    elif users:
        rows = [(a.name, "admin" if a.admin else "-", a.made) for a in users]
        table(("NAME", "ROLE", "MADE"), rows)
    else:
        note("nobody has an account yet; make one: zoo serve user add NAME")


@command("add", of=user)
@click.argument("name")
@flag("--admin", help="Who may do everything.")
def user_add(name: str, admin: bool, as_json: bool) -> None:
    """Make an account for NAME, and print its first token, which is for reading.

    It may read what is internal or public, do all in the namespace NAME, and what it has a role
    for: zoo serve role.
    """
    from zoo.serve.who.newcomer import add_account

    accounts = open_accounts()
    add_account(open_zoo(quiet=True).workspace, accounts, name, admin=admin)
    token, secret = accounts.new_token(name, "first")
    _show_secret(token, str(secret), as_json=as_json)
    if not as_json:
        note(f"one that pushes, too: zoo serve token create {name} --for write")


@command("rm", of=user)
@click.argument("account")
def user_rm(account: str, as_json: bool) -> None:
    """Delete an account with its tokens."""
    open_accounts().remove(account)
    if as_json:
        print_json({"name": account})
    else:
        note(f"{account} and its tokens are deleted")


@group
@click.pass_context
def team(context: click.Context, as_json: bool) -> None:
    """List teams and who is in them, or make and delete them.

    A team has a namespace. Who has a role in it is in the team: zoo serve role. What a team has a
    role for, all in it have.

    \b
    Examples:
      zoo serve team add lab
      zoo serve role lab ann writer
      zoo serve team
    """
    if not context.invoked_subcommand:
        context.invoke(team_ls, as_json=as_json)


@command("ls", of=team)
def team_ls(as_json: bool) -> None:
    """List teams and who is in them."""
    accounts = open_accounts()
    roles = {given.path: given.roles for given in accounts.rules().given()}
    members = {each.name: roles.get(each.name, {}) for each in accounts.all() if each.team}
    if as_json:
        print_json([{"name": name, "members": grants} for name, grants in members.items()])
    elif members:
        rows = [
            (name, ", ".join(f"{who} ({role})" for who, role in sorted(grants.items())) or "-")
            for name, grants in members.items()
        ]
        table(("TEAM", "MEMBERS"), rows)
    else:
        note("there are no teams yet; make one: zoo serve team add NAME")


@command("add", of=team)
@click.argument("name")
def team_add(name: str, as_json: bool) -> None:
    """Make a team, with the namespace NAME."""
    account = open_accounts().add(name, team=True)
    if as_json:
        print_json(account.to_json())
    else:
        note(f"{name} is a team; who is in it: zoo serve role {name} ACCOUNT writer")


@command("rm", of=team)
@click.argument("name", metavar="TEAM")
def team_rm(name: str, as_json: bool) -> None:
    """Delete a team, and who has which role in it. Checkpoints stay."""
    open_accounts().remove(name, team=True)
    if as_json:
        print_json({"name": name})
    else:
        note(f"{name} is deleted; what is in its namespace stays")


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
        context.invoke(token_ls, as_json=as_json)


@command("ls", of=token)
def token_ls(as_json: bool) -> None:
    """List tokens, without their secrets."""
    tokens = open_accounts().tokens()
    if as_json:
        print_json([each.to_json() for each in tokens])
    elif tokens:
        rows = [
            (
                t.id,
                t.account,
                t.name,
                " ".join((t.purpose, *t.only)),
                f"revoked {t.revoked}" if t.revoked else t.expires or "-",
                t.used or "-",
            )
            for t in tokens
        ]
        table(("ID", "ACCOUNT", "NAME", "FOR", "EXPIRES", "USED"), rows)
    else:
        note("there are no tokens yet; make one: zoo serve token create ACCOUNT")


@command("create", of=token)
@click.argument("account")
@token_options("ACCOUNT")
def token_create(
    account: str, name: str, purpose: str, only: tuple[str, ...], days: int | None, as_json: bool
) -> None:
    """Make a token for ACCOUNT, and print it this once.

    One to append is for machines that train: it makes repositories and adds files, and can neither
    move a name to other work nor delete or replace a file.

    \b
    Examples:
      zoo serve token create ann --for write --days 90
      zoo serve token create ci --for append --only team/flowers
    """
    lasts = None if days is None else days * 86400.0
    created, secret = open_accounts().new_token(account, name, purpose, only=only, lasts=lasts)
    _show_secret(created, str(secret), as_json=as_json)


@command("revoke", of=token)
@click.argument("token_id", metavar="ID")
def token_revoke(token_id: str, as_json: bool) -> None:
    """End the token ID at once, and say whom it has linked to its account: they stay."""
    accounts = open_accounts()
    accounts.revoke(token_id)
    linked = accounts.providers.linked_by(token_id)
    if as_json:
        print_json({"id": token_id, "linked": [each.to_json() for each in linked]})
        return
    note(f"{token_id} is revoked")
    for each in linked:
        note(f"by it, {each.subject} at {each.issuer} was linked to {each.account}, and stays so")
        note(f"to end that: zoo serve sso unlink NAME {shlex.quote(each.subject)}")


@command()
@click.argument("path", metavar="[NAME]", required=False)
@click.argument("level", type=click.Choice(LEVELS), required=False)
def access(path: str | None, level: str | None, as_json: bool) -> None:
    """Say who may read NAME, or list what was said.

    NAME is a namespace, or a name in one. public: anybody may, without a token. internal: who has
    an account, which is how all is unless you say otherwise. private: who has a role (zoo serve
    role), whom the namespace is called after, and admins. What is said of a name wins over what is
    said of its namespace.

    \b
    Examples:
      zoo serve access team/flowers public
      zoo serve access secret private
      zoo serve access
    """
    accounts = open_accounts()
    if level and path is not None:
        accounts.set_level(path, level=level)
        _tell_if_none(path, accounts)
    given = accounts.rules().given()
    rows = [each for each in given if each.level and path in (None, each.path)]
    if as_json:
        print_json([{"path": row.path, "level": row.level} for row in rows])
    elif rows:
        table(("NAME", "LEVEL"), [(row.path, str(row.level)) for row in rows])
    else:
        note(f"{path or 'all'} is internal: whoever has an account may read it")


def _tell_if_none(path: str, accounts: Accounts) -> None:
    """Tell that there is no such name or namespace: it can be made later, or is a typing error."""
    workspace = open_zoo().workspace
    refs = workspace.store.readable_refs()[0]
    known = {name for ref in refs for name in (ref.path, ref.namespace)}
    if path in known or path in {each.name for each in accounts.all()}:
        return
    near = workspace.registry.near(path)
    mean = f"; did you mean {' or '.join(near)}?" if near else ""
    note(f"there is no {path} yet: what was said holds once there is{mean}")


@command()
@click.argument("path", metavar="[NAME]", required=False)
@click.argument("who", metavar="[ACCOUNT]", required=False)
@click.argument("given", metavar="[ROLE]", type=click.Choice((*ROLES, "none")), required=False)
def role(path: str | None, who: str | None, given: str | None, as_json: bool) -> None:
    """Give ACCOUNT, or a team, a role for NAME, or list roles.

    NAME is a namespace, or a name in one. A reader reads it. A writer also adds versions and names,
    moves and deletes those that are not protected. A maintainer also moves protected ones. An owner
    also deletes and renames all of it, and says who may read it. none takes a role away. Who has a
    role in the namespace of a team is in the team.

    \b
    Examples:
      zoo serve role team ann writer
      zoo serve role team/secret ben reader
      zoo serve role team/secret ben none
      zoo serve role
    """
    if who and not given:
        raise click.UsageError(f"say which role: {', '.join(ROLES)} or none")
    accounts = open_accounts()
    if path is not None and who and given:
        accounts.grant(path, who, None if given == "none" else given)
        _tell_if_none(path, accounts)
    rows = [
        {"path": rule.path, "who": who, "role": role}
        for rule in accounts.rules().given()
        if path in (None, rule.path)
        for who, role in sorted(rule.roles.items())
    ]
    if as_json:
        print_json(rows)
    elif rows:
        table(("NAME", "WHO", "ROLE"), [tuple(row.values()) for row in rows])
    else:
        note("there are no roles; give one: zoo serve role NAME ACCOUNT writer")


@command()
@click.argument("pattern", required=False)
@flag("--off", help="End that.")
def protect(pattern: str | None, off: bool, as_json: bool) -> None:
    """Keep the names of PATTERN where they are, or list patterns.

    Over HTTP, a writer may make such a name, and nobody but a maintainer may move or delete it
    then. Without a tag, a pattern stands for all tags. One name that is there is protected from
    everybody by: zoo protect.

    \b
    Examples:
      zoo serve protect 'team/*:v*'
      zoo serve protect '*/prod'
      zoo serve protect '*/prod' --off
    """
    if off and pattern is None:
        raise click.UsageError("say which PATTERN")
    accounts = open_accounts()
    if pattern is not None:
        accounts.protect(pattern, on=not off)
    patterns = accounts.patterns()
    if as_json:
        print_json(patterns)
    elif patterns:
        for each in patterns:
            click.echo(each)
    else:
        note("no names are protected by a pattern")


WHO = (user, team, role, access, token, protect, sso, publisher)
WATCH = (audit, check, quota, backup, webhook)
for command_below in (*WHO, *WATCH):
    serve.add_command(command_below)


def _show_secret(entry: Token, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**entry.to_json(), "token": secret})
        return
    click.echo(secret)
    until = f" until {entry.expires}" if entry.expires else ""
    where = f", {' and '.join(entry.only)} only" if entry.only else ""
    note(
        f"a token for {entry.account} to {entry.purpose} with{where}{until}; it is shown this once"
    )
