"""What is known of timm's architectures without importing timm, which takes seconds.

``outlines.zip`` comes with zoo and is made by ``python -m zoo_timm.outlines``. It is for one
version of timm. With any other one nothing is taken from it unseen: whoever asks builds the
network. It still tells which network to try (`fitting`), and sizes in a listing (`params`).
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import zoo_timm
from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.hierarchy import TRACE_VERSION, tuples
from zoo.domain.network import Config, Network
from zoo.domain.outline import Outline
from zoo.errors import Unsupported
from zoo_timm.config import read

__all__ = [
    "BODIES",
    "CATALOG",
    "OUTLINES",
    "architectures",
    "by_body",
    "classes",
    "entries",
    "fitting",
    "made_for",
    "outline",
    "params",
    "read_config",
]

OUTLINES = Path(__file__).with_name("outlines.zip")
"""Architectures in the order of their names, some in each member, which the first of them names."""
CATALOG, BODIES = "catalog.json", "bodies.json"
"""What else is in it: the listing, and what `fitting` finds architectures by."""
IMAGENET = 1000
MOST_TENSORS = 10_000
"""No network of timm has as many: more are not compared."""
MALFORMED = (
    Unsupported,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def made_for() -> str:
    """What outlines depend on: they are used where it is what it was when they were made."""
    return f"{zoo_timm.version()}, trace {TRACE_VERSION}"


@cache
def outline(architecture: str) -> Outline | None:
    """What the installed timm builds under that name; None if nothing is known."""
    return _outline(OUTLINES, architecture) if _is_current() else None


@cache
def _outline(_file: Path, architecture: str) -> Outline | None:
    with _archive() as archive:
        names = _members(archive) if archive else []
        # Members are sorted, each named by its first architecture: the last that is not behind.
        index = bisect_right(names, architecture)
        batch = json.loads(archive.read(names[index - 1])) if archive and index else {}
    known = batch.get(architecture)
    return Outline.from_json(known) if known else None


def architectures() -> tuple[str, ...] | None:
    """All names that the installed timm builds, sorted; None if they are not known."""
    return _names(OUTLINES, made_for()) or None


def fitting(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The architectures that have exactly these tensors, with any number of outputs; where there is
    none, those that have them but for the head, which is missing or another. With another timm than
    the outlines are of they are those to try: building shows whether they still are so.
    """
    if len(shapes) > MOST_TENSORS:
        return ()
    matches, hashes = [], {name: _hash(name, shape) for name, shape in shapes.items()}
    for heads, bodies in _by_body(OUTLINES):
        for name in bodies.get(_sum(hashes, heads), ()):
            known = _outline(OUTLINES, name) if _is_built(name) else None
            if known and _body(shapes, heads) == _body(known.shapes, heads):
                matches.append((name, known.fits(shapes) is not None))
    whole = tuple(name for name, fits in matches if fits)
    return tuple(sorted(whole or {name for name, _ in matches}))


def _is_built(architecture: str) -> bool:
    """Whether the installed timm has it."""
    if _is_current():
        return True
    from timm import is_model

    return bool(is_model(architecture))


def by_body(outlines: Mapping[str, Outline]) -> list[tuple[tuple[str, ...], dict[str, list[str]]]]:
    """Architectures by what the names of their heads' tensors begin with, and a hash of all other
    names and shapes.
    """
    by_heads: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, known in outlines.items():
        heads = tuple(dict.fromkeys(f"{each.rpartition('.')[0]}." for each in known.per_output))
        hashes = {each: _hash(each, shape) for each, shape in known.shapes.items()}
        by_heads[heads][_sum(hashes, heads)].append(name)
    return list(by_heads.items())


def _body(shapes: Mapping[str, tuple[int, ...]], heads: tuple[str, ...]) -> set[object]:
    return {item for item in shapes.items() if not item[0].startswith(heads)}


def _hash(name: str, shape: tuple[int, ...]) -> int:
    text = f"{name} {tuple(shape)}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def _sum(hashes: Mapping[str, int], heads: tuple[str, ...]) -> str:
    """A hash of all names but those of heads. It only finds: who has it is compared."""
    return f"{sum(each for name, each in hashes.items() if not name.startswith(heads)):x}"


@cache  # by file and version
def _names(_file: Path, _made_for: str) -> tuple[str, ...]:
    return tuple(name for batch in _batches() for name in batch)


@cache
def _by_body(_file: Path) -> tuple[tuple[tuple[str, ...], Mapping[str, Sequence[str]]], ...]:
    with _archive() as archive:
        groups = json.loads(archive.read(BODIES)) if archive else []
    return tuple((tuple(heads), bodies) for heads, bodies in groups)


def _batches() -> Iterator[dict[str, Any]]:
    """The outlines of all architectures, as JSON; None of those that have none."""
    with _archive() as archive:
        if archive is not None and _is_current():
            for member in _members(archive):
                yield json.loads(archive.read(member))


def entries() -> list[CatalogEntry] | None:
    """What the installed timm lists, with the parameters of each network; None if that is not
    known.
    """
    if not _is_current():
        return None
    catalog = (CatalogEntry(**tuples(row)) for row in _listing())
    return [
        replace(entry, location=Location("hub", entry.hub_id)) if entry.hub_id else entry
        for entry in catalog
    ]


def params() -> dict[str, int]:
    """The number of parameters of each architecture that the timm had which outlines are of."""
    return {row["architecture"]: row["params"] for row in _listing() if row["params"]}


def _listing() -> list[dict[str, Any]]:
    with _archive() as archive:
        return json.loads(archive.read(CATALOG)) if archive else []


def _members(archive: ZipFile) -> list[str]:
    return [name for name in archive.namelist() if name not in (CATALOG, BODIES)]


@contextmanager
def _archive() -> Iterator[ZipFile | None]:
    """The outlines, of whichever timm; None where there are none."""
    if not OUTLINES.is_file():
        yield None
        return
    with ZipFile(OUTLINES) as archive:
        yield archive


def _is_current() -> bool:
    """Whether the outlines are of the installed timm."""
    with _archive() as archive:
        return archive is not None and archive.comment.decode() == made_for()


def read_config(config: Config) -> Network | None:
    """The network that ``config.json`` describes, if it is as timm builds it unless told otherwise,
    but for the number of outputs; None: timm must be asked.
    """
    try:
        network = read(config)
        known = outline(network.architecture)
    except MALFORMED:
        return None
    if known is None or network.preprocessing is None or network.surgery.channels:
        return None
    own, size = known.settings, network.surgery.image_size
    if size and own["fixed_input_size"] and list(size) != own["input_size"][1:]:
        return None
    arguments = dict(network.surgery.arguments)
    if arguments.get("global_pool") == own["global_pool"]:  # timm always says it
        arguments.pop("global_pool", None)
    stated = network.surgery.num_classes
    if arguments or (stated is not None and bool(stated) != bool(known.outputs)):
        return None
    return replace(network, surgery=replace(network.surgery, arguments=()))


@cache
def classes(outputs: int) -> tuple[str, ...] | None:
    """Names of so many outputs of published weights; None: timm must be asked."""
    if not outputs:
        return ()
    if outputs != IMAGENET:
        return None
    spec = find_spec("timm")  # finds it, and imports nothing
    if spec is None or spec.origin is None:
        return None
    info = Path(spec.origin).parent / "data/_info"
    lines = (info / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    lemmas = dict(csv.reader(lines, delimiter="\t"))
    return tuple(lemmas[name] for name in (info / "imagenet_synsets.txt").read_text().split())
