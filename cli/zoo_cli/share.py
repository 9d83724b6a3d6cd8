"""zoo pull, push, tag, mv, import, export: bring checkpoints in, and send them out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple, Unpack

import click

from zoo.domain import license_ids, metric_names
from zoo.domain.import_options import ImportOptions
from zoo.domain.preprocessing import FILTERS
from zoo.domain.surgery import parse_size
from zoo.domain.words import plural
from zoo.errors import InvalidReference, UnknownName
from zoo_cli.command import PATH, command, flag, note_option, open_zoo, said_option
from zoo_cli.import_plan import show_imported, show_plan, show_planned
from zoo_cli.output import moved, note, on_terminal, print_json, result, size

if TYPE_CHECKING:
    from zoo.exchange.exporting import Exported
    from zoo.exchange.importing import Imported
    from zoo.exchange.sharing import Pulled, Pushed
    from zoo.transfer.copy import Copied

FOLDER = (
    "zoo export writes a folder that the library of the network reads, of which torch.onnx makes "
    "ONNX: see docs/surgery.md#onnx"
)
"""What is said to who asks for another format."""
__all__ = ["export", "import_", "mv", "pull", "push", "tag"]


@command(extra="--from")
@click.argument("name")
@click.option(
    "--from",
    "remote",
    metavar="REMOTE",
    help="A teammate's or team's store: a folder, URL, or remote name; or hf://ORG/NAME, what is "
    "published there.",
)
@click.option("--as", "save", metavar="NEW", help="With --from: keep it under this name.")
@click.option("--source", help="The source to fetch published weights from (hub, package).")
@flag(
    "--force",
    help="Move the name even from work that is not known there, or from other classes; zoo log "
    "keeps it.",
)
def pull(
    name: str, remote: str | None, save: str | None, source: str | None, force: bool, as_json: bool
) -> None:
    """Bring a checkpoint here: published weights, or a team's.

    Published weights are taken from an installed package that ships them, else from the HF Hub; a
    name that zoo fetch has found at a remote, from there; a team's with --from. Every byte is
    hashed on arrival, and each file compared with its SHA-256; what an interrupted pull has fetched
    is not fetched again.

    A name is not taken from work that was made here and is not known where the pull is from: --as
    brings that one under another name, --force moves the name.

    \b
    Examples:
      zoo pull timm/tf_efficientnet_lite0.in1k
      zoo pull team/flowers:v3 --from /mnt/team/zoo
      zoo pull team/flowers --from lab --as team/flowers:lab
      zoo pull team/theirs --from hf://their-org/flowers@v1
    """
    if remote and source:
        raise click.UsageError("--from names a store, --source a publisher: give one of them")
    done = open_zoo().pull(name, remote=remote, source=source, save=save, force=force)
    if as_json:
        print_json(done.to_json())
    else:
        lines = moved(done.ref, done.moved_from, done.change)
        result(done.ref, done.manifest, f"from {_whence(done)}", *lines)
    if done.copied and done.copied.healed:
        healed = plural(len(done.copied.healed), "object here was", "objects here were")
        note(f"{healed} damaged and replaced; look at the rest: zoo verify")


def _whence(done: Pulled) -> str:
    if done.copied:
        return f"{done.remote}, {size(done.copied.sent_bytes)} received"
    release = done.release
    return f"{release.source} {release.locator} {release.revision}" if release else ""


@command(extra="--to")
@click.argument("name")
@click.option(
    "--to",
    required=True,
    metavar="REMOTE",
    help="A remote's name, a URL, or a folder (./team), made if it is not there; hf://ORG/NAME "
    "publishes.",
)
@flag(
    "--force",
    help="Move the name even if it points at work that is not known here, or at other classes.",
)
@flag("--all-tags", help="Send NAME with all its tags that are here; not to hf://.")
@flag("--private", help="With hf://: if the repository is made, make it private.")
@click.option(
    "--repack",
    type=click.Choice(["fast", "max"]),
    default="fast",
    show_default=True,
    help="How differences are coded: max is smaller and slower.",
)
@said_option
def push(
    name: str,
    to: str,
    force: bool,
    all_tags: bool,
    private: bool,
    repack: str,
    note: str,
    as_json: bool,
) -> None:
    """Send a checkpoint to a remote, or publish it on the HF Hub.

    What the remote has already is not sent again; of what changed, only the difference is. What is
    in a folder is read and hashed first, and replaced if it is damaged; of what is elsewhere, sizes
    are compared (zoo verify REMOTE reads it).

    To hf://ORG/NAME goes what zoo export writes, with a card that tells the lineage: timm (or the
    library of the network) loads it from there. The token is that of `hf auth login`.

    \b
    Examples:
      zoo push team/flowers --to /mnt/team/zoo
      zoo push team/flowers:v3 --to lab
      zoo push team/flowers --all-tags --to lab
      zoo push team/flowers --to hf://my-org/flowers
      python -c "import timm; timm.create_model('hf-hub:my-org/flowers', pretrained=True)"
    """
    zoo, smallest = open_zoo(), repack == "max"
    if all_tags and private:
        raise click.UsageError("--private is for hf://, --all-tags for stores")
    if all_tags:
        every: Sequence[Pushed] = zoo.push_all_tags(
            name, to, force=force, smallest=smallest, note=note
        )
    else:
        every = [zoo.push(name, to, force=force, smallest=smallest, private=private, note=note)]
    for done in every:
        if not as_json:
            _show_pushed(done, name)
        if done.published:
            _tell_of_export(done.published.exported, f"zoo pull NAME --from {quote(done.to)}")
        if done.copied:
            _tell_of_damage(done.copied, to)
    if as_json:
        told = [done.to_json() for done in every]
        print_json(told if all_tags else told[0])


def _show_pushed(done: Pushed, name: str) -> None:
    if copied := done.copied:
        unread = "" if copied.read else "; what was already present was compared by size only"
        result(
            done.ref,
            copied.manifest,
            f"to {done.to}: {size(copied.logical_bytes)}; "
            f"{plural(copied.shared_objects, 'object')} already present, {copied.sent_objects} "
            f"sent in {size(copied.sent_bytes)}{unread}",
            *_moved_there(copied),
        )
    elif done.published:
        result(name, done.manifest, f"to {done.to}: commit {done.published.revision}")


def _moved_there(copied: Copied) -> list[str]:
    """What a push moved the name from; what goes on from that with the same classes is no news."""
    if copied.moved_from is None or copied.change is None:
        return []
    return [f"moved there; was {copied.moved_from.short}", *copied.change.lines]


def _tell_of_damage(copied: Copied, to: str) -> None:
    """What a push found and went around."""
    if copied.healed:
        healed = plural(len(copied.healed), "object there was", "objects there were")
        note(f"{healed} damaged and replaced; look at the rest: zoo verify {quote(to)}")
    for base in sorted(map(str, copied.damaged)):
        note(
            f"{base} of a parent is damaged, here or there, so no delta against it was "
            f"sent; find the damage: zoo verify, and zoo verify {quote(to)}"
        )


@command()
@click.argument("name")
@click.argument("new")
@click.option("--at", type=click.DateTime(), help="What NAME pointed at then (UTC).")
@flag("--force", help="Move NEW even from a checkpoint that NAME does not derive from.")
@said_option
def tag(name: str, new: str, at: datetime | None, force: bool, note: str, as_json: bool) -> None:
    """Point the reference NEW at the checkpoint NAME.

    NAME is a reference or a digest (blake3:…); NEW is made, or moved if it is there, which a line
    says: to what derives from it, is a training again on the same data, or had that name, or a tag
    of it, already. To anything else it is moved with --force alone.

    \b
    Examples:
      zoo tag team/flowers team/flowers:v3
      zoo tag blake3:0d67… team/flowers      (back to an earlier one; zoo log lists them)
    """
    zoo, before = open_zoo(), None
    with suppress(UnknownName, InvalidReference):
        before = zoo.entry(new).manifest
    then = at.replace(tzinfo=UTC) if at else None
    entry = zoo.tag(name, new, at=then, force=force, note=note)
    if before == entry.manifest:
        before = None
    change = zoo.change(str(before), str(entry.manifest)) if before else None
    if as_json:
        told = {"change": change.to_json()} if change else {}
        print_json({"ref": new, **entry.to_json(), **told})
    else:
        result(new, entry.manifest, *moved(new, before, change))


@command()
@click.argument("name")
@click.argument("new")
def mv(name: str, new: str, as_json: bool) -> None:
    """Rename the checkpoint NAME to NEW.

    NEW must be free, and NAME not protected. NEW is made before NAME is deleted, so that nothing is
    lost whenever this is stopped. Other tags of NAME, and names at remotes, stay as they are.

    \b
    Example:
      zoo mv team/flowers team/garden
    """
    entry = open_zoo().rename(name, new)
    if as_json:
        print_json({"ref": new, **entry.to_json()})
    else:
        click.echo(f"{new}  {entry.manifest.short}")


def _numbers(
    _: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Of one number, or of one for each channel: ``0.485,0.456,0.406``."""
    try:
        return tuple(map(float, value.split(","))) if value else None
    except ValueError as error:
        says = f"'{value}' is not like 0.5, or 0.485,0.456,0.406"
        raise click.BadParameter(says, param=param) from error


