"""What every command has: ``--home``, and ``--json`` where it prints data."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from zoo import Zoo

__all__ = ["as_json", "home_option", "open_zoo"]


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--home DIR``: the zoo to work in. Taken before and after the command's name."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        expose_value=False,
        callback=_remember,
        help="The zoo to work in (default: ZOO_HOME, else the nearest one upward from here).",
    )(command)


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``: print data as JSON."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_zoo() -> Zoo:
    """The zoo to work in, closed with the command."""
    _load()
    import zoo
    from zoo_cli.output import terminal_progress

    context = click.get_current_context()
    found = zoo.open(context.meta.get("home"), progress=terminal_progress)
    context.call_on_close(found.close)
    return found


@cache
def _load() -> None:
    """Import what opens a zoo without the garbage collector, once for a process.

    What an import makes stays. The collector would look through all of it again and again, which
    was a tenth of the time of a search.
    """
    gc.disable()
    try:
        import_module("zoo.facade")
    finally:
        gc.freeze()
        gc.enable()


def _remember(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta["home"] = value
