"""Arguments: values from a stranger's configuration, held against a plugin's table of bounds.

A plugin lists the arguments that it passes on to its library, and what each must be. Anything else
is refused by its name, so that no network is built otherwise than its publisher meant, and nothing
is imported, called or opened because a file says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zoo.domain.limits import ARGUMENT_ITEMS
from zoo.errors import Unsupported

__all__ = ["Fits", "each", "named", "number", "one_or_each", "passed_on", "switch", "whole", "word"]

Fits = Callable[[object], bool]
"""Whether a value may be passed on."""


def word(*words: str) -> Fits:
    """One of ``words``."""
    return lambda value: isinstance(value, str) and value in words


def whole(least: int, most: int) -> Fits:
    """A whole number from ``least`` to ``most``."""
    # True is an int, too; a network with True layers is none.
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    )


def number(most: float) -> Fits:
    """A number from 0 to ``most``."""
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
    )


def switch(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


def each(fits: Fits) -> Fits:
    """A list, not too long, each item of which fits."""
    return lambda value: (
        isinstance(value, list | tuple) and len(value) <= ARGUMENT_ITEMS and all(map(fits, value))
    )


def one_or_each(fits: Fits) -> Fits:
    """One such value, or a list of them."""
    return lambda value: fits(value) or each(fits)(value)


def named(kinds: Sequence[tuple[Fits, str]]) -> dict[str, Fits]:
    """A table by name: ``kinds`` has what a value must be, and the names that must be it."""
    return {name: fits for fits, names in kinds for name in names.split()}


def passed_on(arguments: Mapping[str, object], known: Mapping[str, Fits], library: str) -> None:
    """See that all ``arguments`` are known, and within bounds.

    Raises:
        Unsupported: One is not; it is named.
    """
    for name, value in arguments.items():
        if name not in known or not known[name](value):
            shown = f" = {value!r:.80}" if name in known else ""
            raise Unsupported(
                f"the network was built with the argument '{name!s:.64}' of {library}{shown}, "
                "which zoo does not pass on"
            )
