"""zoo bench: how fast a checkpoint runs on a device."""

from __future__ import annotations

from typing import Any

import click

from zoo.domain.words import plural
from zoo_cli.command import POSITIVE, command, device_option, flag, open_zoo, quiet_option
from zoo_cli.output import note, print_json, size, table

__all__ = ["bench"]


@command()
@click.argument("name")
@device_option
@click.option(
    "--batch-size",
    "batch_sizes",
    type=POSITIVE,
    multiple=True,
    default=(1, 8, 32),
    show_default=True,
    help="Images that run at once; give it again for others.",
)
@click.option("--threads", type=POSITIVE, help="Of the CPU.  [default: as many as torch takes]")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="What it computes in.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="For each batch size, after a warm-up.",
)
@flag("--no-save", help="Do not keep the figures in the zoo.")
@quiet_option
def bench(name: str, no_save: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure how fast NAME runs here, and the memory that it takes.

    It runs on random images of its own size, from images in memory to outputs there. What else the
    machine does at the time makes it slower. The zoo keeps the figures, of each kind of device the
    last: zoo show has them, and searches find them (ms.cpu<20, images_per_second.cuda>1000).

    \b
    Examples:
      zoo bench team/flowers
      zoo bench team/flowers --device cuda --precision bf16 --batch-size 1 --batch-size 256
      zoo search 'ms.cpu<20' --sort -accuracy
    """
    done = open_zoo(quiet=quiet).bench(name, save=not no_save, **options)
    if as_json:
        print_json(done.to_json())
        return
    rows = [
        (
            each.batch,
            f"{each.ms:.4g}",
            f"{each.p95:.4g}",
            f"{each.images_per_second:.4g}",
            "-" if each.memory is None else size(each.memory),
        )
        for each in done.batches
    ]
    table(("BATCH", "MS", "P95", "IMAGES/S", "MEMORY"), rows)
    threads = f", {plural(done.threads, 'thread')}" if done.device == "cpu" else ""
    shape = "x".join(map(str, done.input_size))
    note(f"{shape} in {done.precision} on {done.model}{threads}, torch {done.torch}")
