"""zoo serve sso, zoo serve publisher: people and jobs that another service vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo_cli.command import command, flag, group, open_accounts
from zoo_cli.output import note, print_json, table

if TYPE_CHECKING:
    from zoo.serve.who.providers import Provider

__all__ = ["publisher", "sso"]

host_option = click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A host beside the issuer's own that its document may name; several times for more.",
)


@group
@click.pass_context
def sso(context: click.Context, as_json: bool) -> None:
    """List services by which people sign in, or add and remove them.

    Such a service speaks OpenID Connect: Keycloak, Authentik, Entra ID, Okta, Google, GitLab. It
    has to know this server, with the redirect URI that is printed.

    \b
    Examples:
      zoo serve sso add lab --issuer https://id.lab.org --client-id zoo --secret-file secret
      zoo serve sso link lab 248289761001 ann
      zoo serve sso
    """
    if not context.invoked_subcommand:
        context.invoke(sso_ls, as_json=as_json)


@command("ls", of=sso)
def sso_ls(as_json: bool) -> None:
    """List services by which people sign in, and who signs in so."""
    accounts = open_accounts()
    providers, identities = accounts.providers.all(), accounts.providers.identities()
    if as_json:
        shown = [each.to_json() for each in providers]
        print_json({"providers": shown, "identities": [each.to_json() for each in identities]})
        return
    if not providers:
        note("people sign in by tokens alone; this adds a service: zoo serve sso add NAME")
        return
    rows = [
        (each.name, each.issuer, each.client_id, _for_whom(each) if each.creates else "-")
        for each in providers
    ]
    table(("NAME", "ISSUER", "CLIENT", "ACCOUNTS FOR"), rows)
    if rules := [(rule.group, rule.team, rule.role, p.name) for p in providers for rule in p.rules]:
        click.echo()
        table(("GROUP", "TEAM", "ROLE", "BY"), rules)
    if identities:
        click.echo()
        linked = [(e.account or "(deleted)", e.issuer, e.subject, e.made) for e in identities]
        table(("ACCOUNT", "ISSUER", "SUBJECT", "SINCE"), linked)


@command("add", of=sso)
@click.argument("name")
@click.option("--issuer", required=True, metavar="URL", help="As its own document has it.")
@click.option("--client-id", required=True, help="What it calls this server.")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the secret that it knows this server by, read anew each time.",
)
@flag("--create", help="Who signs in for the first time gets an account.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="With --create: only for verified e-mails of this domain; several times for more.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=TEXT",
    help="With --create: only for whom it says this of, word for word; several times for more.",
)
@click.option("--groups-claim", default="", metavar="NAME", help="What has their groups, a list.")
@click.option(
    "--team-of",
    "rules",
    multiple=True,
    metavar="GROUP=TEAM[:ROLE]",
    help="With that: who is in GROUP is in TEAM, as a reader or in ROLE; several times for more.",
)
@host_option
def sso_add(
    name: str,
    issuer: str,
    client_id: str,
    secret_file: Path | None,
    create: bool,
    domains: tuple[str, ...],
    claims: tuple[str, ...],
    groups_claim: str,
    rules: tuple[str, ...],
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let people sign in by a service, which is called NAME on the page.

    Its secret is in a file that not everybody can read, or in ZOO_SSO_SECRET_NAME of the server's
    environment; the zoo keeps none. Without --create, an account has to be linked first: by who has
    it, on their page of settings, or by zoo serve sso link. What --team-of gives follows at each
    sign-in, and is taken where they are in that group no more; roles given by hand stay.

    \b
    Examples:
      zoo serve sso add lab --issuer https://id.lab.org --client-id zoo --secret-file secret
      zoo serve sso add lab --issuer https://id.lab.org --client-id zoo --create --domain lab.org
      zoo serve sso add google --issuer https://accounts.google.com --client-id zoo \\
        --host oauth2.googleapis.com --host www.googleapis.com --create --claim hd=lab.org
      zoo serve sso add lab --issuer https://id.lab.org --client-id zoo --create \\
        --groups-claim groups --team-of lab-vision=vision:writer
    """
    from zoo.serve.sso import check_sso
    from zoo.serve.sso.code import read_secret_file
    from zoo.serve.who.groups import read_rule
    from zoo.serve.who.providers import Provider

    check_sso()
    file = "" if secret_file is None else str(secret_file.resolve())
    if secret_file:
        read_secret_file(secret_file)
    provider = Provider(
        name=name,
        issuer=issuer,
        client_id=client_id,
        secret_file=file,
        hosts=hosts,
        domains=tuple(domain.lower() for domain in domains),
        creates=create,
        claims=_claims(claims),
        groups_claim=groups_claim,
        rules=tuple(map(read_rule, rules)),
    )
    open_accounts().providers.add(provider)
    if as_json:
        print_json(provider.to_json())
    else:
        note(f"people sign in by {name}; there, the redirect URI is: URL/-/sso/{name}/back")
        note("where URL is this server's, as browsers have it (--public-url)")


