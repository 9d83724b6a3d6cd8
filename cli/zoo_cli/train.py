"""zoo finetune, rerun: train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from zoo import config
from zoo.domain.task import SCORE
from zoo_cli.command import command, device_option, flag, open_zoo
from zoo_cli.launch import launch_processes
from zoo_cli.output import clean, print_json, result, scored, table
from zoo_cli.recipe_options import recipe_from, recipe_options

if TYPE_CHECKING:
    from zoo.finetune.loop.find_lr import LRCurve
    from zoo.finetune.run import Finetuned
    from zoo.finetune.seeds import Seeds

__all__ = ["finetune", "rerun"]

launch_option = click.option(
    "--launch",
    metavar="CONFIG",
    help="Run in the processes that accelerate's config file CONFIG describes, or in this many on "
    "this machine (2).",
)


@command(extra="--data")
@click.argument("base", required=False)
@click.option("--save", help="Name of the new checkpoint (team/flowers).")
@recipe_options
@device_option
@click.option(
    "--save-every",
    type=click.IntRange(min=0),
    default=0,
    help="Save the training state every so many steps, to resume from; default: each epoch, "
    "or where saving is slow, so often that it takes 2% of the time.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Resume an interrupted run (last: the newest), on its device or another --device.",
)
@flag("--find-lr", help="Do not train: run a learning rate finder, and suggest a rate.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    help="Run so many seeds, from --seed on, one after another: each is saved under a tag "
    "(NAME:seed-3), NAME is the best on its validation images.",
)
@launch_option
def finetune(
    base: str | None,
    save: str | None,
    file: Path | None,
    device: str,
    save_every: int,
    resume: str | None,
    find_lr: bool,
    launch: str | None,
    seeds: int | None,
    as_json: bool,
    **options: object,
) -> None:
    """Fine-tune the checkpoint BASE on your images and keep the result as a checkpoint.

    Units below the freeze depth keep their weights, norms included; the head is replaced by one
    with your classes, fitted first to what the network says of your images; the result is measured
    on held-out images and saved with its classes, preprocessing, metrics, recipe and parent.

    DATA is a folder of class folders, a CSV or Parquet table of paths and labels, or a named
    dataset (hfds/..., wds/..., torch/...).

    \b
    Examples:
      zoo finetune timm/tf_efficientnet_lite0.in1k --data flowers/ --freeze blocks.4 \\
          --save team/flowers
      zoo finetune team/base --data flowers/ --strategy probe --at auto --save team/probe
      zoo finetune team/base --recipe flowers.toml --epochs 20 --save team/flowers
      zoo finetune team/base --data flowers/ --seeds 5 --save team/flowers
      zoo finetune --resume last
    """
    if launch is not None:
        launch_processes(launch, device)
    zoo = open_zoo()
    if resume is not None:
        changed = (base, save, file, find_lr or None, seeds, *options.values())
        if any(value not in (None, ()) for value in changed):
            raise click.UsageError(
                "--resume takes the options of the run: only --device, --save-every and --launch "
                "can be changed."
            )
        done = zoo.resume(resume, device=_given("device"), save_every=save_every)
    else:
        if base is None:
            raise click.UsageError("Missing argument 'BASE'.")
        recipe = recipe_from(file, options)
        if find_lr:
            _print_rates(zoo.find_lr(recipe, base, device=device), as_json)
            return
        if save is None:
            raise click.UsageError("Missing option '--save'.")
        if seeds is not None:
            found = zoo.run_seeds(
                recipe, base, save, seeds=seeds, device=device, save_every=save_every
            )
            _print_seeds(found, as_json)
            return
        done = zoo.run_recipe(recipe, base, save, device=device, save_every=save_every)
    _print(done, as_json)


@command(extra="--save")
@click.argument("name")
@click.option("--save", required=True, help="Name of the new checkpoint.")
@click.option(
    "--data", help="Where the images are now, if they moved, or it was trained elsewhere."
)
@click.option("--root", default="", help="With --data: where paths in that table begin.")
@device_option
@launch_option
def rerun(
    name: str,
    save: str,
    data: str | None,
    root: str,
    device: str,
    launch: str | None,
    as_json: bool,
) -> None:
    """Fine-tune again as the checkpoint NAME was: same base, images and recipe.

    On a CPU, with the same versions of torch and timm and as many processes (zoo show --json
    tells how many there were), this gives the same bits.

    \b
    Example:
      zoo rerun team/flowers --save team/flowers-again
    """
    if launch is not None:
        launch_processes(launch, device)
    zoo = open_zoo()
    done = zoo.rerun(name, save, data=data, root=root, device=device)
    _print(done, as_json)


def _given(option: str) -> str | None:
    """Its value, unless that is the default."""
    context = click.get_current_context()
    if context.get_parameter_source(option) is ParameterSource.DEFAULT:
        return None
    return str(context.params[option])


def _print_rates(found: LRCurve, as_json: bool) -> None:
    if config.rank():
        return
    if as_json:
        print_json(found.to_json())
        return
    shown = list(zip(found.rates, found.losses, strict=True))[:: max(len(found.rates) // 12, 1)]
    table(("RATE", "LOSS"), [(f"{rate:.2e}", f"{loss:.4f}") for rate, loss in shown])
    option = f"--phases {found.phase}@" if found.phase else "--lr "
    click.echo(f"the loss falls fastest at {clean(option)}{found.suggestion:.1e}")


def _print_seeds(found: Seeds, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
        return
    score = SCORE[found.runs[0].task]
    rows = [
        (seed, "-" if value is None else f"{value:.4f}", scored(each.task, each.metrics), each.ref)
        for seed, value, each in zip(found.seeds, found.validation, found.runs, strict=True)
    ]
    table(("SEED", "VALIDATION", "TEST", "SAVED AS"), rows, least_first=("VALIDATION",))
    spread, count = found.metrics[score], len(found.seeds)
    result(
        found.ref,
        found.manifest,
        f"seed {found.best}, the best on its validation images"
        if found.validation[0] is not None
        else f"seed {found.best}, the first: there are no validation images to choose on",
        f"{score.replace('_', ' ')} {spread.mean:.4f} ± {spread.std:.4f} on held-out images: mean "
        f"± standard deviation over {count} seeds",
        *(f"WARNING: seed {seed}: {each.warning}"
          for seed, each in zip(found.seeds, found.runs, strict=True) if each.warning),
    )  # fmt: skip


def _print(done: Finetuned, as_json: bool) -> None:
    if config.rank():
        return  # of several processes the first one speaks
    if as_json:
        print_json(done.to_json())
        return
    plan, metrics = done.freeze, done.metrics
    text = scored(done.task, metrics)
    skipped = f" ({done.skipped} bad ones left out)" if done.skipped else ""
    result(
        done.ref,
        done.manifest,
        f"{text} on {metrics['test_images']:.0f} held-out images{skipped}",
        f"{plan['frozen_units']} units frozen, trained from {plan['boundary']}, kept "
        f"{plan['kept']}; {done.seconds:.0f} s",
        *([done.gained.text] if done.gained else ()),
        *([f"WARNING: {done.warning}"] if done.warning else ()),
    )
