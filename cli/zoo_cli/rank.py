"""zoo rank: which of many networks suits the images."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from zoo.domain.duration import budget_for, time_of
from zoo.domain.recipe import DEFAULTS, chosen, in_words
from zoo.domain.words import plural
from zoo.errors import InvalidOption
from zoo_cli.command import PATH, POSITIVE, command, flag, open_zoo
from zoo_cli.errors import STATUS
from zoo_cli.output import brief, count, note, paragraph, print_json, table
from zoo_cli.recipe_options import looking_options

if TYPE_CHECKING:
    from zoo.ranking.measured import FeatureScores
    from zoo.ranking.ranked import Ranked, Ranking

__all__ = ["rank"]

TWIN = "same backbone"
"""The state of what another network stands for."""
NOT_MEASURED = 10
"""Most networks that are printed of those that were not measured."""
PRIORS = {
    "results": "better than others elsewhere, by the results that were given",
    "history": "better than others on other data in this zoo",
    "published": "published top-1 accuracy on ImageNet, percent",
    "size": "parameters: nothing else is known of at least half of them",
}
ORDERED = {
    "prior and score": "the prior and the score together order them",
    "score": "the score orders them",
    "short runs": "those within one standard error of the best are in order of their speed",
}
NONE = "-"


@command(extra="--among")
@click.argument("data")
@click.option(
    "--among",
    default="pulled:yes",
    show_default=True,
    metavar="QUERY",
    help="Words and filters, as of zoo search: which networks.",
)
@click.option("--top", type=POSITIVE, default=3, show_default=True, help="How many finalists.")
@click.option(
    "--budget",
    default="30m",
    show_default=True,
    help="After this time (90s, 30m, 1h) nothing further is begun; 0: only what is known.",
)
@flag("--pull", help="Pull networks that are not here when it is their turn, ten at most.")
@click.option(
    "--results",
    type=PATH,
    help="A CSV file of published results, network,dataset,accuracy, to begin with.",
)
@click.option("--out", type=PATH, help="A folder for rank.json and rank.png.")
@flag("--force", help="Replace the ranking in that folder.")
@looking_options
def rank(data: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Say which networks suit the images in DATA.

    Networks are worked in the order of what is known of them before: their results on other data in
    this zoo, else published ones, else their size. Each is run over the images once, and a probe on
    the features of all its depths is tried on images that it was not fitted on. Then the finalists
    are trained for a short while, on parts of the images in turn, within the budget. Test images
    choose nothing. What was measured and tried is kept: asked again, only what is new is done.
    Ctrl-C prints what is known by then. The exit status is 1 if no network could be measured. DATA
    is what zoo finetune takes.

    \b
    Examples:
      zoo rank flowers/
      zoo rank flowers/ --among 'params<30M license:apache-2.0' --pull
      zoo rank flowers/ --among 'arch:efficientnet*' --results results.csv --out ranking
    """
    source = click.get_current_context().get_parameter_source("budget")
    if source is ParameterSource.DEFAULT and not quiet:
        note(f"at most {options['budget']}; --budget 5m for less")
    ranking = open_zoo(quiet=quiet).rank(data, **options)
    if as_json:
        print_json(ranking.to_json())
    else:
        _print(ranking, options)
    if ranking.ended == "interrupted":
        sys.exit(STATUS["interrupted"])
    if not ranking.winner and not ranking.ended:
        raise _nothing(ranking, str(options["among"]))


def _nothing(ranking: Ranking, among: str) -> InvalidOption:
    """What to raise where nothing was measured, though there was time."""
    states = Counter(each.state for each in ranking.networks).most_common()
    what = ", ".join(f"{number:,} {state}" for state, number in states)
    hint = "--pull brings what is not here" if "not here" in dict(states) else None
    return InvalidOption(f"no network of --among '{among}' was measured: {what}", hint=hint)


