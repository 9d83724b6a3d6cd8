"""zoo verify, repack, reindex, trust: keep a zoo sound, small and safe."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from zoo.domain.words import not_finite, plural, some
from zoo.errors import how_to_update
from zoo_cli.command import agreed, command, dry_run, flag, open_zoo
from zoo_cli.output import clean, note, print_json, size, table

if TYPE_CHECKING:
    from zoo.store.verify import VerifyReport
    from zoo.transfer.repack import Pair

__all__ = ["reindex", "repack", "trust", "verify"]


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
    status is 1 if there is damage. What is in a bucket is downloaded for it. Checkpoints with NaN
    or infinite weights are named, too: that is no damage, and zoo show says it from then on.

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


def _tell(report: VerifyReport) -> None:
    for damage in report.healed:
        click.echo(clean(f"repaired {damage.kind} {damage.name}"))
    for damage in (*report.damages, *report.newer):
        word = "newer  " if damage.newer else "damaged"
        click.echo(clean(f"{word}  {damage.kind} {damage.name}: {damage.problem}"))
        for name in damage.needed_by:
            click.echo(clean(f"         needed by {name}"))
    for odd in report.not_finite:
        click.echo(clean(f"unfit    {some(odd.names)}: {not_finite(odd.tensors)}"))
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


def _tell_of_the_rest(report: VerifyReport) -> None:
    """What a repair leaves alone."""
    if any(not damage.mendable for damage in report.damages):
        note(
            "--repair does not fix refs, evaluations, folders that cannot be read, files that do "
            "not belong in a store, and manifests with wrong digests of files: see docs/store.md, "
            "Verify and repair"
        )
    if report.newer:
        note(f"upgrade zoo to check what has a newer format: {how_to_update()}")


def _verdict(report: VerifyReport) -> str:
    unchecked = f"; {len(report.newer)} of a newer format, not checked" if report.newer else ""
    sound = "the rest sound" if report.newer else "all sound"
    return (f"{len(report.damages)} damaged" if report.damages else sound) + unchecked


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
    if not plan.pairs or not agreed("repack?", dry_run=dry_run, yes=yes, as_json=as_json):
        if as_json:
            print_json({"repacked": False, **plan.to_json()})
        elif plan.pairs:
            note("nothing was changed" + "; --yes repacks" * (not dry_run))
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
        why = (
            "its parent"
            if pair.distance is None
            else f"weights differ by {100 * pair.distance:.2g}%"
        )
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
