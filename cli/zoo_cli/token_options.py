"""What a new token may do, as options: on the server's machine, and for one's own elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from zoo.serve.who.may import PURPOSES

__all__ = ["token_options"]

F = TypeVar("F", bound=Callable[..., object])


def token_options(who: str) -> Callable[[F], F]:
    """``--name``, ``--for``, ``--only`` and ``--days`` of a token of ``who``."""
    options = (
        click.option("--name", default="token", help="What you call it."),
        click.option(
            "--for",
            "purpose",
            type=click.Choice(PURPOSES),
            default="read",
            help=f"append: to read, and add files; write: all that {who} may.",
        ),
        click.option(
            "--only",
            multiple=True,
            metavar="NAME",
            help="For this namespace or name, and what is public; several times for more.",
        ),
        click.option("--days", type=click.IntRange(1, 36500), help="It expires after so many."),
    )

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add