def _print(ranking: Ranking, options: Mapping[str, object]) -> None:
    measured = [(each, each.measured) for each in ranking.networks if each.measured]
    alike = ranking.alike
    if measured:
        table(
            (
                "",
                "NETWORK",
                f"{ranking.measure.upper()} OUT OF FOLD",
                "PRIOR",
                "KNN",
                "LOGME",
                "H-SCORE",
                "MS",
                "MB",
                "GMACS",
            ),
            [_row(each, scores, alike=each in alike) for each, scores in measured],
            least_first=("H-SCORE", "LOGME", "GMACS", "KNN"),
        )
        click.echo()
        _print_finals(ranking)
        for line in _closing_lines(ranking, options):
            paragraph(line)
    for each in ranking.networks:
        if each.same_backbone and each.state != TWIN:
            paragraph(f"The same backbone as {each.name}: {', '.join(each.same_backbone)}")
    _print_others(ranking)
    if not measured:
        paragraph(f"PRIOR is what was known before: {PRIORS[ranking.prior]}")
    for line in _remarks(ranking):
        paragraph(line)
    if out := options["out"]:
        note(f"written to {out}")


def _row(each: Ranked, scores: FeatureScores, *, alike: bool) -> tuple[object, ...]:
    signs = ("*" if each.finalist else "") + ("=" if alike else "")
    size = NONE if each.bytes is None else f"{each.bytes / 1e6:.1f}"
    macs = NONE if scores.gmacs is None else f"{scores.gmacs:.3g}"
    h_score = NONE if scores.h_score is None else f"{scores.h_score:.2f}"
    return (
        signs,
        each.name,
        brief(scores.score, scores.low, scores.high),
        _prior(each),
        f"{scores.knn:.3f}",
        f"{scores.logme:.3f}",
        h_score,
        f"{scores.ms:.1f}",
        size,
        macs,
    )


def _prior(each: Ranked) -> str:
    value = each.prior.value
    if value is None:
        return NONE
    if each.prior.kind == "size":
        return count(int(value))
    if each.prior.kind == "published":
        return f"{value:.1f}"
    return f"{value:+.3g} ({plural(each.prior.data_sets, 'set')})"


def _print_finals(ranking: Ranking) -> None:
    """What short runs of the finalists came to."""
    tried = [each for each in ranking.networks if each.outcomes]
    if not tried:
        return
    table(
        (
            "FINALIST",
            f"{ranking.measure.upper()} HELD OUT",
            "BY",
            "PROBE",
            "TRAINED",
            "IMAGES",
            "SECONDS",
        ),
        [_final(each) for each in tried],
    )
    click.echo()


def _final(each: Ranked) -> tuple[object, ...]:
    best = each.outcomes[0]
    probe, trained = (
        max((f"{one.score:.3f}" for one in each.outcomes if one.kind == kind), default=NONE)
        for kind in ("probe", "training")
    )
    seconds = sum(one.seconds for one in each.outcomes)
    return (
        each.name,
        brief(best.score, best.low, best.high),
        best.name,
        probe,
        trained,
        count(best.images),
        count(round(seconds)),
    )


def _closing_lines(ranking: Ranking, options: Mapping[str, object]) -> Iterator[str]:
    """What the table comes to, and how to continue."""
    measured = sum(each.measured is not None for each in ranking.networks)
    alike = ranking.alike
    yield f"PRIOR is what was known before: {PRIORS[ranking.prior]}"
    device = next(each.measured.device for each in ranking.networks if each.measured)
    on = "one core of this machine" if device == "cpu" else device
    yield f"* is a finalist; MS is for one image by itself, on {on}"
    tried = any(each.outcomes for each in ranking.networks)
    if tried and not any(each.trained for each in ranking.networks):
        order = ranking.ordered_by == "short runs"
        yield (
            "No finalist is more than one standard error better after a short training than its "
            "probe is: " + ("the probes order them" if order else "that leaves the order as it is")
        )
    if len(alike) > 1:
        quickest = min(alike, key=lambda each: each.measured.ms if each.measured else 0.0)
        yield (
            f"= No difference can be seen between these {len(alike)}: "
            f"{ORDERED[ranking.ordered_by]}. Take {ranking.winner}, the first"
            + (" and" if quickest.name == ranking.winner else f", or {quickest.name},")
            + " the fastest of them"
        )
    elif measured > 1:
        others = "other finalists" if any(each.trained for each in ranking.networks) else "others"
        yield f"= {alike[0].name} is better than each of the {others}, image by image"
    shared = {"base": ranking.winner, **chosen({name: options.get(name) for name in DEFAULTS})}
    yield f"Next: zoo advise {quote(ranking.data)} {' '.join(in_words(shared))}"


