"""zoo search, show, tree: look things up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.task import SCORE
from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, count, note, print_json, size, table
from zoo_cli.search_table import at_remote, note_empty, show_found

if TYPE_CHECKING:
    from zoo import Zoo

__all__ = ["search", "show", "tree"]

MOST_COUNTED = 1000
"""To count millions takes seconds, and nobody looks at them all."""


def amount(text: str) -> int:
    """Read a count with a suffix: ``30M``, ``1.2G``."""
    from zoo.domain.query import SUFFIXES  # here, as other commands do without

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGbB]?)", text)
    if match is None:
        raise click.BadParameter(f"'{text}' is not a count: write 5000000, 5M or 1.2G")
    try:
        return int(float(match[1]) * SUFFIXES[match[2].lower()])
    except OverflowError:
        raise click.BadParameter(f"'{text}' is too large") from None


@click.command()
@click.argument("query", nargs=-1)
@click.option("--sort", help="name, params, input, num_classes, updated, accuracy, loss or "
              "metric.NAME; with - in front, the largest first (-accuracy).")  # fmt: skip
@click.option("--arch", help="As arch:ARCH; * stands for any characters (convnext*).")
@click.option("--license", "license_", help="As license:LICENSE (apache-2.0).")
@click.option("--max-params", type=amount, metavar="COUNT", help="As params<=COUNT (30M).")
@click.option("--num-classes", type=int, help="As num_classes=COUNT.")
@click.option("--source", help="As source:SOURCE (timm, package).")
@click.option("--pulled", is_flag=True, default=None, help="As pulled:yes: only what is here.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@as_json
@home_option
def search(query: tuple[str, ...], license_: str | None, arch: str | None, limit: int,
           as_json: bool, sort: str | None, **asked: Any) -> None:  # fmt: skip
    """Search the checkpoints here, at fetched remotes, and in the catalog.

    QUERY is words and filters; all must hold. A word is a part of a name, or a whole word of a
    card, a tag, a data set or a class. A filter is a field, an operator and a value; quote it, as
    < and > mean something else to a shell. HERE says "yes", or which remotes have it; and whether
    what is here is ahead of, behind or diverged from what a remote had when it was fetched.

    \b
    Fields: name owner arch tag backbone head license dataset classes parent
            source pulled params input num_classes frozen accuracy loss
            updated metric.NAME
    Operators: : for texts (* stands for any characters) and yes or no;
               < <= = >= > for numbers (30M, 50%) and dates (2026-01-31)

    \b
    Examples:
      zoo search convnext in12k
      zoo search 'arch:convnext* params<30M input>=288' --sort -params
      zoo search 'dataset:digits accuracy>=0.97 pulled:yes' --json
    """
    zoo = open_zoo()
    asked |= {"license": license_, "architecture": arch}
    text = " ".join(query)
    found = zoo.search(text, sort=sort, limit=limit, **asked)
    if as_json:
        print_json([row.to_json() for row in found])
        return
    show_found(found, f"{text} {sort or ''}")
    total = zoo.count(text, at_most=MOST_COUNTED, **asked)
    if not total:
        _note_nothing(zoo, f"{text} params" if asked["max_params"] else text)
    elif total > len(found):
        many = f"more than {total}" if total == MOST_COUNTED else str(total)
        note(f"{len(found)} of {many}; --limit shows more")


def _note_nothing(zoo: Zoo, asked: str) -> None:
    if not zoo.count(at_most=1):
        note_empty(zoo)
        return
    note("nothing matches; fewer words or filters find more")
    if not zoo.is_indexed("timm"):
        note("timm's checkpoints are not listed here yet: zoo index timm")
    elif "params" in asked:
        note("checkpoints with an unknown number of parameters match no filter on params")


@click.command()
@click.argument("name")
@click.option("--all", "all_", is_flag=True, help="Show all that is known, not only the most "
              "asked for: recipe, provenance, files, preprocessing, metrics, card.")  # fmt: skip
@as_json
@home_option
def show(name: str, all_: bool, as_json: bool) -> None:
    """Show what is known of NAME: a checkpoint here, or one in the catalog.

    The JSON has all of it, with --all or without.

    \b
    Examples:
      zoo show timm/resnet50.a1_in1k
      zoo show team/flowers:v3 --all
      zoo show team/flowers:v3 --json
    """
    data = open_zoo().show(name).to_json()
    if as_json:
        print_json(data)
        return
    known = [(clean(key), clean(value)) for key, value in _lines(data)]
    lines = [(key, value) for key, value in known if all_ or key in FIRST]
    width = max(len(key) for key, _ in lines) + 1
    for key, value in lines:
        click.echo(f"{key + ':':{width}} {value}")
    if len(lines) < len(known):
        note(f"--all shows {len(known) - len(lines)} lines more")


def _lines(data: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Keys and values for people: nested ones under ``outer.inner``, nothing that is empty."""
    lines = []
    for name, value in data.items():
        key = prefix + name
        if value in (None, "", [], {}):
            continue
        if name == "classes":
            lines.append((key, f"{len(value)}: {_listed(value)}"))
        elif name in ("weights", "files"):
            lines += [(file["name"], _file(file)) for file in value]
        elif name in EACH:
            lines += [(key, EACH[name](each)) for each in value]
        elif isinstance(value, dict):
            lines += _lines(value, f"{key}.")
        elif isinstance(value, list | tuple):
            lines.append((key, ", ".join(map(_short, value))))
        else:
            lines.append((key, size(value) if name == "bytes" else _short(value)))
    return lines


