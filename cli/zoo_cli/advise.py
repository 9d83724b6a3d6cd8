"""zoo advise: what the images say before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.recipe import DEFAULTS, chosen
from zoo.domain.words import plural
from zoo_cli.command import PATH, POSITIVE, command, device_option, flag, open_zoo, quiet_option
from zoo_cli.output import clean, note, paragraph, print_json, table
from zoo_cli.recipe_options import opening_options

if TYPE_CHECKING:
    from zoo.advice.advise import Advice
    from zoo.advice.facts import Duplicate, Facts
    from zoo.advice.layers import Layers

__all__ = ["advise"]

HEAD = "head"
"""What the last features are called."""
SHOWN = 5
"""Most suspects of each kind that are printed."""
CLASSES = 20
"""Most classes whose images are counted one by one."""


@command(extra="--base")
@click.argument("data")
@click.option("--base", required=True, help="The checkpoint to fine-tune: it looks at the images.")
@opening_options("image_size", "group_by", "seed")
@click.option(
    "--out",
    type=PATH,
    help="A folder for all suspects, their contact sheet, and a table that keeps together what "
    "shows the same.",
)
@flag("--force", help="Replace the advice in that folder.")
@opening_options()
@click.option(
    "--batch-size", type=POSITIVE, default=32, show_default=True, help="Images that run at once."
)
@device_option
@quiet_option
def advise(data: str, base: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Say what the images in DATA are, and what BASE knows of them.

    Says first whether pictures that measure a network are among those that it is trained on. Then
    classes and sizes; how well a probe does at each depth of the network, and what more images
    would bring; the same picture twice; labels that may be wrong; images that are like no other
    one. DATA is what zoo finetune takes. Nothing is changed, and no network is trained.

    \b
    Examples:
      zoo advise flowers/ --base timm/tf_efficientnet_lite0.in1k
      zoo advise flowers/ --base team/base --out advice
    """
    advice = open_zoo(quiet=quiet).advise(base, data, **options)
    if as_json:
        print_json(advice.to_json())
        return
    for line in _leaks(advice, options["group_by"]):
        paragraph(line)
    rows = [*_about(advice.facts), *_suspects(advice.facts)]
    wide = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:{wide}}  {clean(text)}")
    if advice.layers:
        _print_layers(advice, advice.layers, options)
    _print_suspects(advice.facts)
    for remark in advice.remarks:
        paragraph(f"NOTE: {remark}")
    if out := options["out"]:
        note(f"written to {out}")


def _leaks(advice: Advice, group_by: str) -> Iterator[str]:
    """What makes later figures wrong, and what to do about it."""
    for leak in advice.facts.leaks:
        pair = leak.example
        verb = "shows" if leak.images == 1 else "show"
        yield (
            f"LEAK: {leak.images} of {plural(leak.of, f'{leak.part} image')} {verb} what is in "
            f"another split, too, such as '{pair.image}' ({pair.part}) and '{pair.other}' "
            f"({pair.other_part}): figures on these say nothing about new images"
        )
    if advice.facts.leaks and advice.groups:
        yield (
            f"To keep together what shows the same: zoo finetune {quote(advice.base)} --data "
            f"{quote(str(advice.groups))} --group-by group"
        )
    elif advice.facts.leaks and not group_by:
        yield (
            "To keep together what shows the same: --group-by folder, or a pattern or column that "
            "names it; with --out FOLDER such a table is written (groups.csv)"
        )


def _about(facts: Facts) -> Iterator[tuple[str, str]]:
    parts = ", ".join(f"{number:,} {part}" for part, number in facts.images.items())
    yield "images", f"{sum(facts.images.values()):,}: {parts}"
    if facts.classes and len(facts.classes) <= CLASSES:
        yield "classes", ", ".join(f"{name} {number}" for name, number in facts.classes.items())
    elif facts.classes:
        least = min(facts.classes, key=lambda name: facts.classes[name])
        yield "classes", f"{len(facts.classes)}, the smallest: {least} {facts.classes[least]}"
    if facts.balance is not None:
        yield (
            "balance",
            f"the largest class has {facts.balance:.1f} times the images of the smallest",
        )
    sizes = facts.sizes
    ends = [
        f"{width} x {height}" for width, height in (sizes.smallest, sizes.median, sizes.largest)
    ]
    small = f"; {sizes.enlarged:,} are enlarged for the network" if sizes.enlarged else ""
    yield "sizes", f"{ends[0]} to {ends[2]} pixels, half of them up to {ends[1]}{small}"


