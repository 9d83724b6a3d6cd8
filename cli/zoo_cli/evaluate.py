"""zoo evaluate: measure a checkpoint on labeled images; and how a report is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.plain import Json
from zoo.domain.task import SCORE, with_intervals
from zoo.domain.words import of_groups, plural, up_to
from zoo_cli.command import (
    PATH,
    batch_size_option,
    command,
    device_option,
    flag,
    open_zoo,
    quiet_option,
    tell_if_deprecated,
    tta_option,
    workers_option,
)
from zoo_cli.output import brief, clean, note, print_json, result, table
from zoo_cli.recipe_options import opening_options

if TYPE_CHECKING:
    from zoo.finetune.evaluation import Evaluation

__all__ = ["evaluate"]

CLASSES = 40
"""Most classes that are printed; of more, the worst."""
CONFUSIONS = 5
IMAGES = 3
"""Most of those that are wrong, and unsure, that are printed."""
NAMES = 5
INTERVALS = ("_low", "_high")


@command(extra="--against")
@click.argument("name")
@click.argument("data")
@click.option(
    "--against", metavar="OTHER", help="Another checkpoint to measure on the same images."
)
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="Which of the images; default: the test split that DATA has, or that NAME was tested on "
    "if it was trained on these very images, else all.",
)
@flag(
    "--unseen",
    help="Leave out the images that NAME or OTHER was trained on or chosen by, as far as this zoo "
    "knows, and what is in one group with them.",
)
@click.option("--out", type=PATH, help="A folder for the report, all predictions and the matrix.")
@flag("--force", help="Replace the report in that folder.")
@click.option(
    "--group-by",
    default="",
    help="What belongs together, as in zoo finetune: intervals are of groups then, not of images. "
    "Default: as NAME was trained, if that was on these very images.",
)
@opening_options()
@flag("--skip-bad", help="Skip and count images that cannot be read.")
@tta_option
@batch_size_option
@device_option
@workers_option
@flag("--no-save", help="Do not keep the figures in the zoo.")
@quiet_option
def evaluate(
    name: str, data: str, no_save: bool, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Measure NAME on the labeled images in DATA, class by class.

    DATA is what zoo finetune takes. Classes are matched by name: images of a class that NAME does
    not have are left out and counted. Each figure has its 95% interval. The zoo keeps the figures:
    zoo show, search, best and compare have them.

    \b
    Examples:
      zoo evaluate team/flowers garden/
      zoo evaluate team/flowers garden.csv --against team/flowers:v1 --out report
      zoo evaluate team/flowers garden/ --against team/roses --unseen
      zoo evaluate team/flowers garden/ --tta flip
    """
    zoo = open_zoo(quiet=quiet)
    tell_if_deprecated(zoo, name)
    done = zoo.evaluate(name, data, save=not no_save, **options)
    if as_json:
        print_json(done.to_json())
        return
    _print(done)
    print_report(done.report.to_json())
    if out := options["out"]:
        note(f"written to {out}")


def _print(done: Evaluation) -> None:
    figures, score = with_intervals(done.report.metrics), SCORE[done.report.task]
    more = (f"{_words(name)} {value}" for name, value in figures.items() if name != score)
    part = "" if done.split == "all" else f", {done.split} split"
    skipped = f" ({done.skipped} bad ones left out)" if done.skipped else ""
    seen, rest = done.remarks[: bool(done.seen)], done.remarks[bool(done.seen) :]
    lines = [f"NOTE: {remark}" for remark in seen]
    unknown = [f"{name} ({plural(images, 'image')})" for name, images in done.unknown.items()]
    counted = plural(done.report.images, "image")
    if unknown and done.report.task == "classification":
        total = done.report.images + sum(done.unknown.values())
        counted = f"{done.report.images} of {plural(total, 'image')}"
        lines.append(f"on {counted}: not known to {done.name} and left out: {_listed(unknown)}")
        unknown = []
    images = f"{counted} of {done.data}{part}{skipped}"
    lines += [f"{_words(score)} {figures[score]} on {images}", "; ".join(more)]
    if done.left_out:
        others = " or ".join([done.name, *([done.against.name] if done.against else [])])
        lines.append(
            f"{plural(done.left_out, 'image')} left out: {others} was trained on them, or chosen "
            "by them, or has seen others of their groups"
        )
    if done.report.groups is not None:
        lines.append(of_groups(done.report.groups))
    if unknown:
        lines.append(f"not known to {done.name}: {_listed(unknown)}")
    if done.absent:
        lines.append(f"without an image here: {_listed(done.absent)}")
    if other := done.against:
        shown = with_intervals(other.metrics)[score]
        lines += [f"{other.name}: {_words(score)} {shown}", other.verdict]
    lines += [f"NOTE: {remark}" for remark in rest]
    result(done.name, done.manifest, *lines)


def print_report(report: Json) -> None:
    """Print figures by class, and what is confused most, of a report as JSON has it."""
    classes = report["classes"]
    if not classes:
        return
    if len(classes) > CLASSES:
        key = "f1" if "f1" in classes[0]["figures"] else next(iter(classes[0]["figures"]))
        click.echo(f"\nthe {CLASSES} of {len(classes)} classes with the lowest {key}")
        classes = sorted(classes, key=lambda one: one["figures"][key])[:CLASSES]
    else:
        click.echo()
    names = [name for name in classes[0]["figures"] if not name.endswith(INTERVALS)]
    rows = [
        (one["name"], one["images"], *(_short(one["figures"], name) for name in names))
        for one in classes
    ]
    head = ("CLASS", "IMAGES", *(_words(name).upper() for name in names))
    table(head, rows, least_first=("AVERAGE PRECISION",))
    if confusions := report["confusions"]:
        click.echo()
        rows = [
            (one["true"], one["predicted"], f"{one['images']}", _short(one, "share"))
            for one in confusions[:CONFUSIONS]
        ]
        table(("TRUE", "PREDICTED", "IMAGES", "SHARE OF THE CLASS"), rows)
        if (left := len(confusions) - CONFUSIONS) > 0:
            click.echo(f"and {plural(left, 'more pair')} of classes")
    _doubtful(report)


def _doubtful(report: Json) -> None:
    """A few of the images that are most wrong, and most unsure."""
    rows = [
        (kind, one["label"], one["predicted"], _certainty(one), one["image"])
        for kind in ("wrong", "unsure")
        for one in report.get(kind, ())[:IMAGES]  # reports of older versions have none
    ]
    if rows:
        click.echo()
        certainty = "PROBABILITY" if report["task"] == "classification" else "ERROR"
        table(("MOST", "TRUE", "PREDICTED", certainty, "IMAGE"), rows)


def _certainty(one: Mapping[str, object]) -> str:
    return f"{one['error'] if one['probability'] is None else one['probability']:.3f}"


def _short(figures: Json, name: str) -> str:
    """A figure with its interval, in few letters."""
    value = figures[name]
    low, high = (figures.get(f"{name}{end}", figures.get(end[1:])) for end in INTERVALS)
    return "-" if value is None else brief(value, low, high)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    return clean(up_to(names, NAMES))
