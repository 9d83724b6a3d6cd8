"""zoo search, ls, best, list-arch: find checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Unpack

import click

from zoo.domain.query import OF_DEVICE
from zoo.domain.reference import is_pattern
from zoo.domain.task import SCORE, is_count, is_raw_loss
from zoo.domain.words import some, up_to
from zoo_cli.command import POSITIVE, command, flag, open_zoo
from zoo_cli.output import clean, count, note, print_json, table

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.domain.query import FieldFilters
    from zoo.registry import SearchResult

__all__ = ["best", "list_arch", "ls", "search"]

MOST_COUNTED = 1000
"""To count millions takes seconds, and nobody looks at them all."""
ALL = 1_000_000
"""More names than any folder of refs has."""
WORDS = {"ahead": "ahead of {}", "behind": "behind {}", "diverged": "diverged from {}"}
NONE = "-"
MEASURE = re.compile(rf"\b(metric\.[^\s<>=!:]+|{OF_DEVICE.pattern}\b)")
"""The fields of a query that are metrics, without a column of their own."""
NAMED = 8
"""So many names are listed in a line."""


def amount(text: str) -> int:
    """Read a count with a suffix: ``30M``, ``1.2G``."""
    from zoo.domain.query import SUFFIXES  # here, as other commands do without

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGbB]?)", text)
    if match is None:
        raise click.BadParameter(f"'{text}' is not a count: write 5000000, 5M or 1.2G")
    try:
        return int(float(match[1]) * SUFFIXES[match[2].lower()])
    except OverflowError:
        raise click.BadParameter(f"'{text}' is too large") from None


sort_option = click.option(
    "--sort",
    help="name, params, macs, input, num_classes, top1, updated, accuracy, loss or metric.NAME; "
    "with - in front, the largest first (-top1).",
)


@command()
@click.argument("query", nargs=-1)
@sort_option
@click.option(
    "--arch", "architecture", help="As arch:ARCH; * stands for any characters (convnext*)."
)
@click.option("--license", help="As license:LICENSE (apache-2.0).")
@click.option("--max-params", type=amount, metavar="COUNT", help="As params<=COUNT (30M).")
@click.option("--num-classes", type=int, help="As num_classes=COUNT.")
@click.option("--source", help="As source:SOURCE (timm, package).")
@flag("--pulled", default=None, help="As pulled:yes: only what is here.")
@click.option("--limit", type=POSITIVE, default=20, show_default=True)
def search(
    query: tuple[str, ...],
    limit: int,
    as_json: bool,
    sort: str | None,
    **asked: Unpack[FieldFilters],
) -> None:
    """Search all checkpoints: here, at remotes, and published.

    QUERY is words and filters; all must hold. A word is a part of a name, or a whole word of a
    card, a tag, a data set or a class. A filter is a field, an operator and a value; quote it, as
    < and > mean something else to a shell. HERE says "yes", or which remotes have it; and whether
    what is here is ahead of, behind or diverged from what a remote had when it was fetched.

    \b
    Fields: name owner arch tag backbone head license dataset classes parent
            source pulled params macs input num_classes top1 frozen accuracy
            loss updated metric.NAME metric.NAME@DATA (zoo evaluate)
            ms.cpu ms.cuda images_per_second.cpu … (zoo bench)
    Operators: : for texts (* stands for any characters) and yes or no;
               < <= = >= > for numbers (30M, 50%) and dates (2026-01-31)

    \b
    Examples:
      zoo search 'params<30M' --sort -top1
      zoo search convnext in12k
      zoo search 'arch:convnext* params<30M input>=288' --sort -params
      zoo search 'dataset:digits accuracy>=0.97 pulled:yes' --json
    """
    zoo, text = open_zoo(indexed=True), " ".join(query)
    results = zoo.search(text, sort=sort, limit=limit, **asked)
    if as_json:
        print_json([row.to_json() for row in results])
        return
    _print_found(results, f"{text} {sort or ''}")
    total = zoo.count(text, at_most=MOST_COUNTED, **asked)
    if not total:
        _note_nothing(zoo, text, of_params=bool(asked["max_params"]) or "params" in text)
    elif total > len(results):
        many = f"more than {total}" if total == MOST_COUNTED else str(total)
        note(f"{len(results)} of {many}; --limit shows more")


@command()
@click.argument("query", nargs=-1)
@sort_option
@click.option("--limit", type=POSITIVE, help="Only the first so many (default: all).")
def ls(query: tuple[str, ...], sort: str | None, limit: int | None, as_json: bool) -> None:
    """List the checkpoints in this zoo, the newest first.

    --sort puts them in another order, as in zoo search.

    QUERY is words and filters, as of zoo search, and patterns of names, in which * stands for any
    characters, tags included. Of several patterns and names (team/digits), one must match.

    \b
    Examples:
      zoo ls
      zoo ls 'team/*' 'trials/*' other/name
      zoo ls --limit 5
      zoo ls --sort -accuracy
      zoo ls owner:team 'accuracy>0.9'
    """
    names = [word for word in query if _of_names(word)]
    # One name alone is a word, which the index finds.
    patterns = names if len(names) > 1 or any(map(is_pattern, names)) else []
    zoo, text = open_zoo(indexed=True), " ".join(word for word in query if word not in patterns)
    asked = ALL if patterns else limit or ALL
    results: Sequence[SearchResult] = zoo.search(
        text, pulled=True, sort=sort or "-updated", limit=asked
    )
    if patterns:
        results = [row for row in results if any(_is_like(row.name, each) for each in patterns)]
        results = results[: limit or ALL]
    if as_json:
        print_json([row.to_json() for row in results])
        return
    _print_found(results, f"{text} {sort or ''} updated arch", without=("here",))
    kept = zoo.not_finite()
    if odd := [row.name for row in results if row.manifest in kept]:
        note(clean(f"with NaN or infinite weights: {some(odd)}"))
    if len(results) == limit and not patterns and (total := zoo.count(text, pulled=True)) > limit:
        note(f"{limit} of {total}; --limit shows more")
    if not results and not query:
        note("nothing is here yet: zoo pull NAME brings one, zoo search finds names")
    elif not results:
        asked_for = " and ".join(filter(None, (" or ".join(patterns), text)))
        note(f"nothing here matches {asked_for}; zoo ls lists all")


def _of_names(word: str) -> bool:
    """Whether a word is a name or a pattern of names, and no filter (``arch:convnext*``)."""
    before = re.split("[:=<>]", word)[0]
    return "/" in before or (is_pattern(word) and before == word)


def _is_like(name: str, asked: str) -> bool:
    """Whether a name matches a pattern, or has what is none as a part, as words of a search do."""
    return fnmatchcase(name, asked) if is_pattern(asked) else asked.lower() in name.lower()


def _note_nothing(zoo: Zoo, asked: str, *, of_params: bool) -> None:
    if not zoo.count(at_most=1):
        _note_empty(zoo)
        return
    note("nothing matches; fewer words or filters find more")
    for text in zoo.hints(asked):
        note(clean(text))
    if not zoo.is_indexed("timm"):
        note("timm's checkpoints are not listed here yet: zoo index timm")
    elif of_params:
        note("checkpoints with an unknown number of parameters match no filter on params")


def _print_found(results: Sequence[SearchResult], asked: str, without: Sequence[str] = ()) -> None:
    """Print what was found, if anything, with a column for each field that ``asked`` names."""
    if not results:
        return
    usual = {field: show for field, show in USUAL.items() if field not in without}
    shown = usual | {
        field: show for field, show in EXTRA.items() if re.search(rf"\b{field}\b", asked)
    }
    if re.search(r"\baccuracy\b", asked):
        shown["accuracy"] = _accuracy
    if any(there.here not in (None, "same") for row in results for there in row.at_remotes):
        shown |= COMPARED
    asked_for = dict.fromkeys(MEASURE.findall(asked))
    metrics = [field for field in asked_for if field.removeprefix("metric.") not in shown]
    table(
        [*map(_title, shown), *metrics],
        [
            [*(show(row) for show in shown.values()), *(_metric(row, name) for name in metrics)]
            for row in results
        ],
        LEAST_FIRST,
    )


def _note_empty(zoo: Zoo) -> None:
    """Say what fills an empty registry."""
    note("the registry is empty; list timm's checkpoints: zoo index timm")
    for name in zoo.remotes():
        note(f"what {clean(name)} has is not known here yet: zoo fetch {clean(name)}")


def _here(row: SearchResult) -> str:
    """Where it is; and its status against what remotes have under the same name."""
    if not row.pulled:
        statuses = {
            there.here for there in row.at_remotes if there.remote in row.remotes and there.here
        }
        status = f" (here: {', '.join(sorted(statuses))})" if statuses else ""
        return (", ".join(row.remotes) or NONE) + status
    same = [there.remote for there in row.at_remotes if there.here == "same"]
    others = [
        WORDS[there.here].format(there.remote) for there in row.at_remotes if there.here in WORDS
    ]
    return ", ".join(["yes", *same, *others])


def _metric(row: SearchResult, field: str) -> str:
    name = field.removeprefix("metric.")
    if name not in row.metrics:
        return NONE
    value = row.metrics[name]
    if is_count(name):
        return f"{value:.0f}"
    if OF_DEVICE.fullmatch(name):
        return f"{value:.4g}"
    if name in row.stated:
        return f"{value:.4f} (stated)"
    # A training has a time. What has none was imported or pulled, with what its file says of it.
    elsewhere = row.kind != "catalog" and row.created is None
    own = not any(each.startswith(f"{name}@") for each in row.metrics)
    if is_raw_loss(name, row.metrics):
        return f"{value:.4f} (without temperature)"
    if row.other_images and name == "accuracy":
        return f"{value:.4f} (other images)"
    return f"{value:.4f}" + (" (not measured here)" if elsewhere and own else "")


def _score(row: SearchResult) -> str:
    """Its accuracy; of a network that finds several labels, or numbers, what that is judged by."""
    for score, short in ((SCORE["multi-label"], "mAP"), (SCORE["regression"], "r2")):
        if score in row.metrics:
            value, _, remark = _metric(row, score).partition(" ")
            return f"{value} {short} {remark}".rstrip()
    return _metric(row, "accuracy")


def _title(field: str) -> str:
    """What is above a column. Only top1 is in per cent, as published; figures of zoo are shares."""
    return "TOP1%" if field == "top1" else field.upper()


def _accuracy(row: SearchResult) -> str:
    """Its accuracy; where each label is right or not by itself, that is said."""
    labels = SCORE["multi-label"] in row.metrics
    return _metric(row, "accuracy") + " of labels" * labels


def _top1(row: SearchResult) -> str:
    """Published accuracy; with ``@`` the image size, where that is not the input's."""
    if "top1" not in row.metrics:
        return NONE
    size = row.metrics.get("top1_size")
    elsewhere = size and (row.input_size is None or size != row.input_size[1])
    return f"{row.metrics['top1']:.2f}" + (f"@{size:.0f}" if elsewhere else "")