def _suspects(facts: Facts) -> Iterator[tuple[str, str]]:
    if skipped := facts.skipped:
        key, reason = skipped[0]
        yield "unusable", f"{plural(len(skipped), 'image')}, such as {key}: {reason} (--skip-bad)"
    if pairs := facts.duplicates:
        copies = sum(pair.copy for pair in pairs)
        text = f"{plural(len(pairs), 'pair')} of images, {copies} of them copies byte by byte"
        if wrong := facts.contradictory:
            text += f"; {plural(len(wrong), 'pair')} with two labels"
        yield "the same picture", text
    if (known := facts.learnable) is not None:
        found = f"{known.accuracy:.3f} ({known.low:.2f}-{known.high:.2f})"
        if known.learnable:
            yield "classes told apart", f"{found} right out of fold, {known.chance:.3f} by chance"
        else:
            yield (
                "classes told apart",
                f"no: {found} right out of fold, {known.chance:.3f} by chance. Nothing "
                "can be learned here, as far as this many images show: are these their labels?",
            )
    if facts.doubted:
        yield "labels doubted", f"{len(facts.doubted):,}"
    if facts.odd:
        yield "like no other", plural(len(facts.odd), "image")


def _print_layers(advice: Advice, layers: Layers, options: Mapping[str, Any]) -> None:
    """The score of a probe at each depth, and what that says."""
    depths, growth = layers.depths, layers.growth
    rows = [
        (each.at, each.features, _span(each.score, each.low, each.high)) for each in depths.depths
    ]
    click.echo()
    table(("PROBE AT", "FEATURES", f"{layers.score.upper()} OUT OF FOLD"), rows)
    click.echo()
    gain, low, high = depths.gained
    if low > 0:
        paragraph(
            f"{depths.earlier} is {gain:.3f} ({low:.3f} to {high:.3f}) better than the last "
            "features: so it is where images are unlike those that the network was trained on"
        )
    else:
        paragraph(
            "No earlier depth alone is better than the last features, as far as can be seen: so it "
            "is where images are like those that the network was trained on"
        )
    parts = ", ".join(f"{each.score:.3f} with {each.images:,}" for each in growth.sizes)
    paragraph(
        f"All depths together reach {parts} images; {growth.more} more would bring about "
        f"{growth.brings:.3f} ({growth.low:.3f} to {growth.high:.3f})"
    )
    at = "" if depths.best == HEAD else f" --at {depths.best}"
    paragraph(
        f"The best of these: zoo finetune {quote(advice.base)} --data {quote(advice.data)} "
        f"{_of_data(options)}--strategy probe{at} --save NAME"
    )


def _of_data(options: Mapping[str, Any]) -> str:
    """The options of a fine-tune that say which images these are, as they were given."""
    words = ""
    for name, value in chosen({name: options.get(name) for name in DEFAULTS}).items():
        option = f"--{name.replace('_', '-')}"
        words += f"{option} " if value is True else f"{option} {quote(str(value))} "
    return words


def _span(score: float, low: float, high: float) -> str:
    return f"{score:.3f} ({low:.3f}-{high:.3f})"


def _print_suspects(facts: Facts) -> None:
    across = [pair for pair in facts.duplicates if pair.part != pair.other_part]
    for kind, pairs in (
        ("IN TWO SPLITS", across),
        ("WITH TWO LABELS", facts.contradictory),
        ("TWICE", [pair for pair in facts.duplicates if pair not in across]),
    ):
        if pairs:
            click.echo()
            table((kind, "LABEL", "AND", "LABEL"), [_pair(pair) for pair in pairs[:SHOWN]])
    if facts.doubted:
        click.echo()
        rows = [
            (one.image, f"{one.label} {one.of_label:.2f}", f"{one.predicted} {one.probability:.2f}")
            for one in facts.doubted[:SHOWN]
        ]
        table(("DOUBTED", "LABEL", "LOOKS LIKE"), rows)
    if facts.odd:
        click.echo()
        rows = [(one.image, one.label, f"{one.far:.1f}") for one in facts.odd[:SHOWN]]
        table(("LIKE NO OTHER", "LABEL", "DEVIATIONS"), rows)


def _pair(pair: Duplicate) -> tuple[str, str, str, str]:
    return pair.image, pair.label, pair.other, pair.other_label
