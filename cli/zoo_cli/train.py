"""zoo finetune, predict: train and use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, print_json

__all__ = ["finetune", "predict"]


@click.command()
@click.argument("base")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with one folder of images per class.",
)
@click.option("--save", required=True, help="Name to keep the result under (team/flowers).")
@click.option(
    "--freeze",
    default="none",
    show_default=True,
    help="none, all, a unit or stage up to which to freeze (zoo tree lists them), "
    "a count (6, -2), or a share (75%).",
)
@click.option("--head", default="linear", show_default=True, help="Kind of the new head.")
@click.option("--epochs", type=int, default=5, show_default=True)
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option(
    "--lr",
    type=float,
    default=3e-3,
    show_default=True,
    help="Learning rate of the head; the backbone's is a tenth of it.",
)
@click.option("--weight-decay", type=float, default=0.01, show_default=True)
@click.option(
    "--test-share",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of each class held out to measure the result.",
)
@click.option("--image-size", type=int, help="Height and width in pixels (default: the base's).")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto (the accelerator if there is one), cpu, cuda, cuda:1, mps.",
)
@as_json
@home_option
def finetune(base: str, data: Path, save: str, device: str, as_json: bool, **options: Any) -> None:
    """Fine-tune the checkpoint BASE on your images and keep the result as a checkpoint.

    Units below the freeze depth keep their weights, norms included; the head is replaced by one
    with your classes; the result is measured on held-out images and saved with its classes,
    preprocessing, metrics, recipe and parent.

    \b
    Example:
      zoo finetune timm/tf_efficientnet_lite0.in1k --data flowers/ --freeze blocks.4 \\
          --save team/flowers
    """
    result = open_zoo().finetune(base, data, save, device=device, **options)
    if as_json:
        print_json(result.to_json())
        return
    plan, metrics = result.freeze, result.metrics
    click.echo(
        f"{result.ref}  {result.manifest.short}  accuracy {metrics['accuracy']:.4f} on "
        f"{metrics['test_images']:.0f} held-out images; {plan['frozen_units']} units frozen, "
        f"trained from {plan['boundary']}; {result.seconds:.0f} s"
    )


@click.command()
@click.argument("name")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many classes to name.",
)
@as_json
@home_option
def predict(name: str, images: tuple[Path, ...], top: int, as_json: bool) -> None:
    """Name the likeliest classes of IMAGES with the checkpoint NAME.

    \b
    Example:
      zoo predict team/flowers photo.jpg
    """
    found = open_zoo().predict(name, images, top=top)
    if as_json:
        print_json([prediction.to_json() for prediction in found])
        return
    for prediction in found:
        pairs = zip(prediction.classes, prediction.probabilities, strict=True)
        likely = "  ".join(f"{clean(label)} {share:.3f}" for label, share in pairs)
        click.echo(f"{clean(prediction.image)}: {likely}")
