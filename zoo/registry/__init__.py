"""The queryable index of a zoo. Knows no files of the store."""

from zoo.registry.catalog import KnownEntry
from zoo.registry.registry import Registry
from zoo.registry.search import Found, Query

__all__ = ["Found", "KnownEntry", "Query", "Registry"]