def _print_others(ranking: Ranking) -> None:
    """Networks that were not measured, the most promising first."""
    others = [each for each in ranking.networks if not each.measured and each.state != TWIN]
    if not others:
        return
    click.echo()
    rows = [(each.name, each.state, _prior(each), each.why) for each in others[:NOT_MEASURED]]
    table(("NOT MEASURED", "AS IT IS", "PRIOR", "WHY"), rows, least_first=("WHY",))
    if len(others) > NOT_MEASURED:
        note(f"and {len(others) - NOT_MEASURED:,} more (--json has all)")


def _to_measure(ranking: Ranking, left: int) -> str:
    """The budget that is enough for ``left`` more networks, by what others took; empty if none was
    measured.
    """
    took = [each.measured.seconds for each in ranking.networks if each.measured]
    if not took:
        return ""
    budget = budget_for(left * sum(took) / len(took))
    rest = "the one that is left" if left == 1 else f"the {left:,} that are left"
    return f": another --budget {budget} is enough for {rest}"


def _cut_off(ranking: Ranking) -> Iterator[str]:
    """What was not done as the budget was over, what that means for the order, and what next."""
    runs = [
        (each.name, one)
        for each in ranking.networks
        for one in each.outcomes
        if one.kind == "training"
    ]
    if left := sum(each.state == "not reached" for each in ranking.networks):
        yield "NOTE: the budget was over before all were measured" + _to_measure(ranking, left)
    elif not runs:
        yield (
            "NOTE: the budget was over before any finalist was trained: the order is that of the "
            "probes, and does not know what training brings"
        )
    else:
        images = min(one.images for _, one in runs)
        begun = [
            f"{name}: {one.name} came to epoch {one.done} of {one.of}"
            for name, one in runs
            if one.done < one.of and not one.dropped
        ]
        yield (
            "NOTE: the budget was not enough for all short trainings of the finalists: what is "
            f"said of them rests on {images:,} of the {ranking.images:,} images"
            + "".join(f"; {text}" for text in begun)
        )
    if ranking.left_out:
        name, seconds = min(ranking.left_out.items(), key=lambda each: each[1])
        number = plural(len(ranking.left_out), "short training")
        yield (
            f"NOTE: {number} not begun, as more time was needed than was left; the quickest needs "
            f"about {time_of(seconds)} ({name}): --budget {budget_for(seconds)} is enough for it"
        )
    yield (
        "NOTE: what was done is kept, and takes nothing of the next budget: the same command "
        "(--budget 1h) resumes there"
    )


def _remarks(ranking: Ranking) -> Iterator[str]:
    if ranking.skipped:
        key, reason = ranking.skipped[0]
        number = plural(len(ranking.skipped), "image")
        yield f"NOTE: without {number} that cannot be used, such as {key}: {reason}"
    if ranking.without:
        few = ", ".join(ranking.without[:5]) + (", …" if len(ranking.without) > 5 else "")
        yield f"NOTE: without {few}: fewer than two of the images are theirs"
    lows = [each.measured.low for each in ranking.networks if each.measured]
    if lows and ranking.chance is not None and max(lows) <= ranking.chance:
        yield (
            f"NOTE: no network is seen to know more than to name the largest class always "
            f"({ranking.chance:.3f}): are these their labels?"
        )
    states = {each.state for each in ranking.networks}
    if ranking.ended == "budget":
        yield from _cut_off(ranking)
    if ranking.ended == "interrupted":
        yield "NOTE: interrupted; the same command resumes where it stopped"
    if "not here" in states:
        yield "NOTE: what is not here is measured with --pull, or after zoo pull NAME"
