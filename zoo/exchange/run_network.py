"""With what a training script built its network, as it has kept that: ``model_kwargs`` of timm's
script, and the image size of any.

Anybody may have written it: what the plugin does not pass on to its library is refused by its name
(docs/adr/0026), and what merely lies beside the weights is then nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.contracts import SupportsConfigFiles
from zoo.domain.network import in_bounds
from zoo.domain.surgery import Surgery
from zoo.errors import MALFORMED, Unsupported
from zoo.exchange.metadata import ARGS, image_size_in, records
from zoo.exchange.run_records import named_architecture, read_arguments

__all__ = ["as_built", "as_sized"]

TIMM, KWARGS = "timm", "model_kwargs"
DIGITS = 100
"""Letters of what a YAML file may mean as a number."""

Saved = Mapping[Any, object]


def as_built(path: Path, saved: Saved, plugin: str, architecture: str) -> Surgery | None:
    """How a network of timm differs from the architecture, as the script of a file, which holds
    ``saved``, was told; None if it was told nothing.

    Raises:
        Unsupported: The file says that it was built with what zoo does not pass on.
    """
    if plugin != TIMM:
        return None
    for _, record in _of(saved, architecture):
        if isinstance(given := record.get(KWARGS), Mapping) and given:
            return _surgery(architecture, given)
    for record in _beside(path, architecture):
        if isinstance(given := record.get(KWARGS), Mapping) and given:
            with suppress(Unsupported):
                return _surgery(architecture, {name: _typed(each) for name, each in given.items()})
    return None


def as_sized(path: Path, saved: Saved, architecture: str) -> Surgery | None:
    """The architecture for images of the size that the script of a file was told; None if it was
    told none. Most networks have no weights that depend on it.
    """
    arguments = [*(record for _, record in _of(saved, architecture)), *_beside(path, architecture)]
    for size in filter(None, map(image_size_in, arguments)):
        with suppress(Unsupported):
            return in_bounds({"image_size": [*size]}, ARGS)
    return None


def _of(saved: Saved, architecture: str) -> Iterator[tuple[str, Saved]]:
    """What the script of that network has kept in a file."""
    return (each for each in records(saved) if named_architecture(each[1]) == architecture)


def _beside(path: Path, architecture: str) -> Iterator[Saved]:
    """What it has written beside it."""
    record = read_arguments(path.parent / ARGS)
    if isinstance(record, Mapping) and named_architecture(record) == architecture:
        yield record


def _surgery(architecture: str, given: Saved) -> Surgery:
    backbone = plugins.backbone(TIMM)
    if not isinstance(backbone, SupportsConfigFiles):
        raise Unsupported(f"the plugin {TIMM} here does not read arguments of networks")
    try:
        arguments = {str(name): value for name, value in given.items()}
        config = {"architecture": architecture, "model_args": arguments}
        return backbone.read_config(config, {}, [architecture]).surgery
    except MALFORMED as error:
        raise Unsupported(f"the {KWARGS} of its script are malformed: {error!r:.200}") from error


def _typed(value: object) -> object:
    """What a text of a YAML file means: a number, true or false; or lists of such."""
    if isinstance(value, list):
        return [_typed(each) for each in value]
    if isinstance(value, str) and len(value) <= DIGITS:
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
