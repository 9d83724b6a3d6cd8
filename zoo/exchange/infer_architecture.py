"""Which network weights are of: what they, or files beside them, say, and what fits them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from zoo import plugins
from zoo.backbones.describe import outline_of
from zoo.contracts import Known
from zoo.domain.near import near_names
from zoo.errors import InvalidOption, InvalidWeights, UnknownName, ZooError
from zoo.exchange.file_record import FileRecord
from zoo.exchange.run_records import RunRecord
from zoo.exchange.wrappers import ambiguity, best_prefix
from zoo.lookup.match import prefix_of

__all__ = [
    "BY_SHAPES",
    "DEFAULT",
    "check_listed",
    "architecture_by_shapes",
    "fitting",
    "lacks_head",
    "stated_architecture",
    "stated_elsewhere",
    "which_fits",
    "with_backbone",
]

GROUP = "zoo.backbones"
Shapes = Mapping[str, tuple[int, ...]]

DEEPEST = 8
"""Prefixes within one another that are looked for."""
LEAST_SHARE = 16
"""A network that has fewer than one of so many tensors of a file is not looked for."""
TRIED = 256
"""Parts of the names of a file that are looked at."""
LISTED = 6
BY_SHAPES = "found by names and shapes"
DEFAULT = "timm"
"""The plugin whose architectures are meant where nobody says which."""


def with_backbone(architecture: str | None, backbone: str | None) -> tuple[str | None, str | None]:
    """An architecture and its plugin, of ``torchvision/resnet50``, too."""
    prefix, slash, name = (architecture or "").partition("/")
    if slash and backbone in (None, prefix) and prefix in plugins.names(GROUP):
        return name, prefix
    return architecture, backbone


def check_listed(plugin: str, architecture: str) -> None:
    """See that a plugin has an architecture, as far as that is known without its library.

    Raises:
        UnknownName: It has none of that name; who has it, or near names.
    """
    known = plugins.known(plugin)
    with plugins.blaming(GROUP, plugin):
        outlined = known is not None and known.outline(architecture) is not None
    if known is None or outlined or ":" in architecture:
        return
    listed = plugins.architectures(plugin)
    if architecture in listed:
        return
    prefix, slash, name = architecture.partition("/")
    if slash and prefix in plugins.names(GROUP):
        hint: str | None = f"say it so: --backbone {prefix} --architecture {name}"
        raise UnknownName(f"{plugin} architecture", architecture, (), hint)
    others = _others(plugin, architecture)
    hint = f"{others[0]} has it: --backbone {others[0]}" if others else None
    near = () if others else near_names(architecture, listed)
    raise UnknownName(f"{plugin} architecture", architecture, near, hint)


def stated_architecture(plugin: str, inside: FileRecord, record: RunRecord) -> tuple[str, str]:
    """The architecture that a file names, or else what lies beside it, and who says so; empty if
    none does that the plugin has. What a file says is never an import path.
    """
    for name, source in ((inside.architecture, "the file"), (record.architecture, record.source)):
        if name and ":" not in name and _has(plugin, name):
            return name, source
    return "", ""


def stated_elsewhere(plugin: str, inside: FileRecord) -> tuple[str, str, str]:
    """The one other plugin that has the architecture which a file names, that architecture, and who
    says so; empty if there is none, or several have it.
    """
    name = inside.architecture
    others = _others(plugin, name) if name and ":" not in name else []
    return (others[0], name, f"the file, {others[0]} has it") if len(others) == 1 else ("", "", "")


def architecture_by_shapes(
    plugin: str,
    path: Path,
    fits: Mapping[str, Sequence[str]],
    inside: FileRecord,
    record: RunRecord,
) -> tuple[str, str]:
    """The one architecture that the weights in a file fit by their names and shapes; who says so.
    ``fits`` is what `fitting` has found.

    Raises:
        InvalidOption: Several fit, or none does.
        InvalidWeights: The file holds a network several times.
    """
    if len(fits) == 1:
        name, prefixes = next(iter(fits.items()))
        if best_prefix(prefixes) is None:
            raise InvalidWeights(path, ambiguity(prefixes))
        return name, BY_SHAPES
    says = inside.architecture or record.architecture
    what = f"'{says:.60}' is no architecture of {plugin}" if says else "nothing says it"
    if plugins.known(plugin) is not None:
        what += ", and its names and shapes are those of "
        what += _listed(fits) if fits else f"no architecture of {plugin}"
    others = " or ".join(each for each in plugins.names(GROUP) if each != plugin)
    option = "--architecture NAME" + ("" if fits else f" (with --backbone {others})")
    raise InvalidOption(f"what network it is: {what}; give {option}")


def which_fits(plugin: str, architecture: str, shapes: Shapes) -> str:
    """What to add to the refusal of weights as those of ``architecture``; empty if they fit no
    other network that is known.
    """
    fits = fitting(plugin, shapes)
    other = fits and architecture not in fits
    return f"; its names and shapes are those of {_listed(fits)}" if other else ""


def fitting(plugin: str, shapes: Shapes) -> dict[str, list[str]]:
    """The architectures of a plugin that have these tensors, but for a prefix of their names, for
    what does not begin with it, and for the head; each with the prefixes that it is under.
    """
    known = plugins.known(plugin)
    if known is None:
        return {}
    with plugins.blaming(GROUP, plugin):
        return _find(known, shapes)


def lacks_head(plugin: str, architecture: str, names: Collection[str]) -> bool:
    """Whether weights have all tensors of an architecture but for its head, as far as it is known
    without its library.
    """
    outline = outline_of(plugin, architecture)
    if outline is None or not outline.per_output:
        return False
    prefix, head = prefix_of(names, outline.shapes), outline.hierarchy.head
    own = {name.removeprefix(prefix) for name in names}
    body = outline.shapes.keys() - {*head.parameters, *head.buffers}
    return body <= own and own.isdisjoint(outline.per_output)


def _find(known: Known, shapes: Shapes) -> dict[str, list[str]]:
    """The networks that all names together are of, or those below a prefix; each with its prefixes.

    Breadth first, and no more than `TRIED` parts: names of a stranger can fall into any number.
    """
    least = len(shapes) // LEAST_SHARE
    fits: dict[str, list[str]] = defaultdict(list)
    parts = deque([("", shapes)])
    for _ in range(TRIED):
        if not parts:
            break
        prefix, own = parts.popleft()
        networks = known.fitting(own)
        for name in networks:
            fits[name].append(prefix)
        if not networks and prefix.count(".") < DEEPEST:
            parts.extend((prefix + part, inner) for part, inner in _largest(own, least))
    return dict(fits)


def _largest(shapes: Shapes, least: int) -> list[tuple[str, Shapes]]:
    """Tensors by the first part of their names: the parts with ``least`` of them, or with most."""
    inner: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in shapes.items():
        part, dot, rest = name.partition(".")
        if dot:
            inner[f"{part}."][rest] = shape
    least = min(least, max(map(len, inner.values()), default=0))
    return [(part, own) for part, own in inner.items() if len(own) >= least]


def _listed(fits: Mapping[str, Sequence[str]]) -> str:
    """Architectures for a message; with where they are, if that differs."""
    apart = len({prefix for prefixes in fits.values() for prefix in prefixes}) > 1
    names = [
        f"{name} ({', '.join(f'{prefix:.60}' for prefix in prefixes)})" if apart else name
        for name, prefixes in fits.items()
    ]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return " or ".join(names[:LISTED]) + more


def _others(plugin: str, architecture: str) -> list[str]:
    return [each for each in plugins.names(GROUP) if each != plugin and _has(each, architecture)]


def _has(plugin: str, architecture: str) -> bool:
    try:  # what is known without its library first: that takes seconds to import
        known = outline_of(plugin, architecture) is not None
        return known or architecture in plugins.architectures(plugin)
    except ZooError:
        return False
