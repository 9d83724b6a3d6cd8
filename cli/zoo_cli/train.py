"""zoo finetune, rerun: train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from zoo import config
from zoo.domain.recipe import MOST_FOLDS
from zoo.domain.task import SCORE
from zoo.domain.words import of_groups, plural
from zoo_cli.command import (
    command,
    device_option,
    flag,
    note_option,
    open_zoo,
    quiet_option,
    tell_if_deprecated,
    workers_option,
)
from zoo_cli.launch import launch_processes
from zoo_cli.output import clean, count, moved, note, print_json, result, scored, size, table
from zoo_cli.recipe_options import recipe_from, recipe_options

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.domain.recipe import Recipe
    from zoo.finetune.folds import Folds
    from zoo.finetune.loop.find_lr import LRCurve
    from zoo.finetune.plan import FinetunePlan, PlannedPhase
    from zoo.finetune.run import Finetuned
    from zoo.finetune.seeds import Seeds

__all__ = ["finetune", "rerun"]

HOW = ("device", "save_every", "profile", "log", "launch", "report")
"""Options that a run which is resumed takes anew."""
INSTEAD = ("find_lr", "dry_run")
"""What is done instead of training."""
SEVERAL = ("seeds", "folds")
"""How often it is trained."""
SHOWN = 20
"""Classes whose images a plan counts one by one."""

force_option = flag(
    "--force", help="Move the name even from what has no class in common, or another task."
)
launch_option = click.option(
    "--launch",
    metavar="CONFIG",
    help="Run in the processes that accelerate's config file CONFIG describes, or in this many on "
    "this machine (2).",
)
log_option = click.option(
    "--log",
    multiple=True,
    metavar="TRACKER",
    help="Send the curves to wandb, mlflow, aim or a tracker of a plugin, too; repeat it for "
    "several. TensorBoard is used where it is installed.",
)
report_option = click.option(
    "--report",
    metavar="URL",
    callback=lambda _, __, url: url or "",
    help="Report the run to this server (zoo serve) while it goes on, for its pages; training "
    "never waits for that, and what did not come is sent later. It needs zoo login URL.",
)


FIRST = (
    "--data --save --freeze --strategy --epochs --batch-size --lr --image-size --augment --recipe "
    "--device --resume"
)
"""What most people need of all options."""


@command(extra="--data", first=FIRST)
@click.argument("base", required=False)
@click.option("--save", help="Name of the new checkpoint (team/flowers).")
@recipe_options
@device_option
@workers_option
@click.option(
    "--save-every",
    type=click.IntRange(min=0),
    default=0,
    show_default=False,
    help="Save the training state every so many steps, to resume from; default: each epoch, "
    "or where saving is slow, so often that it takes 2% of the time.",
)
@flag(
    "--profile",
    help="Write a trace of some steps (trace.json.gz) and what takes their time (profile.json) "
    "into the run's folder, and say it; of several phases trace-1.json.gz and so on.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Resume an interrupted run (last: your newest), on its device or another --device.",
)
@flag("--find-lr", help="Do not train: run a learning rate finder, and suggest a rate.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    help="Run so many seeds, from --seed on, one after another: each is saved under a tag "
    "(NAME:seed-3), NAME is the best on its validation images.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2, max=MOST_FOLDS),
    help="Train so often, each time with another fold of training and validation images held out "
    "(saved as NAME:fold-2), and then on all of these for as long as was best: that is NAME.",
)
@flag(
    "--dry-run",
    help="Do not train: say what was found, what is frozen and cached, and the seconds expected.",
)
@force_option
@note_option
@launch_option
@log_option
@report_option
@quiet_option
def finetune(
    base: str | None, resume: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Fine-tune BASE on your images, and keep the result.

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
      zoo finetune team/base --data flowers/ --dry-run
      zoo finetune team/base --data flowers/ --recipe small-data --save team/flowers
      zoo finetune team/base --recipe flowers.toml --epochs 20 --save team/flowers
      zoo finetune team/base --data flowers/ --seeds 5 --save team/flowers
      zoo finetune team/base --data flowers/ --folds 5 --save team/flowers
      zoo finetune team/base --data flowers/ --save team/flowers --report https://zoo.lab.org
      zoo finetune team/base --data flowers/ --save team/flowers --profile
      zoo finetune team/base --data flowers/ --save team/flowers --batch-size auto
      zoo finetune --resume last
    """
    zoo, how = open_zoo(quiet=quiet), {name: options.pop(name) for name in HOW}
    if resume is not None:
        if any(map(_is_given, ("base", *options))):
            raise click.UsageError(
                "--resume takes the options of the run: only --device, --workers, --save-every, "
                "--profile, --log, --report, --quiet and --launch can be changed."
            )
        _resume(zoo, resume, how, as_json)
    elif base is None:
        raise click.UsageError("Missing argument 'BASE'.")
    else:
        asked = {name: options.pop(name) for name in ("source", "save", *SEVERAL, *INSTEAD)}
        how |= {name: options.pop(name) for name in ("force", "note")}
        _begin(zoo, base, recipe_from(asked.pop("source"), options), asked, how, as_json)