def _size(_: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    return parse_size(value) if value else None


def _metrics(
    context: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, float]:
    """Of ``accuracy=0.91``, however often it is given."""
    metrics = {}
    for text in value:
        name, _equals, number = text.partition("=")
        try:
            metrics[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"'{text}' is not like accuracy=0.91", param=param) from error
        if not context.resilient_parsing and (told := metric_names.remark(name)):
            note(told)
    return metrics


def _license(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value and not context.resilient_parsing and (told := license_ids.remark(value)):
        note(told)
    return value


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
@click.option(
    "--classes",
    type=PATH,
    metavar="FILE",
    help="A file with the class names in the order of the outputs: one on each line, or JSON.",
)
@click.option(
    "--mean",
    callback=_numbers,
    metavar="NUMBERS",
    help="Mean that images are normalized with: 0.5, or 0.5,0.4,0.4.",
)
@click.option(
    "--std",
    callback=_numbers,
    metavar="NUMBERS",
    help="Standard deviation that they are normalized with.",
)
@click.option(
    "--crop", "crop_pct", type=float, help="Share of the resized image that the crop keeps: 0.875."
)
@click.option(
    "--interpolation", type=click.Choice(FILTERS), help="Filter that images are resized with."
)
@click.option(
    "--image-size", callback=_size, metavar="SIZE", help="Height and width: 320, or 320x256."
)
@click.option("--license", callback=_license, help="License id (apache-2.0).")
@click.option("--dataset", help="What the weights were trained on; zoo best --dataset finds it.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_metrics,
    help="A figure that you have measured (accuracy=0.91); repeatable.",
)
@click.option(
    "--file",
    "files",
    type=PATH,
    multiple=True,
    help="Store this file with it, too (README.md); repeatable.",
)
@note_option
def import_(
    file: Path,
    architecture: str | None,
    name: str,
    backbone: str | None,
    key: str | None,
    recursive: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Unpack[ImportOptions],
) -> None:
    """Keep a weights FILE as a checkpoint.

    FILE is a .safetensors, a PyTorch file (.pth, .pt, .ckpt), or the .index.json of several.
    Nothing in it is run. Of what training scripts save, the weights are taken (state_dict_ema
    before state_dict, model, net, …; --key names another), a prefix that all names share (module.,
    model.) is stripped, and a head may be missing. Else it must fit the architecture exactly. One
    line says what was taken, stripped and left out.

    What network it is, the file or what lies beside it says (args.yaml, hparams.yaml, config.json);
    else names and shapes of the tensors tell, if one architecture fits; else you do. Of a run, the
    accuracy is taken that its script wrote down. --dry-run shows what would be imported.

    Class names and preprocessing are those of your options, else of a config.json or timm's
    args.yaml beside FILE that is of that very network, else of the hyper-parameters in FILE. What
    none of them says is unknown, and zoo show and zoo predict say so.

    With --recursive, FILE is a folder of such files: what timm, Lightning and transformers write,
    and loose ones. A plan is shown first. The checkpoints of a run get one name: its best, or last,
    the name itself, others a tag (:epoch-3). In the pattern of names, {stem} is what a run, or a
    file of none, is called, {folder} the run's folder, and {epoch} its epoch. What is here already
    is skipped. The exit status is 1 if a file cannot be imported; all others are.

    FILE may also be a folder that zoo export wrote, whatever the network: all of the checkpoint
    but its lineage, recipe and figures comes back. So do the weights that timm or transformers
    saved in a folder, if the config.json beside them says which network they are.

    \b
    Examples:
      zoo import model_best.pth.tar --as team/flowers --dry-run
      zoo import best.pth --architecture resnet50 --as team/flowers --classes names.txt
      zoo import last.ckpt --architecture resnet50 --as team/old --mean 0.5 --std 0.5
      zoo import flowers-model --as team/flowers
      zoo import runs --recursive --as 'team/{stem}' --dry-run
      zoo import runs --recursive --as 'team/{stem}' --parent auto --yes
    """
    of = _Network(architecture, backbone, key)
    if recursive:
        if key:
            raise click.UsageError("--key is for one file: leave it, or --recursive, out")
        ask = not (yes or as_json or dry_run) and on_terminal(sys.stdin)
        _import_all(file, name, of, dry_run, ask, as_json, options)
        return
    if yes:
        raise click.UsageError("--yes is for an import with --recursive")
    if file.is_dir() and any(of):
        raise click.UsageError(
            "a folder says what network it is: leave --architecture, --backbone and --key out, or "
            "name the file in it"
        )
    if dry_run:
        _plan_import(file, name, of, as_json, options)
    else:
        _import_one(file, name, of, as_json, options)


class _Network(NamedTuple):
    """What was said of the network that a file is of, and where in it that is."""

    architecture: str | None
    backbone: str | None
    key: str | None


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
    said = filter(None, [str(done.taken), done.taken.said])
    result(done.ref, done.manifest, *moved(done.ref, done.moved_from, done.change), *said)


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


def _format(_: click.Context, param: click.Parameter, value: str | None) -> None:
    """Who looks for other formats is told the way."""
    if value:
        raise click.BadParameter(FOLDER, param=param)


@command()
@click.argument("name")
@click.argument("folder", type=PATH)
@flag("--all-files", help="Write files that could be run where they lie, too (train.py, .bashrc).")
@click.option("--format", hidden=True, expose_value=False, callback=_format, help=FOLDER)
def export(name: str, folder: Path, all_files: bool, as_json: bool) -> None:
    """Write a checkpoint to FOLDER, for its own library to load.

    That is timm, torchvision, … The folder gets model.safetensors, config.json, and what else was
    kept with the checkpoint, as far as that is text or data by its name: it says what it leaves
    out. No library but zoo builds heads of the kinds mlp and cosine, or truncated, shortened and
    convolutional networks: it says so, and zoo import brings them back.

    \b
    Examples:
      zoo export team/flowers flowers-model
      zoo import flowers-model --as other/flowers
      python -c "import timm; timm.create_model('local-dir:flowers-model', pretrained=True)"
    """
    done = open_zoo().export(name, folder, all_files=all_files)
    _tell_of_export(done, f"zoo import {folder} --as NAME")
    if as_json:
        print_json(done.to_json())
    else:
        for file in done.files:
            click.echo(str(file))


def _tell_of_export(done: Exported, command: str) -> None:
    """Where only zoo loads it, and what was left out."""
    if done.only_zoo:
        note(f"{done.library} does not load it, for {done.only_zoo}; zoo does: {command}")
    for file, reason in done.left_out.items():
        note(f"left out: {file}, which {reason} (zoo export --all-files writes it)")
