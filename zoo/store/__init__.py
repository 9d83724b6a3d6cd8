"""Content-addressed files. Knows no database and no torch. The format is in ``docs/store.md``."""

from zoo.store.store import Store

__all__ = ["Store"]
