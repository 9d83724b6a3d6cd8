"""zoo edit: state what nobody wrote down of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import click

from zoo.domain.import_options import StatedOptions
from zoo_cli.command import command, flag, note_option, open_zoo
from zoo_cli.output import moved, print_json, result
from zoo_cli.stated_options import stated_options

__all__ = ["edit"]


@command(extra="--classes")
@click.argument("name")
@stated_options
@flag(
    "--force",
    help="State a figure otherwise, too, that was measured, or take it back; and another task than "
    "what it was trained for here.",
)
@note_option
def edit(name: str, force: bool, as_json: bool, **options: object) -> None:
    """State what nobody wrote down of a checkpoint.

    That is class names, task, preprocessing, license, data set, figures. Only what you give
    changes; the weights, the lineage and all else stay. A checkpoint never changes: NAME moves to
    one of the same weights, zoo log keeps the one before, and other names of that stay. What you
    say is marked as stated; what was measured counts before it, and stays without --force.
    --metric NAME= takes a stated figure back.

    \b
    Examples:
      zoo edit team/flowers --classes names.txt --license apache-2.0
      zoo edit team/flowers --mean 0.5 --std 0.5 --crop 0.9 --interpolation bicubic
      zoo edit team/age --task regression
      zoo edit team/flowers --dataset flowers102 --metric accuracy=0.91
      zoo edit team/flowers --metric acuracy=          (a typing error is taken back)
    """
    given = cast(Mapping[str, float | None], options["metrics"])
    options["metrics"] = {key: value for key, value in given.items() if value is not None}
    unset = [key for key, value in given.items() if value is None]
    done = open_zoo().edit(name, unset=unset, force=force, **cast(StatedOptions, options))
    if as_json:
        print_json(done.to_json())
        return
    lines = moved(done.ref, done.moved_from, done.change)
    stated = f"stated: {', '.join(done.changed)}; the weights are the same"
    lines.append(stated if done.changed else "nothing changes: all of it is stated already")
    if done.unknown:
        lines.append(f"unknown: {', '.join(name.replace('_', ' ') for name in done.unknown)}")
    result(done.ref, done.manifest, *lines, *done.remarks)
