"""zoo predict, features, adapt, average: use a checkpoint on images, or in another form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from zoo.domain.surgery import parse_size
from zoo.domain.task import TASKS
from zoo.domain.words import plural
from zoo.errors import InvalidImage
from zoo_cli.command import (
    PATH,
    POSITIVE,
    batch_size_option,
    command,
    device_option,
    flag,
    on_option,
    open_zoo,
    quiet_option,
    shared_device_option,
    tell_if_deprecated,
    tta_option,
)
from zoo_cli.errors import raise_last
from zoo_cli.output import clean, moved, note, print_json, print_json_list, result, size
from zoo_cli.recipe_options import opening_options

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.backbones.predict import Prediction
    from zoo.backbones.predicted import PredictionsFile

__all__ = ["adapt", "average", "features", "predict"]

OF_TABLES = ("resume", "batch_size", "workers", "device", "on", "force")
"""Options of predict that go with --out."""
NO_HEAD = (
    "it has no head: it gives pooled features, no classes",
    "one that is trained on your images: zoo finetune {0} --data FOLDER --save NAME",
    "one that is untrained: zoo adapt {0} NEW --classes COUNT",
)


@command()
@click.argument("name")
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--top",
    type=POSITIVE,
    default=3,
    show_default=True,
    help="How many classes to name.",
)
@click.option("--out", type=PATH, help="A table to write instead, .csv or .parquet.")
@flag("--resume", help="Go on with a table that was cut off, if one was; leave one that is done.")
@click.option("--explain", type=PATH, help="A .png to write, too: what of an image speaks for it.")
@click.option("--class", "output", metavar="CLASS", help="Explain this one, not the likeliest.")
@click.option(
    "--abstain-at",
    type=float,
    metavar="ACCURACY",
    help="Answer only where NAME is so sure that this share of such answers was right on its "
    "validation images (0.99).",
)
@tta_option
@flag("--no-calibration", help="Do not take the temperature that NAME keeps.")
@opening_options("path_column", "root", "max_pixels")
@click.option(
    "--batch-size", type=POSITIVE, help="Images that run at once  [default: 32, on the CPU 4]"
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that decode images  [default: as many as there are cores]",
)
@shared_device_option
@on_option
@flag("--skip-bad", help="Skip and count images that cannot be read.")
@flag("--force", help="Replace the file if it exists, or begin anew what was cut off.")
@quiet_option
def predict(
    name: str,
    images: tuple[Path, ...],
    out: Path | None,
    explain: Path | None,
    output: str | None,
    no_calibration: bool,
    skip_bad: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict classes, labels or numbers of IMAGES with NAME.

    Of a folder, all images in it and below are taken; what is hidden is left out. Of a table
    (.csv, .tsv, .parquet), those that its rows name. Each line is
    printed as soon as it is known. An image that cannot be read is told, the others go on, and the
    exit status is 1; with --skip-bad, such images are counted, and it is 0 if any could be read.

    With --out, images run in batches, on all devices that --device names, and any number of them
    takes no more memory. One that cannot be read is a row whose "problem" says why. What is done
    lies beside the table in OUT.partial until all of it is: the same command with --resume
    completes it. Of a table that is complete, --resume does nothing, and the exit status is 0.
    --on has all nodes of a Ray cluster share the images, which lie where each of them reaches them.

    With --json, "classes" are the likeliest, best first, each with its place in "probabilities";
    "logits" are of all "outputs", which are named in the order that the network has.

    With --explain, one image is also drawn as the network sees it, gray, and over it how much each
    place speaks for the class, from violet to yellow: by Grad-CAM, or where a network ends in
    tokens (ViT) by integrated gradients.

    A fine-tune keeps what its validation images tell of its answers: its probabilities are
    calibrated by that, and images that are unlike its training images are marked, with how many
    times as far they are as 95 % of the validation images stay within.

    \b
    Examples:
      zoo predict team/flowers photo.jpg
      zoo predict team/flowers photos/ --json > predictions.json
      zoo predict team/flowers photos/ --out predictions.csv
      zoo predict team/flowers photos/ --out predictions.csv --resume
      zoo predict team/flowers photos/ --out predictions.parquet --device all --batch-size 256
      zoo predict team/flowers /mnt/photos --out predictions.csv --on ray://head:10001
      zoo predict team/flowers photo.jpg --explain why.png --class rose
      zoo predict team/flowers photos/ --abstain-at 0.99
      zoo predict team/flowers photos/ --tta flip
      zoo predict team/flowers photos/ --skip-bad
    """
    _check_asked(images, out, explain, output)
    of_tables = {each: options.pop(each) for each in OF_TABLES}
    zoo, bad = open_zoo(quiet=quiet), list[InvalidImage]()
    tell_if_deprecated(zoo, name)
    options["calibration"] = not no_calibration
    if out is not None:
        written = zoo.write_predictions(name, images, out, **of_tables, **options)
        if written.images > written.unreadable:
            _tell_trust(zoo, name, options["abstain_at"], calibrated=written.calibrated)
        _tell_written(written, skip_bad=skip_bad, as_json=as_json)
        return
    if explain:  # first: a class that it has not, or a picture that is there, ends it
        _draw(zoo, name, images[0], output, explain, options["max_pixels"], of_tables["force"])
    predictions = zoo.predictions(name, images, bad=bad, **options)
    predictions = _with_remarks(
        zoo, name, predictions, options["abstain_at"], bad if skip_bad else []
    )
    if as_json:
        print_json_list(prediction.to_json() for prediction in predictions)
    else:
        for prediction in predictions:
            click.echo(_likely(prediction))
    raise_last(bad)


