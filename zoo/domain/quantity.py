"""Quantity: numbers of bytes, as people write them."""

from __future__ import annotations

import re

from zoo.errors import InvalidOption

__all__ = ["read_bytes"]

BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,18})?) ?([kMGT]?)B?", re.ASCII)
UNITS = {unit: 1000**power for power, unit in enumerate(("", "k", "M", "G", "T"))}


def read_bytes(text: str) -> int:
    """A number of bytes, written as ``200GB``.

    Raises:
        InvalidOption: It is none.
    """
    if not (match := BYTES.fullmatch(text)):
        raise InvalidOption(f"'{text:.40}' is no number of bytes: write 200GB, or none")
    return int(float(match[1]) * UNITS[match[2]])
