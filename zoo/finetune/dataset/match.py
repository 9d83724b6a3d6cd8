"""Match the classes of a dataset with those of a network, by name."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["match"]


def match(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Which of ``classes`` each name is; left out is one that is none, or that may be several.

    A name is the same, else alike but for case, ``_`` and ``-``, else one of several with commas
    between them, as ImageNet's are (``tench, Tinca tinca``).
    """
    found: dict[str, int] = {}
    ways = (
        ({name: name for name in names}, [[name] for name in classes]),
        ({name: _folded(name) for name in names}, [[_folded(name)] for name in classes]),
        (
            {name: _folded(name) for name in names},
            [[_folded(part) for part in name.split(",")] for name in classes],
        ),
    )
    for spelled, spellings in ways:
        places: dict[str, set[int]] = {}
        for at, several in enumerate(spellings):
            for spelling in several:
                places.setdefault(spelling, set()).add(at)
        for name in names:
            (at, *others) = places.get(spelled[name], {-1})
            if name not in found and at >= 0 and not others and at not in found.values():
                found[name] = at
    return found


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
