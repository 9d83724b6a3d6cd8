"""zoo adapt: the same weights in another network."""

from __future__ import annotations

from typing import Any

import click

from zoo.domain.surgery import parse_size
from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import print_json, result, size

__all__ = ["adapt"]


@click.command()
@click.argument("name")
@click.argument("new")
@click.option(
    "--truncate",
    metavar="UNIT",
    help="Keep all up to this unit or stage (zoo tree lists them; also a count, 6 or -2, or a "
    "share, 75%); its output is pooled.",
)
@click.option("--image-size", metavar="SIZE", help="Height and width: 320, or 320x256.")
@click.option("--channels", type=click.IntRange(min=1), help="Channels of the input.")
@click.option(
    "--without",
    metavar="UNIT",
    multiple=True,
    help="Remove this residual unit; repeatable.",
)
@click.option(
    "--convolutional",
    is_flag=True,
    help="Classify every position of larger images (AlexNet, VGG).",
)
@click.option("--classes", type=click.IntRange(min=1), help="Number of classes of a new head.")
@click.option("--head", default="linear", show_default=True, help="Kind of the new head.")
@as_json
@home_option
def adapt(name: str, new: str, image_size: str | None, as_json: bool, **how: Any) -> None:
    """Keep the checkpoint NAME as NEW in another form: shallower, for other images, or with another
    head.

    What can be kept of its weights is kept: tensors that stay the same are stored once. Position
    embeddings are interpolated, weights for other channels summed or repeated, and a new head is
    untrained.

    \b
    Examples:
      zoo adapt timm/tf_efficientnet_lite0.in1k team/shallow --truncate blocks.4
      zoo adapt timm/vit_base_patch16_224.augreg_in21k team/vit-384 --image-size 384
      zoo adapt team/flowers team/gray --channels 1
    """
    wanted = parse_size(image_size) if image_size else None
    made = open_zoo().adapt(name, new, image_size=wanted, **how)
    if as_json:
        print_json(made.to_json())
    else:
        told = f"from {name}: {size(made.nbytes)}, of which {size(made.shared)} already present"
        result(made.ref, made.manifest, told)
