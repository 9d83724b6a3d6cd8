"""zoo compare, diff, identify: checkpoints side by side; what is different between two of them;
which one an unknown file is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.domain.recipe import chosen
from zoo.domain.task import COUNTS, SCORE, is_count
from zoo_cli.command import PATH, command, flag, open_zoo
from zoo_cli.errors import raise_last
from zoo_cli.output import (
    FOUND,
    brief,
    clean,
    count,
    note,
    percent,
    print_json,
    print_json_list,
    shortened,
    side_by_side,
    size,
    table,
)

if TYPE_CHECKING:
    from zoo.errors import InvalidWeights
    from zoo.lookup.diff import Changes, Diff
    from zoo.lookup.identify import FileMatch, Identified, UnitMatch
    from zoo.lookup.side_by_side import Column, Compared, Figure

__all__ = ["compare", "diff", "identify"]

SHOWN = 8
"""So many class names, or units, are listed; the JSON has all."""
FILE_WIDTH = 24
"""Of a list of files, at least: how long their names are shows as they come."""
RECORDED = ("backbone", "preprocessing", "recipe", "freeze", "metrics", "license")
VERDICTS = {
    "same": "is",
    "cast": "is a cast of",
    "part": "is a part of",
    "derived": "shares weights with",
    "unproven": "may be",
}


each_seed = flag("--each-seed", help="A column for each, also where only seeds differ.")


@command()
@click.argument("names", nargs=-1, required=True)
@each_seed
def compare(names: tuple[str, ...], each_seed: bool, as_json: bool) -> None:
    """Show checkpoints side by side: what differs, and all figures.

    Figures have their 95% intervals. Those that differ in nothing but their seed are one column,
    with the mean and the standard deviation over the seeds. zoo diff compares the weights of two.

    \b
    Examples:
      zoo compare team/flowers:v1 team/flowers:v2 team/flowers
      zoo compare team/flowers team/probe --json
    """
    if len(names) < 2:
        raise click.UsageError("name two or more to compare; zoo show shows one")
    compared = open_zoo().compare(*names, fold=not each_seed)
    if as_json:
        print_json(compared.to_json())
    else:
        print_compared(compared)


def print_compared(compared: Compared) -> None:
    """Print checkpoints or runs side by side."""
    for column in compared.columns:
        for line in _about(column):
            click.echo(clean(line))
    click.echo()
    recipes = [
        (name.replace("_", " "), [_option(column, name) for column in compared.columns])
        for name in compared.differs
    ]
    metrics = dict.fromkeys(name for column in compared.columns for name in column.metrics)
    figures = [
        (_called(name), [_figure(name, column.metrics.get(name)) for column in compared.columns])
        for name in metrics
        if "@" not in name or name.partition("@")[0] in SCORE.values()
    ]
    side_by_side([_titled(column) for column in compared.columns], [*recipes, *figures])
    if missing := [column.name for column in compared.columns if column.recipe is None]:
        note(f"no recipe is known of {', '.join(missing)}")
    elif not recipes:
        note("recipes do not differ")
    if any("-" in values for _, values in figures):
        note("a figure that is -: not measured here (zoo evaluate NAME DATA)")
    if any(len(column.names) > 1 for column in compared.columns):
        note("mean ± standard deviation over the seeds; (…): 95% interval of one")
    for remark in compared.remarks:
        note(f"NOTE: {remark}")


def _about(column: Column) -> Iterator[str]:
    """What it is, where it is from, and how it ended."""
    first = [column.name, *([column.manifests[0].short] if column.manifests else [])]
    first += [column.status] if column.status else []
    first += [f"-> {column.save}"] if column.save else []
    if column.reached:
        first.append(f"(came to {column.reached})")
    yield "  ".join(first)
    if column.architecture:
        number = f"{count(column.params)} parameters, {size(column.bytes or 0)}"
        yield f"  {column.architecture}, {number}"
    if column.lineage:
        names = (f"{name} {FOUND}" if name in column.found else name for name in column.lineage)
        yield f"  from {', '.join(names)}"
    if len(column.names) > 1:
        yield f"  with {', '.join(column.names[1:])}: seeds {', '.join(map(str, column.seeds))}"


def _titled(column: Column) -> str:
    return f"{column.name} ({len(column.names)} seeds)" if len(column.names) > 1 else column.name


def _option(column: Column, name: str) -> str:
    value = None if column.recipe is None else column.recipe.get(name)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def _called(name: str) -> str:
    return COUNTS.get(name, name.replace("_", " ").replace("@", " on "))


def _figure(name: str, figure: Figure | None) -> str:
    """A figure with its interval, or its spread: ``0.978 (0.96-0.99)``, ``0.97 ± 0.01``."""
    if figure is None:
        return "-"
    if is_count(name) and not figure.std:
        return f"{figure.value:.0f}"
    if figure.std is not None:
        return f"{figure.value:.3f} ± {figure.std:.3f}"
    return brief(figure.value, figure.low, figure.high) + figure.remark


@command()
@click.argument("a")
@click.argument("b")
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare the checkpoints A and B, unit by unit.

    DISTANCE is the length of the change as a share of A's weights, COSINE that of the angle between
    both: 1 is the same direction. Below the units is what is recorded of both and differs.

    \b
    Examples:
      zoo diff timm/tf_efficientnet_lite0.in1k team/flowers
      zoo diff team/flowers:v1 team/flowers:v2 --json
    """
    changes = open_zoo().diff(a, b)
    if as_json:
        print_json(changes.to_json())
        return
    if changes.same:
        click.echo(clean(f"{a} and {b} are the same checkpoint"))
        return
    click.echo(clean(f"{percent(changes.identical_share)} of the weights of {b} are those of {a}"))
    rows = [
        (
            unit.unit,
            unit.status,
            f"{unit.identical}/{unit.tensors}",
            _number(unit.distance),
            _number(unit.cosine),
            unit.note,
        )
        for unit in changes.units
    ]
    least = ("", "IDENTICAL", "COSINE", "DISTANCE")
    table(("UNIT", "STATUS", "IDENTICAL", "DISTANCE", "COSINE", ""), rows, least_first=least)
    _print_records(changes)
    if not changes.units_known:
        _note_order(changes.b.architecture)