def _resume(zoo: Zoo, run: str, how: dict[str, Any], as_json: bool) -> None:
    launch = how.pop("launch")
    if launch is not None:
        zoo.run(run)  # a name with a slip is refused before processes start
        launch_processes(launch, how["device"])
    _print(zoo.resume(run, **{**how, "device": _given("device")}), as_json)


def _tell_of_names(zoo: Zoo, base: str, save: str) -> None:
    if not config.rank():
        tell_if_deprecated(zoo, base)
    owner = save.partition("/")[0]
    if owner in zoo.sources():
        note(f"{owner}/ is where published names stand; another one, as team/, tells yours apart")


def _begin(
    zoo: Zoo, base: str, recipe: Recipe, asked: dict[str, Any], how: dict[str, Any], as_json: bool
) -> None:
    """Train, once or several times; or say what that would do."""
    save, only = asked["save"], any(asked[name] for name in INSTEAD)
    several = [name for name in SEVERAL if asked[name] is not None]
    device, launch = how["device"], how["launch"]
    if save is None and not only:
        raise click.UsageError("Missing option '--save'.")
    _tell_of_names(zoo, base, save or "")
    if len(several) > 1:
        raise click.UsageError("--seeds and --folds are two ways of training several times.")
    if several and not only:
        if asked["seeds"]:
            _print_seeds(zoo.run_seeds(recipe, base, save, seeds=asked["seeds"], **how), as_json)
        else:
            _print_folds(zoo.run_folds(recipe, base, save, folds=asked["folds"], **how), as_json)
        return
    if launch is not None:
        if not only:
            zoo.check_finetune(recipe, base, save, device=device, log=how["log"])
        launch_processes(launch, device)
    if asked["find_lr"]:
        _print_rates(zoo.find_lr(recipe, base, device=device), as_json)
    elif asked["dry_run"]:
        of = {"device": device, "log": how["log"], "force": how["force"]}
        _print_plan(zoo.plan_finetune(recipe, base, save, **of), save, as_json)
        for name in several:
            times = asked[name] + (name == "folds")
            note(f"with --{name} {asked[name]} it is done {times} times")
    else:
        _print(zoo.run_recipe(recipe, base, save, **how), as_json)


