"""zoo delete, protect, prune: take names away, or keep them, and free what nothing needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from shlex import quote
from typing import TYPE_CHECKING

import click

from zoo.domain.reference import is_pattern
from zoo.domain.words import plural, some
from zoo.errors import UnknownName
from zoo_cli.command import agreed, command, dry_run, flag, open_zoo
from zoo_cli.output import clean, note, print_json, size, table

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.domain.history import RefEntry
    from zoo.store.forgotten import Forgotten
    from zoo.store.prune import FileToDelete, PrunePlan

__all__ = ["delete", "deprecate", "protect", "prune"]


@command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--from",
    "remote",
    metavar="REMOTE",
    help="Delete it at this remote (a folder, URL, or remote name), and not here.",
)
@flag("--restore", help="Bring back a name that was deleted.")
@flag("--yes", help="Delete at a remote, or all that a pattern matches, without asking.")
@dry_run
def delete(
    names: tuple[str, ...],
    remote: str | None,
    restore: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete names, here or at a remote.

    The checkpoint and history of a name stay until a prune; until then, --restore brings it back.
    What others have pulled stays with them. In a NAME, * stands for any characters, tags included.
    At a remote, and with a *, this asks first; with nobody to ask, it needs --yes.

    \b
    Examples:
      zoo delete team/flowers:old
      zoo delete team/flowers:old team/roses
      zoo delete 'trials/*' --dry-run
      zoo delete team/flowers:old --from /mnt/team/zoo
      zoo delete --restore team/flowers:old --from /mnt/team/zoo
    """
    if dry_run and restore:
        raise click.UsageError("--dry-run shows what would be deleted, and --restore deletes none")
    zoo, asks = open_zoo(), bool(remote) or any(map(is_pattern, names))
    refs = [*zoo.names_like(names, remote=remote, deleted=restore)]
    seen: dict[str, RefEntry] = {}
    if dry_run or (not restore and (asks or len(refs) > 1)):
        seen = {name: zoo.entry(name, remote=remote) for name in refs}
        # The protected first: what cannot be deleted is told before anything is.
        refs.sort(key=lambda name: not seen[name].protected)
    if asks and not (restore or dry_run):
        _confirm(seen, remote, yes=yes, as_json=as_json)
    rows = []
    for name in refs:
        line, entry = _done(zoo, name, remote, seen.get(name), restore=restore, dry_run=dry_run)
        rows.append({"ref": name, "remote": remote, **entry.to_json()})
        if not as_json:
            click.echo(clean(line))
    if as_json:
        alone = len(names) == 1 and not is_pattern(names[0])
        print_json(rows[0] if alone else rows)


def _done(
    zoo: Zoo, name: str, remote: str | None, seen: RefEntry | None, *, restore: bool, dry_run: bool
) -> tuple[str, RefEntry]:
    """Do what was asked with one name; what is to be said of it, and its entry."""
    if restore:
        return _restored(zoo, name, remote)
    if dry_run:
        seen = seen or zoo.entry(name, remote=remote)
        but = ", were it not protected (zoo protect --off)" if seen.protected else ""
        return f"would delete {_describe(name, remote, seen)}{but}", seen
    entry = zoo.delete(name, remote=remote, of=seen)
    line = f"deleted {name}; restore it: zoo delete --restore {name}"
    return line + (f" --from {quote(remote)}" if remote else ""), entry


def _restored(zoo: Zoo, name: str, remote: str | None) -> tuple[str, RefEntry]:
    there: RefEntry | None = None
    with suppress(UnknownName):
        there = zoo.entry(name, remote=remote)
    entry = zoo.restore(name, remote=remote)
    if there == entry:
        return f"{name} is not deleted, nothing was changed  {entry.manifest.short}", entry
    return f"restored {name}  {entry.manifest.short}", entry


def _confirm(
    entries: Mapping[str, RefEntry], remote: str | None, *, yes: bool, as_json: bool
) -> None:
    """See that the user wants these names to be deleted."""
    if yes:
        return
    plan = [_describe(name, remote, entry) for name, entry in entries.items()]
    users = ", for all who use that remote" if remote else ""
    if as_json or not sys.stdin.isatty():
        what = plan[0] if len(plan) == 1 else f"{len(plan)} names, {some([*entries])}"
        raise click.UsageError(f"this deletes {what}{users}: --yes does it without asking")
    for line in plan:
        click.echo(clean(line))
    those = "that name" if len(plan) == 1 else f"those {len(plan)} names"
    click.confirm(f"delete {those}{users.removeprefix(',')}?", abort=True)


def _describe(name: str, remote: str | None, entry: RefEntry) -> str:
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


@command()
@click.argument("name")
@click.argument("why", default="")
@flag("--off", help="It may be used again.")
@click.option("--at", "remote", metavar="REMOTE", help="Say so at this remote, and not here.")
def deprecate(name: str, why: str, off: bool, remote: str | None, as_json: bool) -> None:
    """Say that a name is to be used no more, and WHY.

    Whoever pulls it from here, or from the remote --at, is told; zoo show, ls and search say it. It
    can still be used. The next version that the name moves to is not deprecated.

    \b
    Examples:
      zoo deprecate team/flowers:v2 'mislabeled tulips: use team/flowers:v3'
      zoo deprecate team/flowers:v2 'use team/flowers:v3' --at /mnt/team/zoo
      zoo deprecate team/flowers:v2 --off
    """
    if off == bool(why.strip()):
        raise click.UsageError("say why, and what to use instead; or end it: --off")
    entry = open_zoo().deprecate(name, why.strip(), remote=remote)
    if as_json:
        print_json({"ref": name, "remote": remote, **entry.to_json()})
    elif entry.deprecated:
        click.echo(clean(f"{name} is deprecated: {entry.deprecated}"))
    else:
        click.echo(clean(f"{name} is not deprecated"))