USUAL: dict[str, Callable[[SearchResult], str]] = {
    "name": lambda row: row.name + " (deprecated)" * bool(row.deprecated),
    "params": lambda row: count(row.params),
    "macs": lambda row: count(int(row.metrics["macs"])) if "macs" in row.metrics else NONE,
    "input": lambda row: "x".join(map(str, row.input_size[1:])) if row.input_size else NONE,
    "top1": _top1,
    "classes": lambda row: NONE if row.num_classes is None else str(row.num_classes),
    "license": lambda row: row.license or NONE,
    "here": _here,
    "accuracy": _score,
}
EXTRA: dict[str, Callable[[SearchResult], str]] = {
    "arch": lambda row: row.architecture,
    "loss": lambda row: _metric(row, "loss"),
    "head": lambda row: row.head or NONE,
    "frozen": lambda row: NONE if row.frozen is None else f"{row.frozen:.0%}",
    "dataset": lambda row: ", ".join(row.datasets) or NONE,
    "source": lambda row: ", ".join(row.sources) or NONE,
    "updated": lambda row: (row.updated or NONE)[:10],
}
COMPARED: dict[str, Callable[[SearchResult], str]] = {
    "checkpoint": lambda row: row.manifest.short if row.manifest else NONE,
    "moved": lambda row: row.updated or NONE,
}
"""Where a name points at one thing here and at another elsewhere."""
LEAST_FIRST = (
    "CLASSES",
    "INPUT",
    "MACS",
    "LICENSE",
    "MOVED",
    "HERE",
    "PARAMS",
    "ARCH",
    "SOURCE",
    "HEAD",
    "DATASET",
    "UPDATED",
    "FROZEN",
    "LOSS",
    "TOP1%",
    "ACCURACY",
)
"""Columns that make room on a narrow terminal, and are left out where they tell nothing."""


