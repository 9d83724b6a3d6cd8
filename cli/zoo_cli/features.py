"""zoo features: what a network makes of images, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.domain.task import TASKS
from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, print_json

__all__ = ["features"]


@click.command()
@click.argument("name")
@click.argument("data")
@click.option("--at", default="head", show_default=True, metavar="UNIT", help="Unit or stage whose "
              "output is taken (zoo tree lists them), or head: what the head gets.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write "
              "(features.safetensors).")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--task", type=click.Choice(TASKS), help="What the labels are; default: what the "
              "data looks like.")  # fmt: skip
@click.option("--skip-bad", is_flag=True, help="Skip and count images that cannot be read.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True,
              help="Images that run at once.")  # fmt: skip
@click.option("--device", default="auto", show_default=True,
              help="auto (the accelerator if there is one), cpu, cuda, cuda:1, mps.")  # fmt: skip
@as_json
@home_option
def features(name: str, data: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write what the checkpoint NAME makes of the images in DATA at one of its units, averaged
    over all places: a vector of features for each image.

    DATA is what zoo finetune takes. The file is safetensors: the features as `codes`,
    labels, and in its metadata paths, classes, the unit and the checkpoint's digest.

    \b
    Example:
      zoo features timm/tf_efficientnet_lite0.in1k flowers/ --at blocks.4 --out features.safetensors
    """
    made = open_zoo().features(name, data, out, **options)
    if as_json:
        print_json(made.to_json())
    else:
        skipped = f"; {made.skipped} bad images left out" if made.skipped else ""
        click.echo(
            f"{clean(made.path)}  {made.images} x {made.features} features at {made.unit} of "
            f"{made.manifest.short}{skipped}"
        )
