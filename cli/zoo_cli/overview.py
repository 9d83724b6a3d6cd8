"""zoo best, list-arch, reindex: the registry as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, count, note, print_json, table
from zoo_cli.search_table import note_empty

if TYPE_CHECKING:
    from zoo.registry import Found

__all__ = ["best", "list_arch", "reindex"]


@click.command()
@click.argument("words", nargs=-1)
@click.option("--dataset", help="What it was trained on (the folder's name); * is any characters.")
@click.option("--metric", default="accuracy", show_default=True, help="What to rank by.")
@click.option(
    "--lowest/--highest",
    default=None,
    help="Which end is best (default: the lowest for a loss or error, else the highest).",
)
@as_json
@home_option
def best(
    words: tuple[str, ...], dataset: str | None, metric: str, lowest: bool | None, as_json: bool
) -> None:
    """Show the checkpoint with the best result on a dataset, here or at a fetched remote.

    WORDS and filters are those of zoo search.

    \b
    Examples:
      zoo best --dataset digits
      zoo best --dataset digits --metric loss "params<5M"
      zoo best --dataset flowers arch:convnext* --json
    """
    text = " ".join(words)
    found = open_zoo().best(text, metric=metric, dataset=dataset, lowest=lowest)
    if as_json:
        print_json(found.to_json())
        return
    first = found.found
    digest = first.manifest.short if first.manifest else "published"
    click.echo(clean(f"{first.name}  {digest}  {metric} {found.value:.6g}  "
                     f"{first.architecture}, {count(first.params)} parameters"))  # fmt: skip
    note(f"the best of {found.of}" + (f"; bring it: {found.pull}" if found.pull else ""))
    if found.ties:
        note(f"as good: {', '.join(found.ties[:3])}")
    if found.other_data:
        note(
            f"{', '.join(found.other_data[:3])}: measured on other images, so the numbers do "
            "not compare"
        )


@click.command("list-arch")
@click.argument("pattern", default="*")
@as_json
@home_option
def list_arch(pattern: str, as_json: bool) -> None:
    """List the architectures that there are weights of; with the name of one, all its weights.

    In PATTERN, * stands for any characters. Weights are listed with the team's fine-tunes beside
    the public ones.

    \b
    Examples:
      zoo list-arch "convnext*"
      zoo list-arch resnet50
    """
    zoo = open_zoo()
    found = zoo.architectures(pattern)
    if as_json:
        print_json(found.to_json())
        return
    if found.weights:
        table(
            ("NAME", "HEAD", "CLASSES", "LICENSE", "HERE", "ACCURACY"),
            [_weights(row) for row in found.weights],
        )
        return
    table(
        ("ARCHITECTURE", "PLUGIN", "PARAMS", "HERE", "REMOTE", "CATALOG"),
        [
            (
                known.architecture, known.backbone, count(known.params),
                known.checkpoint or "-", known.remote or "-", known.catalog or "-",
            )
            for known in found.architectures
        ],
    )  # fmt: skip
    if not found.architectures:
        note_empty(zoo)


def _weights(row: Found) -> tuple[object, ...]:
    accuracy = row.metrics.get("accuracy")
    return (
        row.name,
        row.head or "-",
        "-" if row.num_classes is None else row.num_classes,
        row.license or "-",
        "yes" if row.pulled else ", ".join(row.remotes) or "-",
        "-" if accuracy is None else f"{accuracy:.4f}",
    )


@click.command()
@as_json
@home_option
def reindex(as_json: bool) -> None:
    """Make the index, registry.db, again: from the store, the sources here, and the networks.

    A damaged index is set aside and replaced. What only other machines know, such as what remotes
    have, is kept where the index can be read; else zoo fetch and zoo index bring it back.

    \b
    Example:
      zoo reindex
    """
    done = open_zoo().reindex()
    if as_json:
        print_json(done.to_json())
        return
    click.echo(f"{done.refs} names, {done.checkpoints} checkpoints indexed")
    if done.replaced:
        note("the index was rebuilt; to know again what remotes have: zoo fetch REMOTE")