@command()
@click.argument("words", nargs=-1)
@click.option(
    "--dataset",
    help="What it was trained or evaluated on (the folder's name); with *, any characters, "
    "only trained.",
)
@click.option(
    "--metric",
    help="What to rank by (default: accuracy; published top1 where nothing that matches has one).",
)
@click.option(
    "--lowest/--highest",
    default=None,
    help="Which end is best (default: the lowest for a loss or error, else the highest).",
)
def best(
    words: tuple[str, ...],
    dataset: str | None,
    metric: str | None,
    lowest: bool | None,
    as_json: bool,
) -> None:
    """Show the checkpoint with the best result on a dataset.

    It is here, at a fetched remote, or published; what was not measured by zoo says so. WORDS and
    filters are those of zoo search.

    \b
    Examples:
      zoo best --dataset digits
      zoo best --dataset imagenet-1k "params<30M"
      zoo best --dataset digits --metric loss "params<5M"
      zoo best --dataset flowers arch:convnext* --json
    """
    text = " ".join(words)
    winner = open_zoo(indexed=True).best(text, metric=metric, dataset=dataset, lowest=lowest)
    if as_json:
        print_json(winner.to_json())
        return
    first = winner.found
    digest = first.manifest.short if first.manifest else "published"
    network = f"{first.architecture}, {count(first.params)} parameters"
    where = f" on {winner.evaluation.data}" if winner.evaluation else ""
    figure = f"{winner.metric} {winner.value:.6g}{where}"
    click.echo(clean(f"{first.name}  {digest}  {figure}  {network}"))
    if winner.published:
        note(winner.published)
    anything = "" if dataset else ", on whatever data (--dataset NAME: on one)"
    bring = f"; bring it: {winner.pull}" if winner.pull else ""
    note(f"the best of {winner.of}{anything}{bring}")
    if winner.warning:
        note(f"WARNING: {winner.warning}")
    if winner.raw_losses:
        others = _first_of(winner.raw_losses)
        note(f"{others}: the loss without temperature, by an earlier version; zoo evaluate again")
    if winner.only_stated:
        others = _first_of(winner.only_stated)
        note(f"better, but only stated: {others}; zoo evaluate measures it")
    if winner.also:
        note(f"also called {_first_of(winner.also)}")
    if winner.ties:
        note(f"as good: {_first_of(winner.ties)}")
    if winner.other_data:
        others = _first_of(winner.other_data)
        note(f"{others}: measured on other images, so the numbers do not compare")


