"""zoo import: keep weights that somebody else wrote as checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from zoo.domain.import_options import ImportOptions, StatedOptions
from zoo_cli.command import PATH, command, flag, note_option, open_zoo
from zoo_cli.import_plan import show_imported, show_plan, show_planned
from zoo_cli.output import moved, note, on_terminal, print_json, result, with_short_digests
from zoo_cli.stated_options import stated_options

if TYPE_CHECKING:
    from zoo.exchange.importing import Imported

__all__ = ["import_"]


@command("import", extra="--as")
@click.argument("file", type=PATH)
@click.option(
    "--architecture",
    help="What network FILE is (resnet50; resnet50.a1_in1k where its classes are those of that "
    "recipe), where neither it nor what lies beside it tells.",
)
@click.option(
    "--as",
    "name",
    required=True,
    help="Name of the new checkpoint (team/flowers); with --recursive a pattern of names "
    "('team/{stem}').",
)
@flag("--force", help="Move the name even from a checkpoint that FILE does not derive from.")
@flag("--recursive", help="Import all weights in the folder FILE and below it.")
@flag("--dry-run", help="Only show what would be imported.")
@flag("--yes", help="With --recursive: do not ask.")
@click.option(
    "--backbone",
    help="Plugin of the architecture.  [default: timm, or the one that has what the file says]",
)
@click.option(
    "--key",
    metavar="KEY",
    help="The key of FILE that holds the weights, where it holds several sets (state_dict), or "
    "what their names begin with (teacher).",
)
@click.option(
    "--parent",
    metavar="NAME",
    help="The checkpoint here that FILE was fine-tuned from: zoo log checks it against bytes, and "
    "a push sends what differs. auto: look for it among those here.",
)
@stated_options
@click.option(
    "--file",
    "files",
    type=PATH,
    multiple=True,
    help="Store this file with it, too (README.md); repeatable.",
)
@note_option
def import_(
    file: Path, name: str, recursive: bool, yes: bool, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Keep a weights FILE as a checkpoint.

    FILE is a .safetensors, a PyTorch file (.pth, .pt, .ckpt), the .index.json of several, or a
    folder that zoo export, timm or transformers wrote. Nothing in it is run. Of what training
    scripts save, the weights are taken (--key names others), a prefix that all names share is
    stripped, and a head may be missing; one line says what was taken, stripped and left out.

    What network it is, its class names, preprocessing and accuracy are those of your options, else
    what the file or the files beside it say. What nobody says is unknown, and zoo show and zoo
    predict say so. Of an exported folder, its word is taken for the figures, and the parent is
    compared with the bytes, if it is here. What is here already can be given what it lacks, too:
    zoo edit.

    With --recursive, FILE is a folder of runs and loose files. A plan is shown first. The
    checkpoints of a run get one name: its best, or last, the name itself, others a tag (:epoch-3).
    In the pattern of names, {stem} is what a run, or a file of none, is called, {folder} the run's
    folder, and {epoch} its epoch. The exit status is 1 if a file cannot be imported.

    \b
    Examples:
      zoo import model_best.pth.tar --as team/flowers --dry-run
      zoo import best.pth --architecture resnet50 --as team/flowers --classes names.txt
      zoo import last.ckpt --architecture resnet50 --as team/old --mean 0.5 --std 0.5
      zoo import flowers-model --as team/flowers
      zoo import runs --recursive --as 'team/{stem}' --parent auto --yes
    """
    of = _Network(*(options.pop(part) for part in _Network._fields))
    _check_usage(file, of, recursive=recursive, yes=yes)
    stated = cast(ImportOptions, options)
    if recursive:
        ask = not (yes or as_json or dry_run) and on_terminal(sys.stdin)
        _import_all(file, name, of, dry_run, ask, as_json, stated)
    else:
        (_plan_import if dry_run else _import_one)(file, name, of, as_json, stated)


class _Network(NamedTuple):
    """What was said of the network that a file is of, and where in it that is."""

    architecture: str | None
    backbone: str | None
    key: str | None


def _check_usage(file: Path, of: _Network, *, recursive: bool, yes: bool) -> None:
    if recursive and of.key:
        raise click.UsageError("--key is for one file: leave it, or --recursive, out")
    if yes and not recursive:
        raise click.UsageError("--yes is for an import with --recursive")
    if file.is_dir() and any(of) and not recursive:
        raise click.UsageError(
            "a folder says what network it is: leave --architecture, --backbone and --key out, or "
            "name the file in it"
        )


def _plan_import(
    file: Path, name: str, of: _Network, as_json: bool, options: ImportOptions
) -> None:
    planned = open_zoo().plan_import(
        file, name, architecture=of.architecture, backbone=of.backbone, key=of.key, **options
    )
    print_json(planned.to_json()) if as_json else show_planned(planned)
    if options.get("parent") == "auto":
        note("--parent auto: the parent is looked for when FILE is imported")


def _import_one(file: Path, name: str, of: _Network, as_json: bool, options: ImportOptions) -> None:
    zoo = open_zoo()
    if file.is_dir():
        done = zoo.import_folder(file, name, **options)
    else:
        done = zoo.import_file(
            file, name, architecture=of.architecture, backbone=of.backbone, key=of.key, **options
        )
    print_json(done.to_json()) if as_json else _show(done)


def _show(done: Imported) -> None:
    lines = map(with_short_digests, filter(None, [str(done.taken), done.taken.summary]))
    result(done.ref, done.manifest, *moved(done.ref, done.moved_from, done.change), *lines)


def _import_all(
    folder: Path,
    pattern: str,
    of: _Network,
    dry_run: bool,
    ask: bool,
    as_json: bool,
    options: ImportOptions,
) -> None:
    zoo = open_zoo()
    plan = zoo.import_all(
        folder,
        pattern,
        architecture=of.architecture,
        backbone=of.backbone,
        dry_run=True,
        **options,
    )
    if not as_json:
        show_plan(plan)
    if plan.having("here") and any(options.get(name) for name in StatedOptions.__annotations__):
        note("what is here already under its name stays as it is: zoo edit NAME states more of it")
    if plan.having("new") and not dry_run:
        if ask:
            click.confirm("import?", abort=True)
        plan = zoo.import_all(folder, pattern, plan=plan, **options)
        if not as_json:
            show_imported(plan)
    if as_json:
        print_json(plan.to_json())
    if plan.having("bad"):
        click.get_current_context().exit(1)
