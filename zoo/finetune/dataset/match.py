"""Match the classes of a dataset with those of a network, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from unicodedata import normalize

from zoo.finetune.dataset.wordnet import is_wordnet_id, label, wordnet_ids

__all__ = ["match"]


def match(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Which of ``classes`` each name is; left out is one that is none, or that may be several.

    A name is the same, else alike but for case, ``_``, ``-`` and Unicode's form, else one of
    several with commas between them, as ImageNet's are (``tench, Tinca tinca``). A WordNet id, as
    ImageNet's folders are called, is the class that it stands for.
    """
    index: dict[str, int] = {}
    _add(index, {name: name for name in names}, [[name] for name in classes])
    read: Callable[[str], str] = str
    if any(map(is_wordnet_id, (*names, *classes))):
        _add(index, {name: name for name in names}, [[each or ""] for each in wordnet_ids(classes)])
        read = label
    spelled = {name: _folded(read(name)) for name in names}
    _add(index, spelled, [[_folded(read(name))] for name in classes])
    _add(index, spelled, [[_folded(part) for part in read(name).split(",")] for name in classes])
    return index


def _add(
    index: dict[str, int], spelled: dict[str, str], spellings: Sequence[Sequence[str]]
) -> None:
    """Add the names that are one class's alone, and that no other name is."""
    places: dict[str, set[int]] = {}
    for at, several in enumerate(spellings):
        for spelling in several:
            places.setdefault(spelling, set()).add(at)
    for name, spelling in spelled.items():
        (at, *others) = places.get(spelling, {-1})
        if name not in index and at >= 0 and not others and at not in index.values():
            index[name] = at


def _folded(name: str) -> str:
    name = normalize("NFC", name)
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