def _first_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return up_to(names, NAMED) + " (--json has all)" * (len(names) > NAMED)


@command("list-arch")
@click.argument("pattern", default="*")
def list_arch(pattern: str, as_json: bool) -> None:
    """List the architectures that there are weights of.

    In PATTERN, * stands for any characters. With the name of one, all its weights are listed: the
    team's fine-tunes beside the public ones.

    \b
    Examples:
      zoo list-arch "convnext*"
      zoo list-arch resnet50
    """
    zoo = open_zoo(indexed=True)
    listed = zoo.architectures(pattern)
    if as_json:
        print_json(listed.to_json())
        return
    if listed.weights:
        shown = ("name", "head", "macs", "input", "top1", "classes", "license", "here", "accuracy")
        tell = (
            EXTRA
            | USUAL
            | {"here": lambda row: "yes" if row.pulled else ", ".join(row.remotes) or NONE}
        )
        table(
            [*map(_title, shown)],
            [[tell[field](row) for field in shown] for row in listed.weights],
            LEAST_FIRST,
        )
        return
    header = ("ARCHITECTURE", "PLUGIN", "PARAMS", "HERE", "REMOTE", "CATALOG")
    rows = [
        (
            known.architecture,
            known.backbone,
            count(known.params),
            known.checkpoint or NONE,
            known.remote or NONE,
            known.catalog or NONE,
        )
        for known in listed.architectures
    ]
    table(header, rows, least_first=("REMOTE", "PLUGIN", "CATALOG"))
    if not listed.architectures:
        _note_empty(zoo)
