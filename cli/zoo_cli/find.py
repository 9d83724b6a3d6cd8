"""zoo search, show, tree, log: look things up."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, count, note, print_json, size, table

__all__ = ["log", "search", "show", "tree"]

SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


class Amount(click.ParamType[int]):
    """A count with a suffix: ``30M``, ``1.2G``."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text, or fail as click does."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGbB]?)", str(value))
        if match is None:
            self.fail(f"'{value}' is no count: write 5000000, 5M or 1.2G", param, ctx)
        try:
            return int(float(match[1]) * SUFFIXES[match[2].lower()])
        except OverflowError:
            self.fail(f"'{value}' is too large", param, ctx)


@click.command()
@click.argument("words", nargs=-1)
@click.option("--arch", help="Architecture; * stands for any characters (convnext*).")
@click.option("--license", "license_", help="Licence id (apache-2.0).")
@click.option("--max-params", type=Amount(), help="Most parameters (30M); unknown does not match.")
@click.option("--num-classes", type=int, help="Outputs of the classifier.")
@click.option("--source", help="Source that lists it (timm, package).")
@click.option("--pulled", is_flag=True, default=None, help="Only what is here.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@as_json
@home_option
def search(words: tuple[str, ...], license_: str | None, arch: str | None, limit: int,
           as_json: bool, **filters: Any) -> None:  # fmt: skip
    """Search the checkpoints here, at fetched remotes, and in the catalog.

    Every one of WORDS must occur. HERE says "yes", or which remotes have it.

    \b
    Examples:
      zoo search convnext in12k
      zoo search lite0 --license apache-2.0
      zoo search --pulled --json
    """
    zoo = open_zoo()
    filters |= {"license": license_, "architecture": arch}
    found = zoo.search(" ".join(words), **filters, limit=limit)
    if as_json:
        print_json(
            [
                {**asdict(row), "manifest": str(row.manifest) if row.manifest else None}
                for row in found
            ]
        )
        return
    table(
        ("NAME", "PARAMS", "INPUT", "CLASSES", "LICENSE", "HERE", "ACCURACY"),
        [
            (
                row.name,
                count(row.params),
                "x".join(map(str, row.input_size[1:])) if row.input_size else "-",
                "-" if row.num_classes is None else row.num_classes,
                row.license or "-",
                "yes" if row.pulled else ", ".join(row.remotes) or "-",
                f"{row.metrics['accuracy']:.4f}" if "accuracy" in row.metrics else "-",
            )
            for row in found
        ],
    )
    total = zoo.count(" ".join(words), **filters)
    if not total and not zoo.count():
        note("the registry is empty; list timm's checkpoints: zoo index timm")
    elif not total:
        note("nothing matches; fewer words or filters find more")
        if zoo.workspace.registry.indexed_version("timm") is None:
            note("timm's checkpoints are not listed here yet: zoo index timm")
        elif filters["max_params"]:
            note("what has no known number of parameters does not match --max-params")
    elif total > len(found):
        note(f"{len(found)} of {total}; --limit {total} shows all")


@click.command()
@click.argument("name")
@as_json
@home_option
def show(name: str, as_json: bool) -> None:
    """Show all that is known of NAME: a checkpoint here, or one in the catalog.

    \b
    Examples:
      zoo show timm/resnet50.a1_in1k
      zoo show team/flowers:v3 --json
    """
    data = open_zoo().show(name)
    if as_json:
        print_json(data)
        return
    lines = [(clean(key), clean(value)) for key, value in _lines(data)]
    width = max(len(key) for key, _ in lines) + 1
    for key, value in lines:
        click.echo(f"{key + ':':{width}} {value}")


def _lines(data: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Keys and values for people: nested ones under ``outer.inner``, nothing that is empty."""
    lines = []
    for name, value in data.items():
        key = prefix + name
        if value in (None, [], {}):
            continue
        if name == "classes":
            shown = "; ".join(value[:8])
            lines.append((key, f"{len(value)}: {shown}" + ("; …" if len(value) > 8 else "")))
        elif name in ("weights", "files"):
            lines += [(file["name"], _file(file)) for file in value]
        elif name == "parents":
            lines += [(key, f"{parent['ref']}  {parent['manifest']}") for parent in value]
        elif name == "locations":
            lines += [(key, f"{place['source']}: {place['locator']}") for place in value]
        elif isinstance(value, dict):
            lines += _lines(value, f"{key}.")
        elif isinstance(value, list | tuple):
            lines.append((key, ", ".join(map(_short, value))))
        else:
            lines.append((key, size(value) if name == "bytes" else _short(value)))
    return lines


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

    NAME is a checkpoint, a catalog entry, or an architecture.

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
            "head": {"modules": head.modules, "params": head.params, "shape": head.shape},
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
                 _shape(head.shape), ""))  # fmt: skip
    table(("DEPTH", "STAGE", "UNIT", "PARAMS", "OUTPUT", ""), rows)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "x".join(map(str, shape)) if shape else "-"


@click.command()
@click.argument("name")
@click.option("--ref", is_flag=True, help="Only what the name pointed at.")
@as_json
@home_option
def log(name: str, ref: bool, as_json: bool) -> None:
    """Show the lineage of NAME, and what the name pointed at before.

    \b
    Examples:
      zoo log team/flowers
      zoo log team/flowers --ref
    """
    data = open_zoo().log(name)
    if ref:
        data = {key: data[key] for key in ("name", "manifest", "history")}
    if as_json:
        print_json(data)
        return
    if not ref:
        click.echo("lineage")
        for depth, step in enumerate(data["ancestors"]):
            click.echo(f"  {'  ' * depth}{_step(step)}")
        for step in data["children"]:
            click.echo(f"  child: {_step(step)}")
    if data["history"]:
        click.echo(f"history of {data['name']}")
        rows = [
            (f"  #{move['number']}", move["at"], move["by"], move["manifest"][7:19], move["why"])
            for move in data["history"]
        ]
        table(("  MOVE", "AT", "BY", "CHECKPOINT", "WHY"), rows)


def _step(step: dict[str, Any]) -> str:
    parts = [step["name"], step["manifest"][7:19]]
    if not step["here"]:
        parts.append("(not in this zoo)")
    elif step["freeze"]:
        parts.append(f"frozen below {step['freeze']['boundary']}")
    if accuracy := step.get("metrics", {}).get("accuracy"):
        parts.append(f"accuracy {accuracy:.4f}")
    if step.get("source"):
        parts.append(f"from {step['source']}")
    return clean("  ".join(parts))
