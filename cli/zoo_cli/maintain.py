"""zoo verify, prune, reindex, delete, protect, trust: keep a zoo sound, small and safe."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

import click

from zoo.domain.words import plural
from zoo.errors import UnknownName, how_to_update
from zoo_cli.command import command, flag, open_zoo
from zoo_cli.output import clean, note, print_json, size, table

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.domain.history import RefEntry
    from zoo.store.prune import Plan
    from zoo.store.verify import Report
    from zoo.transfer.repack import Pair

__all__ = ["delete", "protect", "prune", "reindex", "repack", "trust", "verify"]


@command()
@click.argument("remote", required=False)
@flag("--repair", help="Repair what is damaged, from the remote --from.")
@click.option("--from", "source", metavar="REMOTE", help="Remote that has intact copies.")
@click.pass_context
def verify(
    context: click.Context, remote: str | None, repair: bool, source: str | None, as_json: bool
) -> None:
    """Hash everything in the zoo, or in REMOTE, again.

    Names what is damaged or missing and the checkpoints that need it, and what is of a newer
    format and cannot be checked. Files are put together and compared with their SHA-256. The exit
    status is 1 if there is damage. What is in a bucket is downloaded for it.

    \b
    Examples:
      zoo verify
      zoo verify /mnt/team/zoo
      zoo verify --repair --from /mnt/team/zoo
      zoo verify /mnt/team/zoo --repair          (from this zoo)
      zoo verify s3://lab/zoo
    """
    if source and not repair:
        raise click.UsageError("--from says where to --repair from")
    if repair and not (source or remote):
        raise click.UsageError("--repair needs an intact copy: --from REMOTE")
    zoo = open_zoo()
    report = zoo.repair(source, remote=remote) if repair else zoo.verify(remote)
    left = report.damages
    if as_json:
        print_json(report.to_json())
    else:
        _tell(report)
    if any(damage.mendable for damage in left) and not as_json:
        note(_advice(remote, source, repaired=repair))
    _tell_of_the_rest(report)
    context.exit(1 if left else 0)


def _tell(report: Report) -> None:
    for damage in report.healed:
        click.echo(clean(f"repaired {damage.kind} {damage.name}"))
    for damage in (*report.damages, *report.newer):
        word = "newer  " if damage.newer else "damaged"
        click.echo(clean(f"{word}  {damage.kind} {damage.name}: {damage.problem}"))
        for name in damage.needed_by:
            click.echo(clean(f"         needed by {name}"))
    click.echo(f"{plural(report.files, 'file')}, {size(report.bytes)}: {_verdict(report)}")


def _advice(remote: str | None, source: str | None, *, repaired: bool) -> str:
    """What mends the damage that is left."""
    line = f"zoo verify {quote(remote)} --repair" if remote else "zoo verify --repair"
    if not repaired:
        return f"repair it: {line}" + ("" if remote else " --from REMOTE")
    return (
        f"{source or 'this zoo'} has no intact copy of what is left; in a zoo that has one, "
        f"or with a remote that has: {line} --from REMOTE"
    )


def _tell_of_the_rest(report: Report) -> None:
    """What a repair leaves alone."""
    if any(not damage.mendable for damage in report.damages):
        note(
            "--repair does not fix refs, evaluations, folders that cannot be read, files that do "
            "not belong in a store, and manifests with wrong digests of files: see docs/store.md, "
            "Verify and repair"
        )
    if report.newer:
        note(f"upgrade zoo to check what has a newer format: {how_to_update()}")


def _verdict(report: Report) -> str:
    unchecked = f"; {len(report.newer)} of a newer format, not checked" if report.newer else ""
    sound = "the rest sound" if report.newer else "all sound"
    return (f"{len(report.damages)} damaged" if report.damages else sound) + unchecked


dry_run = flag("--dry-run", help="Only show what would be done, also with --yes.")


def _agreed(question: str, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Whether to do what was shown: who can be asked is."""
    if dry_run or yes:
        return not dry_run
    return not as_json and sys.stdin.isatty() and click.confirm(question)


