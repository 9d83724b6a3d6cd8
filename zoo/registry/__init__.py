"""The queryable index of a zoo. Knows no files of the store."""

from zoo.domain.query import Query
from zoo.registry.catalog import KnownEntry
from zoo.registry.facets import Facets
from zoo.registry.recovery import open_kept, set_newer_aside
from zoo.registry.registry import Registry
from zoo.registry.remotes import RemoteRef
from zoo.registry.search import SearchResult
from zoo.registry.seen import VisibilityFilter

__all__ = [
    "Facets",
    "SearchResult",
    "KnownEntry",
    "Query",
    "Registry",
    "RemoteRef",
    "VisibilityFilter",
    "open_kept",
    "set_newer_aside",
]