@command(extra="--save")
@click.argument("name")
@click.option("--save", required=True, help="Name of the new checkpoint.")
@click.option(
    "--data", help="Where the images are now, if they moved, or it was trained elsewhere."
)
@click.option("--root", default="", help="With --data: where paths in that table begin.")
@device_option
@workers_option
@force_option
@note_option
@launch_option
@log_option
@report_option
@quiet_option
def rerun(
    name: str,
    save: str,
    data: str | None,
    root: str,
    device: str,
    launch: str | None,
    log: tuple[str, ...],
    report: str,
    force: bool,
    note: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fine-tune again as NAME was: same base, images and recipe.

    On a CPU, with the same versions of torch and timm and as many processes (zoo show --json
    tells how many there were), this gives the same bits.

    \b
    Example:
      zoo rerun team/flowers --save team/flowers-again
    """
    zoo = open_zoo(quiet=quiet)
    if launch is not None:
        zoo.show(name)  # a name with a slip is refused before processes start
        launch_processes(launch, device)
    done = zoo.rerun(
        name,
        save,
        data=data,
        root=root,
        device=device,
        log=log,
        force=force,
        note=note,
        report=report,
    )
    _print(done, as_json)


def _given(option: str) -> str | None:
    """Its value, unless that is the default."""
    return str(click.get_current_context().params[option]) if _is_given(option) else None


def _is_given(name: str) -> bool:
    """Whether the command line has it, be it with the value that it has by default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def _print_rates(curve: LRCurve, as_json: bool) -> None:
    if config.rank():
        return
    if as_json:
        print_json(curve.to_json())
        return
    shown = list(zip(curve.rates, curve.losses, strict=True))[:: max(len(curve.rates) // 12, 1)]
    table(("RATE", "LOSS"), [(f"{rate:.2e}", f"{loss:.4f}") for rate, loss in shown])
    option = f"--phases {curve.phase}@" if curve.phase else "--lr "
    if curve.suggestion:
        click.echo(f"the loss is least at {clean(option)}{curve.suggestion:.1e}")
    else:
        scatter = f"{curve.scatter:.2g}, by which single steps scatter"
        click.echo(f"no clear answer: the loss falls by less than {scatter}; keep the rate")
    if curve.folder:
        note(f"all of it: {curve.folder / 'rates.csv'}, {curve.folder / 'rates.png'}")


def _print_plan(plan: FinetunePlan, save: str | None, as_json: bool) -> None:
    if config.rank():
        return
    if as_json:
        print_json(plan.to_json())
        return
    split, seconds = plan.split, plan.seconds
    images = sum(split.values())
    kind = "columns" if plan.task == "regression" else "classes"
    rows = [("images", f"{images:,} in {len(plan.classes)} {kind}, {len(plan.skipped)} left out")]
    rows += [("", f"{key}: {reason}") for key, reason in plan.skipped]
    rows += [("", text) for text in plan.remarks]
    rows.append(("split", ", ".join(f"{count:,} {part}" for part, count in split.items())))
    if len(plan.classes) <= SHOWN and plan.task != "regression":
        rows.append(("classes", ", ".join(f"{name} {n}" for name, n in plan.classes.items())))
    norms = "" if plan.batch_norm == "auto" else f", batch norm {plan.batch_norm}"
    rows.append(("strategy", f"{plan.strategy}, on {plan.device}{norms}"))
    for phase in plan.phases:
        rows += _planned(phase, plan.units)
    parts = ", ".join(f"{part} {value:.0f}" for part, value in seconds.items())
    rows.append(("seconds", f"about {sum(seconds.values()):.0f}, by a few batches: {parts}"))
    rows += [("", f"not in it: {part}") for part in plan.unknown]
    if plan.moves_from:
        rows.append(("save", f"{save} is {plan.moves_from.short} now, and moves when it is done"))
        rows += [("", line) for line in (plan.change.lines if plan.change else ())]
    for name, text in rows:
        click.echo(f"{name:8}  {clean(text)}")
    click.echo("nothing was written")


def _planned(phase: PlannedPhase, units: int) -> Iterator[tuple[str, str]]:
    trained = f"{count(phase.trained_parameters)} parameters trained, from {phase.boundary} on"
    yield "frozen", f"{phase.frozen_units} of {units} units; {trained}"
    if phase.cached_at:
        there = "there already" if phase.cache_there else "computed once"
        yield "cached", f"what enters {phase.cached_at}, {size(phase.cache_bytes)}, {there}"
    elif phase.uncached:
        yield "cached", f"nothing: {phase.uncached}"
    if phase.epochs:
        yield "training", f"{plural(phase.epochs, 'epoch')} of {phase.steps:,} steps"


def _print_seeds(seeds: Seeds, as_json: bool) -> None:
    if as_json:
        print_json(seeds.to_json())
        return
    score = SCORE[seeds.runs[0].task]
    rows = [
        (seed, "-" if value is None else f"{value:.4f}", scored(each.task, each.metrics), each.ref)
        for seed, value, each in zip(seeds.seeds, seeds.validation, seeds.runs, strict=True)
    ]
    table(("SEED", "VALIDATION", "TEST", "SAVED AS"), rows, least_first=("VALIDATION",))
    spread, count = seeds.metrics[score], len(seeds.seeds)
    result(
        seeds.ref,
        seeds.manifest,
        *moved(seeds.ref, seeds.moved_from, seeds.change),
        *(f"{one.ref} {line}" for one in seeds.runs for line in moved(one.ref, one.moved_from)),
        f"seed {seeds.best}, {_why_best(seeds)}",
        f"{score.replace('_', ' ')} {spread.mean:.4f} ± {spread.std:.4f} on held-out images: mean "
        f"± standard deviation over {count} seeds",
        *(
            f"WARNING: seed {seed}: {each.warning}"
            for seed, each in zip(seeds.seeds, seeds.runs, strict=True)
            if each.warning
        ),
    )


def _why_best(seeds: Seeds) -> str:
    if seeds.validation[0] is None:
        return "the first: there are no validation images to choose on"
    best = "the best on its validation images"
    if seeds.same_split:
        return best
    return f"{best}; each seed has drawn others, so that luck has a part in which is best"


def _print_folds(folds: Folds, as_json: bool) -> None:
    if as_json:
        print_json(folds.to_json())
        return
    rows = [
        (number, images, f"{score:.4f}", scored(each.task, each.metrics), each.ref)
        for number, (images, score, each) in enumerate(
            zip(folds.images, folds.scores, folds.folds, strict=True), 1
        )
    ]
    table(("FOLD", "IMAGES", "HELD OUT", "TEST", "SAVED AS"), rows)
    measure, probe = folds.measure.replace("_", " "), ""
    if folds.probe is not None and folds.epochs:
        probe = f"; the probe alone {folds.probe:.4f}"
    print_finetuned(
        folds.result,
        *(f"{one.ref} {line}" for one in folds.folds for line in moved(one.ref, one.moved_from)),
        f"{measure} {folds.score:.4f} ({folds.low:.3f} to {folds.high:.3f}) out of fold, ± "
        f"{folds.std:.4f} over {len(folds.folds)} folds of {sum(folds.images)} images{probe}",
        f"trained on all of them for {plural(folds.epochs, 'epoch')}"
        if folds.epochs
        else "the probe alone, fitted to all of them",
    )


def _print(done: Finetuned, as_json: bool) -> None:
    if config.rank():
        return  # of several processes the first one speaks
    if as_json:
        print_json(done.to_json())
    else:
        print_finetuned(done)


def print_finetuned(done: Finetuned, *more: str) -> None:
    """Print what a fine-tune made, and between its name and its figures what ``more`` there is."""
    metrics = done.metrics
    text = scored(done.task, metrics)
    skipped = f" ({done.skipped} bad ones left out)" if done.skipped else ""
    result(
        done.ref,
        done.manifest,
        *moved(done.ref, done.moved_from, done.change),
        *more,
        f"{text} on {metrics['test_images']:.0f} held-out images{skipped}",
        *([of_groups(metrics["test_groups"])] if "test_groups" in metrics else ()),
        f"{_trained(done.freeze)}; {done.seconds:.0f} s",
        *([done.gained.text] if done.gained else ()),
        *([f"WARNING: {done.warning}"] if done.warning else ()),
    )


def _trained(freeze: Mapping[str, object]) -> str:
    """What was trained, and which weights are kept."""
    boundary, kept = freeze["boundary"], freeze["kept"]
    frozen = f"{plural(int(str(freeze['frozen_units'])), 'unit')} frozen"
    part = f"{freeze['trained']} " if "trained" in freeze else ""
    if kept != "probe":
        return f"{frozen}, {part}trained from {boundary}, kept {kept}"
    if boundary == "head":
        return f"{frozen}, only the head is new: a probe, fitted in one go"
    return (
        f"{frozen}, {part}trained from {boundary}, but no epoch was better than the probe: that is "
        "kept"
    )
