"""Network: what a publisher's own files say of a network and its input. Pure data, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.domain.manifest import Preprocessing
from zoo.domain.surgery import Surgery
from zoo.domain.task import Task
from zoo.errors import Unsupported

__all__ = ["CONFIG", "PROCESSOR", "Config", "Network", "in_bounds"]

Config = Mapping[str, Any]
"""What is in a JSON file of a stranger, or goes into a library's own configuration."""

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as its publisher describes it.

    Attributes:
        architecture: A name that the plugin knows.
        surgery: How it differs from that one.
        preprocessing: How images become its input; None: as the plugin says.
        classes: Class names in index order; empty where none are stated.
        published_classes: Whether its outputs are said to be those that the architecture was
            published with, without their names.
        task: What its outputs mean.
    """

    architecture: str
    surgery: Surgery
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    published_classes: bool = False
    task: Task = "classification"


def in_bounds(options: Config, file: str) -> Surgery:
    """The surgery with the values of ``options``, without those that are None.

    Raises:
        Unsupported: A value that cannot be; ``file`` says where it is from.
    """
    try:
        return Surgery.parse({name: value for name, value in options.items() if value is not None})
    except Unsupported as error:
        raise Unsupported(f"{file}: {error}") from None
