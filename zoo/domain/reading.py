"""Which file is being read, for whoever reports what its decoder warns of."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["READING"]

READING: ContextVar[str] = ContextVar("READING", default="")
"""Its path; empty if none is. Decoders warn of what they find in it, but not where."""
