"""zoo serve audit, check, quota and backup: what those who run a server look at."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import to_builtins

from zoo.domain.quantity import read_bytes
from zoo.domain.words import plural
from zoo_cli.command import PLACE, POSITIVE, command, flag, open_accounts, open_zoo
from zoo_cli.output import note, print_json, size, table

if TYPE_CHECKING:
    from zoo.serve.watch.scrub import Pass
    from zoo.serve.who.audit import Audit, Row

__all__ = ["audit", "backup", "check", "quota"]

TIMES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


@command()
@click.option("--since", type=click.DateTime(TIMES), help="From this day or time on, in UTC.")
@click.option("--who", default="", metavar="ACCOUNT", help="What this account did or tried.")
@click.option("--name", default="", help="What was done with this, and with what is below it.")
@click.option("--limit", type=POSITIVE, default=50, help="The newest so many.")
@flag("--check", help="See that no row was changed, taken out or added in between.")
def audit(
    since: datetime | None, who: str, name: str, limit: int, check: bool, as_json: bool
) -> None:
    """Show who changed what, and what was refused.

    Told is what is done over HTTP, and by the zoo serve commands.

    Rows are added and never changed; each has the hash of the one before. NAME is a repository, a
    namespace, an account or the id of a token. What zoo does with names on the command line is in
    their own log: zoo log.

    \b
    Examples:
      zoo serve audit
      zoo serve audit --since 2026-11-01 --who ann
      zoo serve audit --name team/flowers --json
      zoo serve audit --check
    """
    rows = open_accounts().audit
    if check:
        _check(rows, as_json=as_json)
        return
    begin = since.strftime(TIMES[1]) if since else ""
    entries = rows.newest(since=begin, who=who, name=name, limit=limit)
    if as_json:
        print_json([row.to_json() for row in entries])
    elif entries:
        table(
            ("ROW", "WHEN", "WHO", "FROM", "WHAT", "NAME", "MORE"), [_shown(row) for row in entries]
        )
    else:
        note("there are no such rows")


def _shown(row: Row) -> tuple[object, ...]:
    what = row.action if row.result == "done" else f"{row.action}: {row.result}"
    who, address = row.who or row.token or "-", row.address or "here"
    return row.number, row.at, who, address, what, row.name or "-", row.detail or "-"


def _check(rows: Audit, *, as_json: bool) -> None:
    head, wrong = rows.check()
    if as_json:
        print_json({"number": head.number, "hash": head.hash, "problems": wrong})
    else:
        for problem in wrong:
            note(problem)
        if not wrong:
            click.echo(f"{plural(head.number, 'row')} as written; the newest is {head}")
    click.get_current_context().exit(1 if wrong else 0)


@command()
def check(as_json: bool) -> None:
    """Show what is wrong with the set-up, and what a scrub found.

    A server reads its store again and again, slowly, to see that it is what was stored; zoo verify
    does all of it at once. Beside that: what was sent and has no name yet, who may read
    accounts.db, free space, clocks, the audit log. The address is looked at when a server starts.

    \b
    Examples:
      zoo serve check
      zoo serve check --json
    """
    from zoo.serve.watch.check import problems
    from zoo.serve.watch.scrub import read_scrubbed
    from zoo.serve.watch.waiting import waiting

    workspace, accounts = open_zoo().workspace, open_accounts()
    scrubbed, sent = read_scrubbed(workspace.store), waiting(workspace.store)
    wrong = problems(workspace, accounts, scrubbed)
    if as_json:
        passes = {"last": to_builtins(scrubbed.last), "now": to_builtins(scrubbed.now)}
        usage = {kind: each._asdict() for kind, each in sent.items()}
        print_json({"problems": wrong, "scrub": passes, "waiting": usage})
    else:
        click.echo(_scrub_line("the last scrub", scrubbed.last))
        if scrubbed.now:
            click.echo(_scrub_line("the one that goes on", scrubbed.now))
        for kind, each in sent.items():
            if each.files:
                what = "else" if kind == "rest" else kind
                click.echo(f"sent and not committed, {what}: {_counted(*each)}")
        for problem in wrong or ["nothing is wrong"]:
            note(problem)
    click.get_current_context().exit(1 if wrong else 0)


def _scrub_line(which: str, scrub: Pass | None) -> str:
    if scrub is None:
        return "no scrub has ended yet"
    read = f"{_counted(scrub.files, scrub.bytes)}, {len(scrub.damaged)} damaged"
    ended = scrub.ended.isoformat() if scrub.ended else "now"
    return f"{which} ({scrub.began.isoformat()} to {ended}): {read}"


def _counted(files: int, bytes_: int) -> str:
    return f"{plural(files, 'file')}, {size(bytes_)}"


@command()
@click.argument("namespace", metavar="[NAMESPACE]", required=False)
@click.argument("most", metavar="[BYTES]", required=False)
def quota(namespace: str | None, most: str | None, as_json: bool) -> None:
    """Say or list how many bytes a namespace may hold.

    BYTES is a number with kB, MB, GB or TB, or none. What names lead to counts, and what they led
    to, until a prune deletes it: each tensor and file once in a namespace, whoever else has it,
    too. What is more is refused over HTTP; what zoo itself does beside the server is not.

    \b
    Examples:
      zoo serve quota lab 200GB
      zoo serve quota lab none
      zoo serve quota
    """
    from zoo.serve.keep.room import UsageCounter

    quotas = open_accounts().quotas
    if namespace and most:
        quotas.set(namespace, None if most == "none" else read_bytes(most))
    room = UsageCounter(open_zoo().workspace.store)
    rows = [
        (each, bytes_, room.after(each).total)
        for each, bytes_ in quotas.all().items()
        if namespace in (None, each)
    ]
    if as_json:
        print_json([dict(zip(("namespace", "bytes", "holds"), row, strict=True)) for row in rows])
    elif rows:
        shown = [(each, size(bytes_), size(holds)) for each, bytes_, holds in rows]
        table(("NAMESPACE", "MAY HOLD", "HOLDS"), shown)
    else:
        note(f"{namespace or 'each namespace'} may hold what the disk has room for")


@command()
@click.argument("to", type=PLACE, metavar="FOLDER|BUCKET")
def backup(to: str, as_json: bool) -> None:
    """Copy the zoo with its accounts into FOLDER, while it is served.

    The copy is a zoo: zoo verify checks it, and copied to where it is to be it is served as the
    other one was. What is there from an earlier time is not copied again, and nothing is deleted.
    Damaged objects and manifests are not copied, but named at the end, which is an error.
    With ZOO_DB, back that database up first: pg_dump does.

    From the folder of a machine that serves a bucket, all of the bucket is copied. With --home, a
    backup of one is copied into an empty BUCKET, which machines serve then.

    \b
    Examples:
      zoo serve backup /mnt/backup/zoo
      zoo --home /mnt/backup/zoo serve backup s3://lab/restored
    """
    from zoo.machine import is_bucket
    from zoo.serve.watch.backup import back_up, copy_to_bucket

    workspace = open_zoo().workspace
    if is_bucket(to):
        files, bytes_ = copy_to_bucket(workspace, to)
    else:
        files, bytes_ = back_up(workspace, Path(to).expanduser())
    if as_json:
        print_json({"files": files, "bytes": bytes_})
    else:
        click.echo(f"copied {plural(files, 'file')}, {size(bytes_)} to {to}")