days_option = partial(click.option, type=click.FloatRange(min=0), show_default=True, metavar="DAYS")


@command()
@click.argument("remote", required=False)
@days_option("--keep", default=90, help="Keep what a name pointed at in the last DAYS.")
@days_option("--grace", default=14, help="Keep files younger than DAYS.")
@days_option("--caches", help="Delete caches of training, too, unused for DAYS (0: all).")
@flag("--all", "every", help="Show each file, with its hash.")
@flag("--yes", help="Delete without asking.")
@dry_run
def prune(
    remote: str | None,
    keep: float,
    grace: float,
    caches: float | None,
    every: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show what nothing needs any more, and delete it.

    That is in the zoo, or in REMOTE. Kept is what a name points at, or pointed at in the last days,
    with all that it needs. In the zoo, weights of trials (zoo advise) that no run continued are
    deleted, too; what they showed is kept. Training computes caches again. Without --yes, and with
    nobody to ask, nothing is deleted. Runs: zoo runs rm.

    \b
    Examples:
      zoo prune --dry-run
      zoo prune --keep 0 --grace 0 --yes
      zoo prune --caches 30
      zoo prune /mnt/team/zoo --json
      zoo prune s3://lab/zoo
    """
    if remote and caches is not None:
        raise click.UsageError("--caches is for the zoo itself: a remote has none")
    zoo, done = open_zoo(), False
    days = {"keep_days": keep, "grace_days": grace}
    plan = zoo.plan_prune(remote, **days, cache_days=caches)
    for problem in plan.unread:
        note(f"left alone: {problem}")
    if not as_json:
        _show(plan, keep, grace, every=every)
        if not remote:
            _tell_derived(zoo, plan)
    if plan.doomed and agreed("delete?", dry_run=dry_run, yes=yes, as_json=as_json):
        plan = zoo.prune(plan, remote, **days, cache_days=caches)
        done = True
        if not remote:
            from zoo.serve.who.pruned import tell_pruned

            tell_pruned(zoo.workspace, len(plan.doomed), plan.bytes)
    if as_json:
        print_json({"deleted": done, **plan.to_json()})
    elif done:
        click.echo(f"deleted {plural(len(plan.doomed), 'file')}, {size(plan.bytes)}")
    elif plan.doomed:
        note("nothing was deleted" + "; --yes deletes" * (not dry_run))


def _show(plan: PrunePlan, keep: float, grace: float, *, every: bool) -> None:
    if plan.doomed and every:
        rows = [(item.kind, item.name, size(item.bytes), item.why) for item in plan.doomed]
        table(("WHAT", "NAME", "SIZE", "WHY"), rows, least_first=("WHAT",))
    elif plan.doomed:
        for each in plan.checkpoints:
            click.echo(clean(f"{_called(each)}, {_as_it_was(each)}"))
        rest = [item for item in plan.doomed if "manifest" not in item.kind]
        for why, items in groupby(sorted(rest, key=_why), key=_why):
            bytes_ = [item.bytes for item in items]
            click.echo(f"{plural(len(bytes_), 'file')}, {size(sum(bytes_))}: {why}")
    young = plural(plan.young, "file is", "files are")
    spared = f"; {young} too young to delete (--grace {grace:g})" if plan.young else ""
    stay = plural(len(plan.rebased), "manifest that stays is", "manifests that stay are")
    anew = f"; {stay} encoded anew" if plan.rebased else ""
    click.echo(f"{plural(len(plan.doomed), 'file')}, {size(plan.bytes)} to delete{spared}{anew}")
    if plan.recent:
        kept = plural(plan.recent, "checkpoint without a name is", "checkpoints without names are")
        note(f"{kept} kept: a name pointed there in the last {keep:g} days (--keep 0 keeps none)")


def _tell_derived(zoo: Zoo, plan: PrunePlan) -> None:
    """Which names derive from what goes."""
    for each in plan.checkpoints:
        if names := zoo.derived_from(each.manifest):
            what = each.names[0] if each.names else each.manifest.short
            derive = "derives" if len(names) == 1 else "derive"
            note(
                f"{some(names)} {derive} from {what}: zoo log names it, zoo diff cannot compare it"
            )


def _why(item: FileToDelete) -> str:
    return item.why


def _called(each: Forgotten) -> str:
    """The names that a checkpoint had, and how it lost the last."""
    if not each.names:
        return f"{each.manifest.short}, which never had a name"
    today = each.at[:10] == f"{datetime.now(UTC):%F}"
    lost = f"{'deleted' if each.deleted else 'moved on'} {'today' if today else each.at[:10]}"
    also = f" (also {', '.join(map(str, each.names[1:]))})" if each.names[1:] else ""
    return f"{each.names[0]}{also}, {lost} by {each.by}"


def _as_it_was(each: Forgotten) -> str:
    """What a checkpoint is, in a few words."""
    taken = size(each.bytes) if each.bytes else "cannot be read"
    return ", ".join(filter(None, (each.score, taken)))