EACH: dict[str, Callable[[dict[str, Any]], str]] = {
    "at_remotes": at_remote,
    "limits": lambda each: f"{each['limit']}: {each['license']}, from {each['from']}",
    "locations": lambda each: f"{each['source']}: {each['locator']}",
    "parents": lambda each: f"{each['ref']}  {each['manifest']}",
}
"""What has a line for each."""


CLASSES = 60
"""Characters of class names that are shown, beside the first one."""


def _listed(classes: Sequence[str]) -> str:
    shown = classes[0]
    for name in classes[1:]:
        if len(shown) + len(name) > CLASSES:
            return f"{shown}; …"
        shown += f"; {name}"
    return shown


FIRST = frozenset({
    "kind", "name", "manifest", "refs", "remotes", "at_remotes", "bytes", "license", "backbone",
    "backbone.plugin", "backbone.architecture", "architecture", "tag", "params", "head.kind",
    "input_size", "preprocessing.input_size", "num_classes", "head.num_classes", "classes",
    "parents", "freeze.boundary", "recipe.data", "recipe.strategy", "recipe.epochs", "datasets",
    "updated", "provenance.source", "provenance.warning", "sources", "children", "pull",
    "terms.limits", "terms.unknown", "terms.warning", "unproven", "metrics.downloads",
    *(f"metrics.{score}{end}" for score in SCORE.values() for end in ("", "_low", "_high")),
})  # fmt: skip
"""What `zoo show` prints without --all."""


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _file(file: dict[str, Any]) -> str:
    tensors = f", {file['tensors']} tensors" if "tensors" in file else ""
    return f"{size(file['size'])}{tensors}, {file['sha256']}"


@click.command()
@click.argument("name")
@as_json
@home_option
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
    hierarchy = open_zoo().tree(name)
    head = hierarchy.head
    if as_json:
        units = [
            {key: value for key, value in unit.items() if key not in ("parameters", "buffers")}
            for unit in hierarchy.to_json()["units"]
        ]
        print_json({
            "architecture": hierarchy.architecture,
            "params": hierarchy.params,
            "units": units,
            "head": {"modules": head.modules, "params": head.params, "shape": head.shape,
                     "cut": head.cut},
        })  # fmt: skip
        return
    click.echo(f"{hierarchy.architecture}: {len(hierarchy.units)} units, "
               f"{count(hierarchy.params)} parameters")  # fmt: skip
    rows: list[tuple[object, ...]] = []
    stage = ""
    for unit in hierarchy.units:
        shown, stage = ("" if unit.stage == stage else unit.stage), unit.stage
        cut = "cut" if unit.cut else ""
        rows.append((unit.depth, shown, unit.name, count(unit.params), _shape(unit.shape), cut))
    rows.append(("", "head", ", ".join(head.modules) or "none", count(head.params),
                 _shape(head.shape), "cut" if head.cut else ""))  # fmt: skip
    table(("DEPTH", "STAGE", "UNIT", "PARAMS", "OUTPUT", ""), rows)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "x".join(map(str, shape)) if shape else "-"