@command()
@click.argument("name")
@click.option(
    "--from",
    "remote",
    metavar="REMOTE",
    help="Delete it at this remote (a folder, URL, or remote name), and not here.",
)
@flag("--restore", help="Bring back a name that was deleted.")
@flag("--yes", help="Delete at a remote without asking.")
@dry_run
def delete(
    name: str, remote: str | None, restore: bool, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Delete a name, here or at a remote.

    Its checkpoint and history stay until a prune; until then, --restore brings it back. What others
    have pulled stays with them. At a remote this asks first; with nobody to ask, it needs --yes.

    \b
    Examples:
      zoo delete team/flowers:old
      zoo delete team/flowers:old --from /mnt/team/zoo
      zoo delete --restore team/flowers:old --from /mnt/team/zoo
    """
    if dry_run and restore:
        raise click.UsageError("--dry-run shows what would be deleted, and --restore deletes none")
    zoo = open_zoo()
    if dry_run:
        entry = zoo.entry(name, remote=remote)
        but = ", were it not protected (zoo protect --off)" if entry.protected else ""
        line = f"would delete {_told(name, remote, entry)}{but}"
    elif restore:
        there: RefEntry | None = None
        with suppress(UnknownName):
            there = zoo.entry(name, remote=remote)
        entry = zoo.restore(name, remote=remote)
        line = f"restored {name}  {entry.manifest.short}"
        if there == entry:
            line = f"{name} is not deleted, nothing was changed  {entry.manifest.short}"
    else:
        seen = _confirmed(zoo, name, remote, yes=yes, as_json=as_json) if remote else None
        entry = zoo.delete(name, remote=remote, of=seen)
        line = f"deleted {name}; restore it: zoo delete --restore {name}"
        line += f" --from {quote(remote)}" if remote else ""
    if as_json:
        print_json({"ref": name, "remote": remote, **entry.to_json()})
    else:
        click.echo(clean(line))


def _confirmed(zoo: Zoo, name: str, remote: str, *, yes: bool, as_json: bool) -> RefEntry:
    """The entry of a name at a remote that is to be undone, if the user wants that."""
    entry = zoo.entry(name, remote=remote)
    plan = _told(name, remote, entry)
    if yes:
        return entry
    if as_json or not sys.stdin.isatty():
        raise click.UsageError(
            f"this deletes {plan}, for all who use that remote: --yes does it without asking"
        )
    click.echo(clean(plan))
    click.confirm("delete that name for all who use that remote?", abort=True)
    return entry


def _told(name: str, remote: str | None, entry: RefEntry) -> str:
    where = f" at {remote}" if remote else ""
    return f"{name}{where}: {entry.manifest.short}, {entry.why} by {entry.by}, {entry.at}"


@command()
@click.argument("name")
@flag("--off", help="Remove the protection.")
@click.option("--at", "remote", metavar="REMOTE", help="Protect it at this remote, and not here.")
def protect(name: str, off: bool, remote: str | None, as_json: bool) -> None:
    """Keep a name where it is.

    A protected name can be neither moved nor deleted, here or at the remote --at, until zoo protect
    --off.

    \b
    Examples:
      zoo protect team/flowers:v3
      zoo protect team/flowers:v3 --at /mnt/team/zoo
    """
    entry = open_zoo().protect(name, on=not off, remote=remote)
    if as_json:
        print_json({"ref": name, "remote": remote, **entry.to_json()})
    else:
        click.echo(clean(f"{name} {'is protected' if entry.protected else 'can be moved'}"))


days_option = partial(click.option, type=click.FloatRange(min=0), show_default=True, metavar="DAYS")


@command()
@click.argument("remote", required=False)
@days_option("--keep", default=90, help="Keep what a name pointed at in the last DAYS.")
@days_option("--grace", default=14, help="Keep files younger than DAYS.")
@flag("--yes", help="Delete without asking.")
@dry_run
def prune(
    remote: str | None, keep: float, grace: float, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Show what nothing needs any more, and delete it.

    That is in the zoo, or in REMOTE. Kept is what a name points at, or pointed at in the last days,
    with all that it needs. In the zoo, weights of trials (zoo advise) that no run went on from are
    deleted, too; what they showed is kept. Without --yes, and with nobody to ask, nothing is
    deleted.

    \b
    Examples:
      zoo prune --dry-run
      zoo prune --keep 0 --grace 0 --yes
      zoo prune /mnt/team/zoo --json
      zoo prune s3://lab/zoo
    """
    zoo, done = open_zoo(), False
    plan = zoo.plan_prune(remote, keep_days=keep, grace_days=grace)
    for problem in plan.unread:
        note(f"left alone: {problem}")
    if not as_json:
        _show(plan, keep, grace)
    if plan.doomed and _agreed("delete?", dry_run=dry_run, yes=yes, as_json=as_json):
        plan = zoo.prune(plan, remote, keep_days=keep, grace_days=grace)
        done = True
    if as_json:
        print_json({"deleted": done, **plan.to_json()})
    elif done:
        click.echo(f"deleted {plural(len(plan.doomed), 'file')}, {size(plan.bytes)}")
    elif plan.doomed:
        note("nothing was deleted; --yes deletes")


def _show(plan: Plan, keep: float, grace: float) -> None:
    if plan.doomed:
        rows = [(item.kind, item.name, size(item.bytes), item.why) for item in plan.doomed]
        table(("WHAT", "NAME", "SIZE", "WHY"), rows, least_first=("WHAT",))
    young = plural(plan.young, "file is", "files are")
    spared = f"; {young} too young to delete (--grace {grace:g})" if plan.young else ""
    stay = plural(len(plan.rebased), "manifest that stays is", "manifests that stay are")
    anew = f"; {stay} encoded anew" if plan.rebased else ""
    click.echo(f"{plural(len(plan.doomed), 'file')}, {size(plan.bytes)} to delete{spared}{anew}")
    if plan.recent:
        kept = plural(plan.recent, "checkpoint without a name is", "checkpoints without names are")
        note(f"{kept} kept: a name pointed there in the last {keep:g} days (--keep 0 keeps none)")


@command()
@click.argument("remote")
@flag("--smallest", help="Take more time to make it smaller.")
@flag("--yes", help="Do it without asking.")
@dry_run
def repack(remote: str, smallest: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Make REMOTE smaller: keep related checkpoints as differences.

    A push does so where the parent is at the remote. This does it for what was pushed before its
    parent, or imported without one: against the nearest checkpoint of the same architecture. What
    is replaced is deleted once the difference was decoded and hashed. Nobody pushes meanwhile.
    Without --yes, and with nobody to ask, nothing is changed.

    \b
    Examples:
      zoo repack /mnt/team/zoo --dry-run
      zoo repack s3://lab/zoo --yes
    """
    zoo = open_zoo()
    plan = zoo.plan_repack(remote)
    if not as_json:
        for problem in plan.unread:
            note(f"left alone: {problem}")
        if plan.pairs:
            _show_pairs(plan.pairs)
        number = plural(len(plan.pairs), "checkpoint")
        about = f"{size(plan.bytes)}: about {size(plan.estimate)} as differences"
        click.echo(f"{number}, {about}" if plan.pairs else "nothing to repack")
    if not plan.pairs or not _agreed("repack?", dry_run=dry_run, yes=yes, as_json=as_json):
        if as_json:
            print_json({"repacked": False, **plan.to_json()})
        elif plan.pairs:
            note("nothing was changed; --yes repacks")
        return
    done = zoo.repack(remote, smallest=smallest)
    if as_json:
        print_json({"repacked": True, **done.to_json()})
        return
    for problem in done.left:
        note(f"left as it is: {problem}")
    before, after = size(done.bytes_before), size(done.bytes_after)
    click.echo(f"encoded {plural(done.objects, 'object')}: {before} before, {after} now")


def _show_pairs(pairs: tuple[Pair, ...]) -> None:
    rows = []
    for pair in pairs:
        name, base = (
            names[0] if names else digest.short
            for names, digest in ((pair.names, pair.manifest), (pair.base_names, pair.base))
        )
        why = "its parent" if pair.distance is None else f"weights {100 * pair.distance:.2g}% apart"
        rows.append((name, base, why, size(pair.bytes), size(pair.estimate)))
    table(("CHECKPOINT", "AGAINST", "WHY", "SIZE", "ABOUT"), rows)


@command()
def reindex(as_json: bool) -> None:
    """Make the index, registry.db, again.

    It is made from the store, the sources here, and the networks. A damaged index is set aside and
    replaced. What only other machines know, such as what remotes have, is kept where the index can
    be read; else zoo fetch and zoo index bring it back.

    \b
    Example:
      zoo reindex
    """
    done = open_zoo().reindex()
    if as_json:
        print_json(done.to_json())
        return
    click.echo(f"{plural(done.refs, 'name')}, {plural(done.checkpoints, 'checkpoint')} indexed")
    if done.replaced:
        note("the index was rebuilt; to know again what remotes have: zoo fetch REMOTE")


@command()
@click.argument("name", required=False)
@flag("--remove", help="Trust it no longer.")
def trust(name: str | None, remove: bool, as_json: bool) -> None:
    """Allow checkpoints here to import and run their network NAME.

    NAME is an import path (acme.nets:make). A checkpoint may come from anybody, and to build a
    network of its own module is to run that module. So nothing is imported that you have not named:
    here, or to zoo import. It holds for the file that the module is in now. Without NAME: list what
    is allowed.

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
