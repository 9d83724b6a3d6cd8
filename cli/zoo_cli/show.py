"""zoo show, tree, log: all that is known of one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.limits import NOTE_LETTERS
from zoo.domain.plain import Json
from zoo.domain.recipe import IDLE
from zoo.domain.task import SCORE
from zoo.domain.words import plural
from zoo_cli.command import command, flag, open_zoo
from zoo_cli.output import FOUND, clean, count, note, print_json, scored, size, table

if TYPE_CHECKING:
    from zoo.domain.history import RefEntry
    from zoo.lookup.check import Check
    from zoo.lookup.lineage import Lineage, Step

__all__ = ["log", "show", "tree"]

SAID = {
    "terms.unknown": "no license known of",
    "terms.not_here": "license not here of",
    "unproven": "not proven",
    "not_finite": "warning",
    "provenance.author": "trained by",
    "provenance.note": "note",
}
"""What is shown instead of a key that does not tell."""
DEEPEST = 20
"""Generations that are indented; a line has an end."""
OF_REF = ("name", "manifest", "deleted", "at_remotes", "history")
CLASSES = 60
"""Characters of class names that are shown, beside the first one."""
SCORES = " ".join(f"metrics.{score}" for score in SCORE.values())
FIRST = f"""
    name {SCORES} metrics.top1 metrics.top5 metrics.top1_size published.top1 published.top5
    published.top1_size evaluations benches params metrics.macs published.macs input_size
    preprocessing.input_size num_classes head.num_classes classes architecture
    backbone.architecture custom_config adapter tag head.kind
    provenance.note provenance.author
    license terms.limits terms.warning terms.unknown terms.not_here datasets provenance.dataset
    provenance.metrics calibration recipe.task recipe.data parents freeze.boundary
    recipe.strategy recipe.epochs provenance.warning deprecated not_finite unknown unproven pull
    facts.results kind manifest refs remotes at_remotes bytes backbone backbone.plugin updated
    provenance.source sources children metrics.downloads
""".split()
"""What `zoo show` prints without --all; with it, this comes first."""


@command()
@click.argument("name")
@flag(
    "--all",
    "all_",
    help="Show all that is known, not only the most asked for: recipe, provenance, files, "
    "preprocessing, metrics, card.",
)
def show(name: str, all_: bool, as_json: bool) -> None:
    """Show what is known of a checkpoint, here or elsewhere.

    The JSON has all of it, with --all or without.

    \b
    Examples:
      zoo show timm/resnet50.a1_in1k
      zoo show team/flowers:v3 --all
      zoo show team/flowers:v3 --json
    """
    data = open_zoo(indexed=True).show(name).to_json()
    if as_json:
        print_json(data)
        return
    idle = _idle(data.get("recipe") or {})
    fields = [(key, value) for key, value in _lines(data) if key not in idle]
    known = _with_intervals([(clean(key), clean(value)) for key, value in fields])
    rank = {key: number for number, key in enumerate(FIRST)}
    if (data.get("recipe") or {}).get("task") == "classification":  # as of all that say nothing
        del rank["recipe.task"]
    if "metrics" in (data.get("provenance") or {}):  # an import says who has told them
        rank |= {key: rank["metrics.top1"] for key, _ in known if key.startswith("metrics.")} | rank
    lines = [(key, value) for key, value in known if all_ or key in rank]
    lines.sort(key=lambda line: rank.get(line[0], len(rank)))
    lines = [(SAID.get(key, key), value) for key, value in lines]
    width = max(len(key) for key, _ in lines) + 1
    for key, value in lines:
        click.echo(f"{key + ':':{width}} {value}")
    if len(lines) < len(known):
        note(f"--all shows {plural(len(known) - len(lines), 'line more', 'lines more')}")


def _idle(recipe: Json) -> set[str]:
    """The lines of what a recipe records and what has no effect with its strategy."""
    strategy = str(recipe.get("strategy", ""))
    names = [*IDLE.get(strategy, "").split(), *(["warmup"] if strategy == "probe" else [])]
    return {f"recipe.{name}" for name in names}


def _with_intervals(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines, each figure with its interval behind it instead of in lines of their own."""
    known = dict(lines)
    ends = [(key, f"{key}_low", f"{key}_high") for key in known]
    of = {key: ends for key, *ends in ends if known.keys() >= {*ends}}
    apart = {end for both in of.values() for end in both}
    return [
        (key, f"{value} ({known[of[key][0]]} to {known[of[key][1]]})" if key in of else value)
        for key, value in lines
        if key not in apart
    ]


