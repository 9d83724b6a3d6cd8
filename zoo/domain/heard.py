"""Heard: what a server has of a run that is reported to it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Heard"]


@dataclass(frozen=True, slots=True)
class Heard:
    """What is there of a run.

    Attributes:
        id: What it is called there.
        generation: How often its journal was begun; a run that is resumed may do some steps again.
        bytes: How many bytes of its journal are there.
        digest: Their BLAKE3, 64 hex digits; empty where that was not asked for.
        status: How it is, as far as was heard.
    """

    id: str
    generation: int
    bytes: int
    digest: str
    status: str