def _draw(
    zoo: Zoo,
    name: str,
    image: Path,
    output: str | None,
    out: Path,
    max_pixels: int | None,
    force: bool,
) -> None:
    explained = zoo.explain(name, image, output or "", max_pixels=max_pixels)
    explained.write(out, force=force)
    note(f"{clean(out)} shows what speaks for {explained.output}, at {explained.unit}")


def _check_asked(
    images: Sequence[Path], out: Path | None, explain: Path | None, output: str | None
) -> None:
    context = click.get_current_context()
    for each in (*OF_TABLES, "quiet") if out is None else ():
        given = context.get_parameter_source(each) is ParameterSource.COMMANDLINE
        if given and each == "force" and explain is None:
            raise click.UsageError("--force replaces a file: it goes with --out or --explain.")
        if given and each != "force":
            option = f"--{each.replace('_', '-')}"
            raise click.UsageError(f"{option} is for a table: it goes with --out.")
    if output and explain is None:
        raise click.UsageError("--class says what is explained: it goes with --explain.")
    if explain and (out or len(images) > 1 or images[0].is_dir()):
        raise click.UsageError("--explain goes with one image, and without --out.")


def _tell_written(written: PredictionsFile, *, skip_bad: bool, as_json: bool) -> None:
    if as_json:
        print_json(written.to_json())
    else:
        images = f"{plural(written.images, 'image')} by {written.manifest.short}"
        if written.already:
            problems = f", {written.unreadable:,} of them with a problem" * bool(written.unreadable)
            images = f"already complete, {plural(written.images, 'row')}{problems}"
        click.echo(f"{clean(written.path)}  {images}")
    if skip_bad and written.images > written.unreadable:
        _note_skipped(written.unreadable)
    elif written.unreadable and not written.already:  # whoever wrote it was told
        raise InvalidImage(
            written.path,
            f"{written.unreadable:,} of {plural(written.images, 'image')} cannot be read; the "
            "column 'problem' says why",
        )


def _with_remarks(
    zoo: Zoo,
    name: str,
    predictions: Iterable[Prediction],
    abstain_at: float | None,
    skipped: list[InvalidImage],
) -> Iterator[Prediction]:
    """The predictions; when they are through, if there were any, what they are worth, and how many
    images were ``skipped``, which is no error then.
    """
    one = None
    for one in predictions:
        yield one
    if one is not None:
        _tell_trust(zoo, name, abstain_at, calibrated=one.calibrated)
        _note_skipped(len(skipped))
        skipped.clear()


def _note_skipped(bad: int) -> None:
    if bad:
        note(f"{plural(bad, 'bad image')} left out")


def _tell_trust(zoo: Zoo, name: str, abstain_at: float | None, *, calibrated: bool) -> None:
    """What predictions are worth, by the validation images."""
    if not calibrated and abstain_at is None:
        return  # what cannot be read was told of, and is not read again
    known = zoo.calibration(name)
    if known is None:
        return
    if calibrated and known.temperature:
        note(f"probabilities are calibrated: temperature {known.temperature:.3g}")
    if abstain_at is not None:
        step = zoo.answers_for(name, abstain_at)
        share = step.answered / known.images
        note(
            f"it answers where the probability is {step.confidence:.3f} or more: "
            f"{step.answered} of {plural(known.images, 'validation image')} ({share:.3f}), of "
            f"which {step.accuracy:.4f} were right, at least {step.low:.3f} with 95 % confidence"
        )
        if step.low < abstain_at:
            note(
                f"WARNING: so few images cannot show {abstain_at:g}, and images of another source "
                "are answered worse; leave out what is unlike the training images, too"
            )


def _likely(prediction: Prediction) -> str:
    answer = f"no answer: {prediction.likely}" if prediction.abstained else prediction.likely
    far = f"  unlike the training images, {prediction.distance:.2f}" if prediction.unlike else ""
    return clean(f"{prediction.image}: {answer}{far}")