def _print_records(difference: Diff) -> None:
    """What is recorded beside the weights, as far as it differs."""
    rows: list[tuple[object, ...]]
    rows = [("head " + key, *values) for key, values in difference.head.items()]
    recipe, absent = _recipes(difference)
    for part in RECORDED:
        changes: Changes = recipe if part == "recipe" else getattr(difference, part)
        rows += [
            (part if key == part else f"{part} {key}", *map(_value, values))
            for key, values in changes.items()
        ]
    if rows:
        click.echo()
        table(("RECORDED", "A", "B"), rows)
    if absent:
        click.echo(clean(absent))
    if classes := difference.classes:
        click.echo()
        moved = f"{classes.moved} at another index"
        click.echo(f"classes: {classes.before} before, {classes.after} after, {moved}")
        for what, names in (("added", classes.added), ("removed", classes.removed)):
            if names:
                click.echo(clean(f"  {what} {len(names)}: {_listed(names)}"))


def _recipes(difference: Diff) -> tuple[Changes, str]:
    """What differs of both recipes; if only one has any, what was chosen for it, and who has none:
    beside nothing, defaults say nothing.
    """
    for own, (side, other) in enumerate(
        ((difference.a, difference.b), (difference.b, difference.a))
    ):
        if difference.recipe.get("data", ("", ""))[own] is None:  # every recipe names its data
            kept = chosen({name: values[1 - own] for name, values in difference.recipe.items()})
            remark = f"{side.name} has no recipe; of that of {other.name}, what was chosen is shown"
            return {name: difference.recipe[name] for name in kept}, remark
    return difference.recipe, ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _value(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


@command()
@click.argument("file", type=PATH)
@flag("--keys", help="Print what a server is asked by: hashes of its tensors, no weights.")
def identify(file: Path, keys: bool, as_json: bool) -> None:
    """Say which checkpoint a weights FILE is, or derives from.

    FILE is a .pth or .safetensors, or a folder: each file of weights in it and below is a line.
    Tensors are looked up by their bytes, so names do not matter:
    neither of the file nor of its tensors, with prefixes such as "module." before them. Casts to
    half precision are found, too. Nothing in the file is run.

    The page Identify of a server (zoo serve) takes what --keys prints, and needs no weights.

    \b
    Examples:
      zoo identify best.pth
      zoo identify model.safetensors --json
      zoo identify runs/
      zoo identify best.pth --keys > keys.json
    """
    if keys:
        from zoo.facade import Zoo

        click.echo(json.dumps(Zoo.file_keys(file).to_json()))  # not indented: it is sent as it is
        return
    if file.is_dir():
        _identify_folder(file, as_json=as_json)
        return
    identified = open_zoo().identify(file)
    if as_json:
        print_json(identified.to_json())
        return
    if not identified.matches:
        _print_unknown(str(file), identified.fits)
        return
    _print_best(str(file), identified.matches[0])
    if others := identified.matches[1:]:
        click.echo("also similar to")
        rows = [(f"  {shortened(one.name)}", _percent(one.share), one.verdict) for one in others]
        table(("  NAME", "SHARE", ""), rows)


def _identify_folder(folder: Path, *, as_json: bool) -> None:
    bad: list[InvalidWeights] = []
    identified = open_zoo().identify_folder(folder, bad=bad)
    if as_json:
        print_json_list(one.to_json() for one in identified)
    else:
        wide = 0
        for one in identified:  # a large file takes its time: no line waits for the next one
            if not wide:
                wide = FILE_WIDTH
                click.echo(f"{'FILE':{wide}}  WHAT")
            name = clean(one.file.relative_to(folder))
            wide = max(wide, len(name))
            click.echo(f"{name:{wide}}  {clean(_in_a_line(one))}")
    raise_last(bad)


def _in_a_line(identified: Identified) -> str:
    if not identified.matches:
        return "unknown" + (f"; fits {_listed(identified.fits)}" if identified.fits else "")
    best = identified.matches[0]
    share = f" ({_percent(best.share)})" if best.verdict == "derived" else ""
    return f"{VERDICTS[best.verdict]} {shortened(best.name)}{share}"


def _print_unknown(file: str, fits: Sequence[str]) -> None:
    click.echo(clean(f"{file}: unknown; it shares no weights with a checkpoint here"))
    if fits:
        more = f" and {len(fits) - SHOWN} more" if len(fits) > SHOWN else ""
        names = " or ".join(fits[:SHOWN])
        click.echo(clean(f"  its names and shapes are those of {names}{more}"))
    # An import finds the only one by itself.
    option = "" if len(fits) == 1 else " --architecture ARCH"
    note(f"keep it: zoo import FILE{option} --as TEAM/NAME")


def _print_best(file: str, best: FileMatch) -> None:
    name = shortened(best.name)
    shown = name if name == best.manifest.short else f"{name}  {best.manifest.short}"
    click.echo(clean(f"{file} {VERDICTS[best.verdict]} {shown}"))
    if not best.here:
        click.echo("  some of its tensors seem to be in the file; how many weights is not known")
        note(f"only a remote has it; to compare all of it: {best.pull}")
        return
    identical = "; byte for byte its own file" if best.identical_file else ""
    click.echo(f"  {_percent(best.share)} of the file's weights match{identical}")
    for what, value in (
        ("cast", ", ".join(best.casts)),
        ("names begin with", best.prefix),
        ("names are converted:", _renamed(best.renamed)),
        ("first differs at", best.departs),
        ("differs in", _units(best.units)),
        ("lacks", _tensors(best.missing)),
        ("also has", _tensors(best.added)),
    ):
        if value:
            click.echo(clean(f"  {what} {value}"))
    if best.units and not best.units_known:
        _note_order(best.architecture)


def _units(units: Sequence[UnitMatch]) -> str:
    shown = [f"{one.unit} ({one.identical}/{one.tensors})" for one in units[:SHOWN]]
    more = [f"and {len(units) - SHOWN} more units"] if len(units) > SHOWN else []
    return ", ".join(shown + more)


def _tensors(names: Sequence[str]) -> str:
    if not names:
        return ""
    number = "one tensor" if len(names) == 1 else f"{len(names)} tensors"
    return f"{number}: {_listed(names)}"


def _renamed(number: int) -> str:
    if not number:
        return ""
    tensors = "one tensor has" if number == 1 else f"{number} tensors have"
    return f"{tensors} another name in the file"


def _percent(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _note_order(architecture: str | None) -> None:
    note(
        "units are inferred from the names of tensors, so their order may not be that of the "
        f"network; trace it to know: zoo tree {architecture}"
    )
