"""zoo advise: what the images say before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from zoo.domain.duration import budget_for, time_of
from zoo.domain.recipe import DEFAULTS, Recipe, chosen, in_words
from zoo.domain.words import plural
from zoo_cli.command import PATH, command, flag, open_zoo
from zoo_cli.errors import STATUS
from zoo_cli.output import clean, note, paragraph, print_json, table
from zoo_cli.recipe_options import looking_options
from zoo_cli.train import print_finetuned

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.advice.advise import Advice
    from zoo.advice.facts import Facts
    from zoo.advice.layers import Layers
    from zoo.advice.plan import AdvicePlan
    from zoo.finetune.run import Finetuned

__all__ = ["advise"]

ENDED = {
    "": "",
    "budget": "The budget is over.",
    "interrupted": "Interrupted.",
}
SHOWN = 5
"""Most suspects of each kind that are printed."""
SHEET = "suspects.png"
CLASSES = 20
"""Most classes whose images are counted one by one."""


@command(extra="--base")
@click.argument("data")
@click.option("--base", required=True, help="The checkpoint to fine-tune: it looks at the images.")
@click.option(
    "--out",
    type=PATH,
    help="A folder for all suspects, their contact sheet, a table that keeps together what shows "
    "the same, and one to correct labels in that are doubted.",
)
@flag(
    "--force",
    help="Replace the advice in that folder; with --run, move the name even from what has no class "
    "in common.",
)
@click.option(
    "--budget",
    default="10m",
    show_default=True,
    help="For so long recipes are tried (90s, 10m, 1h); 0: none is, and nothing is trained.",
)
@flag("--run", help="Carry the plan out, and save the result as --save.")
@click.option("--save", help="With --run: name of the new checkpoint (team/flowers).")
@looking_options
def advise(
    data: str, base: str, quiet: bool, as_json: bool, run: bool, save: str | None, **options: Any
) -> None:
    """Say what DATA shows, what BASE knows, and how to fine-tune.

    Says first whether pictures that measure a network are among those that it is trained on. Then
    classes and sizes; how well a probe does at each depth of the network, and what more images
    would bring; what training brings, from recipes that are tried on images that are held out; and
    the command to run. Then the same picture twice; labels that may be wrong; images that are like
    no other one. DATA is what zoo finetune takes. It is not changed.

    Ctrl-C ends the trials: the plan is of what is known by then. Asked again, they resume.

    \b
    Examples:
      zoo advise flowers/ --base timm/tf_efficientnet_lite0.in1k
      zoo advise flowers/ --base team/base --budget 0
      zoo advise flowers/ --base team/base --budget 1h --run --save team/flowers
      zoo advise flowers/ --base team/base --out advice
    """
    zoo = open_zoo(quiet=quiet)
    first = options["device"].partition(",")[0]
    device = "auto" if first == "all" else first  # a fine-tune has one
    if run != bool(save):
        raise click.UsageError(
            "--run and --save need each other, for example: --run --save team/flowers"
        )
    if save:
        zoo.check_finetune(Recipe(data=data), base, save, device=device)
    # What is to be run is refused now, and not after all the rest.
    advice = zoo.advise(base, data, skip_alone=not run, **options)
    if not as_json:
        _print(advice, options)
    how = {"device": device, "force": options["force"]}
    done = _run_plan(zoo, base, advice, save, how) if save else None
    if as_json:
        print_json(advice.to_json() | ({"result": done.to_json()} if done else {}))
    elif done:
        click.echo()
        print_finetuned(done)
    if _interrupted(advice):
        click.get_current_context().exit(STATUS["interrupted"])


def _run_plan(
    zoo: Zoo, base: str, advice: Advice, save: str, how: Mapping[str, Any]
) -> Finetuned | None:
    """Fine-tune as the plan says; not after an interrupt, which was meant for that, too."""
    if _interrupted(advice):
        return None
    if advice.plan is None:
        raise click.ClickException(
            f"there is no plan to run, so nothing was saved as {save}: see above"
        )
    return zoo.run_recipe(Recipe.from_json(advice.plan.recipe), base, save, **how)


def _interrupted(advice: Advice) -> bool:
    return advice.plan is not None and advice.plan.stopped == "interrupted"


def _print(advice: Advice, options: Mapping[str, object]) -> None:
    for line in _leaks(advice, options):
        paragraph(line)
    rows = [*_about(advice.facts), *_suspects(advice.facts)]
    wide = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:{wide}}  {clean(text)}")
    if advice.layers:
        _print_layers(advice.layers)
    elif (known := advice.facts.learnable) is None or known.learnable:
        paragraph("What each depth knows is not said: there are too few images, classes or groups")
    if advice.plan:
        _print_plan(advice.plan, _mend(advice, options))
    _print_suspects(advice.facts)
    if advice.facts.doubted:
        paragraph(_review(advice, options))
    for remark in advice.remarks:
        paragraph(f"NOTE: {remark}")
    if out := options["out"]:
        note(f"written to {out}")


def _leaks(advice: Advice, options: Mapping[str, object]) -> Iterator[str]:
    """What makes later figures wrong, or may, and what to do about it."""
    leaks = advice.facts.leaks
    for leak in leaks:
        yield leak.text
    what = "is the same" if any(leak.copies for leak in leaks) else "looks the same"
    if leaks and advice.groups:
        others = {name: options[name] for name in ("image_size", "seed")}
        others["root"] = str(advice.root)
        mended = _finetune(advice, str(advice.groups), others, "--group-by group")
        yield f"To keep together what {what}: {mended}"
    elif leaks and not options["group_by"]:
        table = ""
        if _may_write_groups(advice, options):
            table = "--out FOLDER writes a table that does (groups.csv), and says the command; "
        yield (
            f"To keep together what {what}: {table}--group-by, where the data itself names what "
            "belongs together"
        )


def _may_write_groups(advice: Advice, options: Mapping[str, object]) -> bool:
    """Whether ``--out`` may write a table of what belongs together.

    It was not given yet, and labels are classes. Of images in archives it writes none; what they
    lie in is not known here.
    """
    return not options["out"] and advice.task == "classification"


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
    verb = "is" if sizes.enlarged == 1 else "are"
    small = f"; {sizes.enlarged:,} {verb} enlarged for the network" if sizes.enlarged else ""
    yield "sizes", f"{ends[0]} to {ends[2]} pixels, half of them up to {ends[1]}{small}"


def _suspects(facts: Facts) -> Iterator[tuple[str, str]]:
    if skipped := facts.skipped:
        key, reason = skipped[0]
        yield "unusable", f"{plural(len(skipped), 'image')}, such as {key}: {reason}"
    if pairs := facts.duplicates:
        copies = sum(pair.copy for pair in pairs)
        text = f"{plural(len(pairs), 'pair')} of images, {copies} of them copies"
        if wrong := facts.contradictory:
            text += f"; {plural(len(wrong), 'pair')} with two labels"
        yield "the same picture", text
    if (known := facts.learnable) is not None:
        figure = f"{known.accuracy:.3f} ({known.low:.2f}-{known.high:.2f})"
        if known.learnable:
            yield "classes told apart", f"{figure} right out of fold, {known.chance:.3f} by chance"
        else:
            yield (
                "classes told apart",
                f"no: {figure} right out of fold, {known.chance:.3f} by chance. Nothing "
                "can be learned here, as far as this many images show: are these their labels?",
            )
    if facts.doubted:
        yield "labels doubted", f"{len(facts.doubted):,}"
    if facts.odd:
        yield "like no other", plural(len(facts.odd), "image")


def _print_layers(layers: Layers) -> None:
    """The score of a probe at each depth, and what that says."""
    depths, gain = layers.depths, layers.depths.gain
    rows = [
        (each.at, each.features, _span(each.score, each.low, each.high)) for each in depths.depths
    ]
    click.echo()
    table(("PROBE AT", "FEATURES", f"{layers.score.upper()} OUT OF FOLD"), rows)
    click.echo()
    if layers.without:
        few = ", ".join(layers.without[:SHOWN]) + (", …" if len(layers.without) > SHOWN else "")
        paragraph(f"Without {few}: fewer than two of the images that were used are theirs")
    if gain.unlike:
        paragraph(
            f"{gain.at} is {gain.score:.3f} ({gain.low:.3f} to {gain.high:.3f}) better than "
            f"{gain.end}: so it is where images are unlike those that the network was trained on"
        )
    elif gain.at != gain.over:
        paragraph(f"No earlier depth is known to be better than {gain.end}")
    if growth := layers.growth:
        sizes = ", ".join(f"{each.score:.3f} with {each.images:,}" for each in growth.sizes)
        paragraph(
            f"All depths together reach {sizes} images; {growth.more} more would bring about "
            f"{growth.brings:.3f} ({growth.low:.3f} to {growth.high:.3f})"
        )


def _mend(advice: Advice, options: Mapping[str, object]) -> tuple[str, str]:
    """What to know before anything is trained, where splits leak, and the command to run first."""
    if not any(leak.copies for leak in advice.facts.leaks):
        return "", ""
    if advice.groups:
        return "The splits leak: this draws others, which keep together what is the same", ""
    leak = "The splits leak: what is trained on them cannot be measured."
    if not _may_write_groups(advice, options):
        return f"{leak} --group-by, where the data names what is the same, draws others", ""
    words = [f"zoo advise {quote(advice.data)} --base {quote(advice.base)}"]
    words += in_words(chosen({name: options.get(name) for name in DEFAULTS}))
    words += [f"--budget {quote(str(options['budget']))}", "--out advice"]
    text = (
        f"{leak} This writes a table that keeps together what is the same, and says the command "
        "for it (--group-by):"
    )
    return text, " ".join(words)


def _review(advice: Advice, options: Mapping[str, object]) -> str:
    """How to mend labels that are wrong."""
    text = "Many doubted labels are right: look at them"
    if not advice.labels and options["out"]:
        return (
            f"{text} ({SHEET}). No table to correct them in is written, as these images are no "
            "files, or a spreadsheet would take a name for a formula"
        )
    if not advice.labels:
        return f"{text}. --out FOLDER shows them, and writes a table to correct them in"
    return (
        f"{text} ({SHEET}). They are the first rows of {advice.labels.name}: correct the labels "
        f"that are wrong, or delete the rows. Then: {advice.labels_command}"
    )


def _print_plan(plan: AdvicePlan, mend: tuple[str, str]) -> None:
    """What was tried, what is advised, and the command; how to ``mend`` splits that leak."""
    _print_tried(plan)
    click.echo()
    for line in _left_behind(plan):
        paragraph(line)
    if ended := ENDED[plan.stopped]:
        paragraph(f"{ended} What is said is of what is known by then")
    paragraph(f"These are {plan.scenario.text}")
    paragraph(f"Advised: {plan.advised}, as {plan.why}")
    if plan.as_it_is:
        paragraph(f"Perhaps not needed: {plan.as_it_is}")
    for change in plan.changes:
        paragraph(f"It may change with {change}")
    if plan.refused:
        paragraph(f"There is no command for it yet: {plan.refused}")
        return
    text, first = mend
    if text:
        paragraph(text)
    if first:
        click.echo(f"  {clean(first)}")
        return
    if plan.stopped:
        paragraph(
            "A fine-tune does not follow it by itself (--strategy auto), as the trials did not "
            "end: ask again, with a larger --budget or several times, and they resume; or run this"
        )
    paragraph(f"It takes about {time_of(plan.seconds)}:")
    click.echo(f"  {clean(plan.command)}")  # in one line, to be copied


def _left_behind(plan: AdvicePlan) -> Iterator[str]:
    """What was tried no further, or not at all."""
    for each in plan.tried:
        if each.dropped:
            yield f"{each.name}: dropped {each.dropped}"
    for name, seconds in plan.left_out.items():
        needs = f"it needs about {time_of(seconds)}, more than was left of the budget"
        yield f"{name}: not tried, {needs}"
    if plan.left_out and not any(each.of for each in plan.tried):
        enough = budget_for(min(plan.left_out.values()))
        yield f"No training was tried: --budget {enough} is enough for the quickest"


def _print_tried(plan: AdvicePlan) -> None:
    click.echo()
    rows = [
        (
            f"{'*' if each.name == plan.advised else ' '} {each.name}",
            _span(each.score, each.low, each.high),
            f"{each.images:,}",
            f"{each.epochs} of {each.of}" if each.of else "-",
            f"{each.seconds:.0f}",
            f"{each.megabytes:.1f}",
        )
        for each in plan.tried
    ]
    table(
        ("TRIED", f"{plan.measure.upper()} HELD OUT", "IMAGES", "BEST EPOCH", "SECONDS", "MB"),
        rows,
        least_first=("MB", "SECONDS"),
    )


def _finetune(advice: Advice, data: str, options: Mapping[str, object], *more: str) -> str:
    """The command that fine-tunes on ``data``, opened and divided as it was for the advice."""
    words = [f"zoo finetune {quote(advice.base)} --data {quote(data)}"]
    words += in_words(chosen({name: options.get(name) for name in DEFAULTS}))
    if advice.facts.skipped:
        words.append("--skip-bad")
    return " ".join([*words, *more, "--save NAME"])


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
            rows = [(one.image, one.label, one.other, one.other_label) for one in pairs[:SHOWN]]
            table((kind, "LABEL", "AND", "LABEL"), rows)
    if facts.doubted:
        click.echo()
        doubted = [
            (one.image, f"{one.label} {one.of_label:.2f}", f"{one.predicted} {one.probability:.2f}")
            for one in facts.doubted[:SHOWN]
        ]
        table(("DOUBTED", "LABEL", "LOOKS LIKE"), doubted)
    if facts.odd:
        click.echo()
        odd = [(one.image, one.label, f"{one.far:.1f}") for one in facts.odd[:SHOWN]]
        table(("LIKE NO OTHER", "LABEL", "DEVIATIONS"), odd)
