"""What people say of weights that nobody wrote down: options of ``zoo import`` and ``zoo edit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from zoo.domain import license_ids, metric_names
from zoo.domain.preprocessing import FILTERS
from zoo.domain.surgery import parse_size
from zoo.domain.task import TASKS
from zoo_cli.command import PATH
from zoo_cli.output import note

__all__ = ["stated_options"]

F = TypeVar("F", bound=Callable[..., None])


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
) -> dict[str, float | None]:
    """Of ``accuracy=0.91``, however often it is given; None for ``accuracy=`` of `zoo edit`."""
    metrics: dict[str, float | None] = {}
    for text in value:
        name, equals, number = text.partition("=")
        if name and equals and not number and context.info_name == "edit":
            metrics[name] = None
            continue
        try:
            metrics[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"'{text}' is not like accuracy=0.91", param=param) from error
        # Before files are read; `zoo edit` has it among its remarks.
        imports = context.info_name == "import" and not context.resilient_parsing
        if imports and (remark := metric_names.remark(name)):
            note(remark)
    return metrics


def _license(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value and not context.resilient_parsing and (remark := license_ids.remark(value)):
        note(remark)
    return value


OPTIONS = (
    click.option(
        "--classes",
        type=PATH,
        metavar="FILE",
        help="A file with the class names in the order of the outputs: one on each line, or JSON.",
    ),
    click.option(
        "--task",
        type=click.Choice(TASKS),
        help="What the outputs mean: one class of several (unless you say otherwise), labels that "
        "each hold or not, or numbers.",
    ),
    click.option(
        "--mean",
        callback=_numbers,
        metavar="NUMBERS",
        help="Mean that images are normalized with: 0.5, or 0.5,0.4,0.4.",
    ),
    click.option(
        "--std",
        callback=_numbers,
        metavar="NUMBERS",
        help="Standard deviation that they are normalized with.",
    ),
    click.option(
        "--crop",
        "crop_pct",
        type=float,
        help="Share of the resized image that the crop keeps: 0.875.",
    ),
    click.option(
        "--interpolation", type=click.Choice(FILTERS), help="Filter that images are resized with."
    ),
    click.option(
        "--image-size", callback=_size, metavar="SIZE", help="Height and width: 320, or 320x256."
    ),
    click.option("--license", callback=_license, help="License id (apache-2.0)."),
    click.option(
        "--dataset", help="What the weights were trained on; zoo best --dataset finds it."
    ),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_metrics,
        help="A figure that you have measured (accuracy=0.91); repeatable.",
    ),
)


def stated_options(function: F) -> F:
    """Give a command these options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
