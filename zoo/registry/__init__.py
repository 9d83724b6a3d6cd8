"""The queryable index of a zoo. Knows no files of the store."""

from zoo.domain.query import Query
from zoo.registry.catalog import KnownEntry
from zoo.registry.recovery import open_kept, set_newer_aside
from zoo.registry.registry import Registry
from zoo.registry.remotes import RemoteRef
from zoo.registry.search import Found

__all__ = ["Found", "KnownEntry", "Query", "Registry", "RemoteRef", "open_kept", "set_newer_aside"]