@command("rm", of=sso)
@click.argument("name")
def sso_rm(name: str, as_json: bool) -> None:
    """Let nobody sign in by NAME any more; sessions, and tokens that were made in them, end."""
    open_accounts().providers.remove(name)
    if as_json:
        print_json({"name": name})
    else:
        note(f"nobody signs in by {name} any more, and who has is signed out")


@command("link", of=sso)
@click.argument("name")
@click.argument("subject")
@click.argument("account")
def sso_link(name: str, subject: str, account: str, as_json: bool) -> None:
    """Say that who is SUBJECT at NAME is ACCOUNT here.

    SUBJECT is the claim sub, which stays whatever they are called. So does one come back whose
    account was deleted.
    """
    accounts = open_accounts()
    issuer = accounts.providers.get(name).issuer
    accounts.providers.link(issuer, subject, account)
    if as_json:
        print_json({"issuer": issuer, "subject": subject, "account": account})
    else:
        note(f"who signs in by {name} as {subject} is {account}")


@command("unlink", of=sso)
@click.argument("name")
@click.argument("subject")
def sso_unlink(name: str, subject: str, as_json: bool) -> None:
    """Forget whose account SUBJECT at NAME is, and end that account's sessions by NAME."""
    accounts = open_accounts()
    issuer = accounts.providers.get(name).issuer
    accounts.providers.unlink(issuer, subject)
    if as_json:
        print_json({"issuer": issuer, "subject": subject})
    else:
        note(f"{subject} at {name} is nobody here")


def _claims(given: tuple[str, ...]) -> dict[str, str]:
    for claim in given:
        if "=" not in claim:
            raise click.UsageError(f"--claim {claim}: write NAME=TEXT.")
    return dict(claim.split("=", 1) for claim in given)


def _for_whom(provider: Provider) -> str:
    return " ".join((*provider.domains, *(f"{n}={t}" for n, t in provider.claims.items()))) or "all"


@group
@click.pass_context
def publisher(context: click.Context, as_json: bool) -> None:
    """List jobs that get a token for a while, or add and remove them.

    A job of GitHub Actions, GitLab CI or the like shows what its service says of it, signed, and
    gets a token to append that lasts for 15 minutes: zoo login URL --oidc. No secret is kept there.

    \b
    Examples:
      zoo serve publisher
      zoo serve publisher add lab/flowers --as ci \\
        --issuer https://token.actions.githubusercontent.com \\
        --claim repository=lab/flowers --claim ref=refs/heads/main
      zoo serve publisher rm publisher-1f0c2a9b
    """
    if not context.invoked_subcommand:
        context.invoke(publisher_ls, as_json=as_json)


@command("ls", of=publisher)
def publisher_ls(as_json: bool) -> None:
    """List jobs that get a token for a while."""
    publishers = open_accounts().publishers.all()
    if as_json:
        print_json([each.to_json() for each in publishers])
    elif publishers:
        rows = [
            (e.id, e.path, e.account, e.issuer, " ".join(f"{n}={t}" for n, t in e.claims.items()))
            for e in publishers
        ]
        table(("ID", "FOR", "AS", "ISSUER", "CLAIMS"), rows)
    else:
        note("no jobs get tokens; this has some get one: zoo serve publisher add NAME")


@command("add", of=publisher)
@click.argument("path", metavar="NAME")
@click.option("--issuer", required=True, metavar="URL", help="Who vouches for the job.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=TEXT",
    help="What it must say of the job, word for word; several times for more.",
)
@click.option(
    "--as", "account", default="", metavar="ACCOUNT", help="As whom it acts; else NAME's namespace."
)
@host_option
def publisher_add(
    path: str,
    issuer: str,
    claims: tuple[str, ...],
    account: str,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give jobs of which ISSUER says so a token for NAME.

    NAME is a repository, a namespace, or a pattern of repositories in one: 'lab/flowers-*'. The
    token may do what the account may there, but only to append. All claims must be there. Name
    those that nobody else's jobs have, by number where there is one (repository_id): whoever takes
    over a name that became free has another number.

    \b
    Examples:
      zoo serve publisher add lab/flowers --as ci --issuer https://gitlab.com \\
        --claim project_id=4711 --claim ref=main --claim ref_protected=true
    """
    from zoo.serve.sso import check_sso

    check_sso()
    accounts, required = open_accounts(), _claims(claims)
    added = accounts.publishers.add(path, issuer, required, account=account, hosts=hosts)
    if as_json:
        print_json(added.to_json())
    else:
        click.echo(added.id)
        note(f"such jobs get a token for {added.path}, as {added.account}: zoo login URL --oidc")


@command("rm", of=publisher)
@click.argument("publisher_id", metavar="ID")
def publisher_rm(publisher_id: str, as_json: bool) -> None:
    """Give such jobs no token any more; those that they have end."""
    open_accounts().publishers.remove(publisher_id)
    if as_json:
        print_json({"id": publisher_id})
    else:
        note(f"{publisher_id} is removed, and its tokens have ended")
