"""Weights of a network that is known well enough to see that they fit it without building it.

What is found here is what building the network would tell. Where there is any doubt nothing is
found, and no error told: whoever asks builds the network, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo import plugins
from zoo.backbones.describe import outline_of
from zoo.domain.manifest import Manifest
from zoo.errors import InvalidWeights
from zoo.exchange.origin import Origin
from zoo.store.header import is_safetensors, read_header

__all__ = ["outlined"]

DTYPES = frozenset(["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"])
"""What every version of torch reads."""


def outlined(sources: Sequence[Path], origin: Origin) -> Manifest | None:
    """The manifest, without weights, of one safetensors file that has exactly the tensors of the
    outline of its architecture, with any number of outputs; None: build the network.
    """
    layout = origin.layout
    if len(sources) != 1 or (layout and not layout.as_outlined):
        return None
    known, outline = plugins.known(origin.plugin), outline_of(origin.plugin, origin.architecture)
    if known is None or outline is None:
        return None
    found = _shapes(sources[0])
    outputs = outline.fits(found) if found else None
    tag = origin.tag or ""
    preprocessing = layout.network.preprocessing if layout else outline.preprocessing.get(tag)
    if outputs is None or preprocessing is None:
        return None
    classes: tuple[str, ...] | None = layout.network.classes if layout else ()
    if not classes and origin.are_published_classes:
        with plugins.blaming("zoo.backbones", origin.plugin):
            classes = known.classes(outputs)
    return None if classes is None else origin.manifest(outputs, preprocessing, classes)


def _shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        entries = read_header(path).entries
    except InvalidWeights:
        return None
    plain = all(entry.dtype in DTYPES for entry in entries)
    return {entry.name: entry.shape for entry in entries} if plain else None