def _lines(data: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Keys and values for people: nested ones under ``outer.inner``, nothing that is empty."""
    lines = []
    for name, value in data.items():
        key = prefix + name
        if value in (None, "", [], {}):
            continue
        if name == "classes" and not isinstance(value, str):  # not: who said them
            lines.append((key, f"{len(value)}: {_listed(value)}"))
        elif name in ("weights", "files"):
            lines += [(file["name"], _file(file)) for file in value]
        elif name == "calibration":
            lines.append((key, value["text"] or "what the training images are like"))
        elif name == "adapter":
            lines.append((key, _adapter(value)))
        elif name in EACH:
            lines += [(key, EACH[name](each)) for each in value]
        elif isinstance(value, dict):
            lines += _lines(value, f"{key}.")
        elif isinstance(value, list | tuple):
            lines.append((key, ", ".join(map(_short, value))))
        else:
            lines.append((key, FORMS.get(name, _short)(value)))
    return lines


def _adapter(value: Json) -> str:
    layers, units = plural(len(value["layers"]), "layer"), value["units"]
    return (
        f"LoRA of rank {value['rank']} on {layers} of {plural(len(units), 'unit')}, "
        f"{size(value['nbytes'])}: {_listed(units) if units else 'no layer of it'}"
    )


def at_remote(there: Json) -> str:
    """What a remote has under a name, and the status of what is here."""
    here = f", here: {there['here']}" if there["here"] else ""
    by = f" by {there['by'][:NOTE_LETTERS]}" if there["by"] else ""
    note = f" ({there['note'][:NOTE_LETTERS]})" if there["note"] else ""
    return f"{there['remote']}: {there['manifest'][7:19]}, moved {there['at']}{by}{note}{here}"


def evaluated(evaluation: Json) -> str:
    """What an evaluation found, in a line."""
    part = "" if evaluation["split"] == "all" else f" ({evaluation['split']} split)"
    figures = scored(evaluation["task"], evaluation["metrics"])
    images = plural(evaluation["images"], "image")
    return f"{figures} on {images} of {evaluation['data']}{part}, {evaluation['at'][:10]}"


def benched(bench: Json) -> str:
    """What `zoo bench` measured, in a line."""
    best = max(bench["batches"], key=lambda each: each["images_per_second"])
    alone = [f"{each['ms']:.4g} ms" for each in bench["batches"] if each["batch"] == 1]
    rate = f"{best['images_per_second']:.4g} images/s at {best['batch']}"
    how = f"{bench['device']} ({bench['model']}, {bench['precision']})"
    return f"{', '.join([*alone, rate])} on {how}, {bench['at'][:10]}"


def _how(relation: str) -> str:
    from zoo.domain import manifest

    signs = {manifest.FOUND: FOUND, manifest.DECLARED: "(stated by a folder)"}
    return f"  {signs[relation]}" if relation in signs else ""


EACH: dict[str, Callable[[Json], str]] = {
    "at_remotes": at_remote,
    "benches": benched,
    "evaluations": evaluated,
    "limits": lambda each: f"{each['limit']}: {each['license']}, from {each['from']}",
    "locations": lambda each: f"{each['source']}: {each['locator']}",
    "parents": lambda each: f"{each['ref']}  {each['manifest']}{_how(each['relation'])}",
}
"""What has a line for each."""
FORMS: dict[str, Callable[[Any], str]] = {
    "author": lambda value: str(value)[:NOTE_LETTERS],
    "note": lambda value: str(value)[:NOTE_LETTERS],
    "bytes": size,
    "macs": lambda value: count(int(value)),
    "params": lambda value: f"{value:,}",
}
"""How a value is written."""


def _listed(classes: Sequence[str]) -> str:
    shown = classes[0]
    for name in classes[1:]:
        if len(shown) + len(name) > CLASSES:
            return f"{shown}; …"
        shown += f"; {name}"
    return shown


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _file(file: Json) -> str:
    tensors = f", {file['tensors']} tensors" if "tensors" in file else ""
    return f"{size(file['size'])}{tensors}, {file['sha256']}"


@command()
@click.argument("name")
def tree(name: str, as_json: bool) -> None:
    """Print the units, stages and head of a network.

    NAME is a checkpoint, a catalog entry, or an architecture: resnet50, or torchvision/resnet50
    where several plugins have one of that name.

    "cut" marks a boundary at which the network can be entered: all that later units need passes
    through it. A unit or stage name is what --freeze takes.

    \b
    Examples:
      zoo tree timm/tf_efficientnet_lite0.in1k
      zoo tree resnet50 --json
    """
    hierarchy = open_zoo(indexed=True).tree(name)
    head = hierarchy.head
    if as_json:
        units = [
            {key: value for key, value in unit.items() if key not in ("parameters", "buffers")}
            for unit in hierarchy.to_json()["units"]
        ]
        end = {name: getattr(head, name) for name in ("modules", "params", "shape", "cut")}
        known = {"architecture": hierarchy.architecture, "params": hierarchy.params}
        print_json({**known, "units": units, "head": end})
        return
    number = f"{len(hierarchy.units)} units, {count(hierarchy.params)} parameters"
    click.echo(f"{hierarchy.architecture}: {number}")
    rows: list[tuple[object, ...]] = []
    stage = ""
    for unit in hierarchy.units:
        shown, stage = ("" if unit.stage == stage else unit.stage), unit.stage
        cut = "cut" if unit.cut else ""
        rows.append((unit.depth, shown, unit.name, count(unit.params), _shape(unit.shape), cut))
    cut = "cut" if head.cut else ""
    modules = ", ".join(head.modules) or "none"
    rows.append(("", "head", modules, count(head.params), _shape(head.shape), cut))
    least = ("STAGE", "OUTPUT")
    table(("DEPTH", "STAGE", "UNIT", "PARAMS", "OUTPUT", ""), rows, least_first=least)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "x".join(map(str, shape)) if shape else "-"


@command()
@click.argument("name")
@flag("--ref", help="Only what the name pointed at.")
def log(name: str, ref: bool, as_json: bool) -> None:
    """Show the lineage of NAME, and what it pointed at before.

    The lineage goes to its root; below it is all that derives from NAME, and what fetched remotes
    have under that name. A declared parent is checked against bytes: the share of the weights that
    are the parent's, and the units that wholly are. A warning says where the bytes disagree, or
    where a license leaves out a limit that an ancestor has. The shares of all units are in the
    JSON.

    \b
    Examples:
      zoo log team/flowers
      zoo log team/flowers --ref
      zoo log team/flowers --json
    """
    lineage = open_zoo(indexed=True).log(name)
    if as_json:
        data = lineage.to_json()
        print_json({key: data[key] for key in OF_REF} if ref else data)
        return
    if not ref:
        _print_lineage(lineage)
    if lineage.deleted:
        new = lineage.history[0].entry.renamed if lineage.history else None
        gone, back = f"renamed to {new}" if new else "deleted", "zoo delete --restore"
        note(f"{lineage.name} was {gone}; restore it: {back} {lineage.name}")
    for there in lineage.at_remotes:
        click.echo(clean(f"at {at_remote(there.to_json())}"))
    if lineage.history:
        click.echo(f"history of {lineage.name}")
        entries = [logged.entry for logged in lineage.history]
        rows = [
            (f"  #{entry.number}", entry.at, entry.by, entry.manifest.short, _why(entry))
            for entry in entries
        ]
        table(("  ENTRY", "AT", "BY", "CHECKPOINT", "WHY"), rows, least_first=("BY",))
        if was := next((logged.entry.was for logged in lineage.history if logged.entry.was), None):
            note(f"it was {was}; its log: zoo log {was}")


def _why(entry: RefEntry) -> str:
    return f"{entry.why} ({entry.note[:NOTE_LETTERS]})" if entry.note else entry.why


def _print_lineage(lineage: Lineage) -> None:
    if not lineage.ancestors:
        note(f"{lineage.name} holds files, no checkpoint: it has no lineage")
        return
    click.echo("lineage")
    for depth, step in enumerate(lineage.ancestors):
        indent = "  " * min(depth, DEEPEST)
        click.echo(f"  {indent}{_step(step)}{_how(step.relation)}")
        if step.check:
            click.echo(f"  {indent}  {_check(step.check)}")
    if lineage.descendants:
        click.echo("descendants")
    for step in lineage.descendants:
        click.echo(f"  {'  ' * min((step.depth or 1) - 1, DEEPEST)}{_step(step)}")
    for limit in lineage.terms.limits:
        click.echo(clean(f"{limit.limit}: {limit.license}, from {limit.of}"))
    for warning in lineage.warnings:
        note(f"warning: {warning}")


def _check(check: Check) -> str:
    """What the bytes say, in one line."""
    if check.share is None:
        return "cannot be checked"
    whole = sum(unit.identical == unit.tensors for unit in check.units)
    units = len(check.units)
    if check.agrees and check.cosine is not None:  # none of its matrices is its parent's
        changed = f"{units - whole} of {units} units have changed and are still like its parent's"
        return f"agrees: {changed}: cosine {check.cosine:.3f} (unrelated weights: about 0)"
    text = (
        f"{'agrees' if check.agrees else 'DISAGREES'}: {check.share:.1%} of the weights, "
        f"{whole} of {units} units are its parent's"
    )
    if check.adapted:
        text += f", and {plural(check.adapted, 'unit')} have an adapter beside that"
    return text if check.cosine is None else f"{text}; cosine {check.cosine:.3f}"


def _step(step: Step) -> str:
    parts = [step.name, step.manifest.short]
    if step.problem:
        parts.append(f"(cannot be read: {step.problem})")
    elif not step.here:
        parts.append("(not in this zoo)")
    elif step.freeze:
        parts.append(_frozen(step.freeze))
    if accuracy := step.metrics.get("accuracy"):
        parts.append(f"accuracy {accuracy:.4f}")
    if step.author:
        parts.append(f"trained by {step.author[:NOTE_LETTERS]}")
    if step.source:
        parts.append(f"from {step.source}")
    if step.note:
        parts.append(f"({step.note[:NOTE_LETTERS]})")
    return clean("  ".join(parts))


def _frozen(freeze: Mapping[str, object]) -> str:
    if part := freeze.get("trained"):
        return f"{part} from {freeze['boundary']} on"
    none = freeze.get("frozen_units") == 0
    return "nothing frozen" if none else f"frozen below {freeze['boundary']}"
