"""Statements are compiled once for a kind of database, not again for each registry.

SQLAlchemy keeps what it has compiled with an engine. A user's process has one; a test opens some,
and compiling took a third of the time of a command in it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import LRUCache

__all__ = ["share_compiled"]


def share_compiled() -> None:
    """From now on, in this process."""
    compile_one = ClauseElement._compile_w_cache
    dialects: dict[tuple[str, str], Dialect] = {}
    known: LRUCache[Any, Any] = LRUCache(5000)

    def compile_shared(self: Any, dialect: Dialect, *, compiled_cache: Any, **how: Any) -> Any:
        if compiled_cache is not None:
            dialect = dialects.setdefault((dialect.name, dialect.driver), dialect)
            compiled_cache = known
        return compile_one(self, dialect, compiled_cache=compiled_cache, **how)

    ClauseElement._compile_w_cache = compile_shared  # type: ignore[method-assign]