@command(extra="--out")
@click.argument("name")
@click.argument("data")
@click.option(
    "--at",
    default="head",
    show_default=True,
    metavar="UNIT",
    help="Unit or stage whose output is taken (zoo tree lists them), or head: what the head gets.",
)
@click.option(
    "--out",
    required=True,
    type=PATH,
    help="The file to write (features.safetensors).",
)
@flag("--force", help="Replace the file if it exists.")
@click.option(
    "--task",
    type=click.Choice(TASKS),
    help="What the labels are; default: what the data looks like.",
)
@opening_options()
@opening_options("image_size")
@flag("--skip-bad", help="Skip and count images that cannot be read.")
@batch_size_option
@device_option
def features(name: str, data: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write the features of each image in DATA, as NAME sees it.

    That is what leaves one of its units, averaged over all places: a vector for each image. DATA is
    what zoo finetune takes, or images without labels: a folder of them, or a quoted pattern. The
    file is safetensors: the features as `features`, labels if there are any, and in its metadata
    paths, classes, the unit and the checkpoint's digest.

    \b
    Examples:
      zoo features team/flowers 'photos/*.jpg' --out photos.safetensors
      zoo features timm/tf_efficientnet_lite0.in1k flowers/ --at blocks.4 --out features.safetensors
    """
    written = open_zoo().features(name, data, out, **options)
    if as_json:
        print_json(written.to_json())
    else:
        number = f"{written.images} x {written.num_features} features"
        skipped = f"; {plural(written.skipped, 'bad image')} left out" if written.skipped else ""
        of = f"{written.unit} of {written.manifest.short}{skipped}"
        click.echo(f"{clean(written.path)}  {number} at {of}")


@command()
@click.argument("name")
@click.argument("new")
@click.option(
    "--truncate",
    metavar="UNIT",
    help="Keep all up to this unit or stage (zoo tree lists them; also a count, 6 or -2, or a "
    "share, 75%); its output is pooled. The head is gone then: --classes gives it a new one.",
)
@click.option("--image-size", metavar="SIZE", help="Height and width: 320, or 320x256.")
@click.option("--channels", type=POSITIVE, help="Channels of the input.")
@click.option(
    "--without", metavar="UNIT", multiple=True, help="Remove this residual unit; repeatable."
)
@flag("--convolutional", help="Classify every position of larger images (AlexNet, VGG).")
@click.option("--classes", type=POSITIVE, help="Number of classes of a new head.")
@click.option("--head", default="linear", show_default=True, help="Kind of the new head.")
def adapt(name: str, new: str, image_size: str | None, as_json: bool, **how: Any) -> None:
    """Keep NAME as NEW: shallower, or for other images or classes.

    What can be kept of its weights is kept: tensors that stay the same are stored once. Position
    embeddings are interpolated, weights for other channels summed or repeated, and a new head is
    untrained.

    \b
    Examples:
      zoo adapt timm/tf_efficientnet_lite0.in1k team/shallow --truncate blocks.4
      zoo adapt timm/vit_base_patch16_224.augreg_in21k team/vit-384 --image-size 384
      zoo adapt team/flowers team/gray --channels 1
    """
    height_width = parse_size(image_size) if image_size else None
    adapted = open_zoo().adapt(name, new, image_size=height_width, **how)
    if as_json:
        print_json(adapted.to_json())
    else:
        present = f"of which {size(adapted.shared)} already present"
        result(
            adapted.ref,
            adapted.manifest,
            *moved(adapted.ref, adapted.moved_from, adapted.change),
            f"from {name}: {size(adapted.nbytes)}, {present}",
            *(line.format(adapted.ref) for line in NO_HEAD if adapted.headless),
        )


@command(extra="--as")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--as", "save", required=True, metavar="NEW", help="Keep the mean under this name.")
@click.option(
    "--data",
    default="",
    metavar="DATA",
    help="Images that they were trained on, with labels or without. Where their batch norms have "
    "statistics of their own, these are taken anew.",
)
@batch_size_option
@device_option
@quiet_option
def average(names: tuple[str, ...], save: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Keep the mean of the weights of several fine-tunes as NEW.

    That is a uniform "model soup" (Wortsman et al., 2022): of fine-tunes of one checkpoint, with
    other seeds or recipes, the mean is often better than each, and costs no more to run. They are
    of one network, and have the same classes and preprocessing. What the mean is worth, zoo
    evaluate tells.

    \b
    Examples:
      zoo average team/flowers:seed-0 team/flowers:seed-1 --as team/soup
      zoo average team/a team/b team/c --as team/soup --data flowers/train
    """
    done = open_zoo(quiet=quiet).average(names, save, **options)
    if as_json:
        print_json(done.to_json())
        return
    norms = f"statistics of {plural(done.batch_norms, 'batch norm')} taken anew"
    result(
        done.ref,
        done.manifest,
        *moved(done.ref, done.moved_from, done.change),
        f"mean of {plural(len(done.parents), 'checkpoint')}",
        *([f"{norms} from {plural(done.images, 'image')}"] if done.images else []),
        f"not measured yet: zoo evaluate {done.ref} DATA",
    )
