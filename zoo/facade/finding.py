"""Find: index, search, look up, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.facade.opened import Opened
from zoo.lookup.details import details
from zoo.lookup.lineage import lineage

if TYPE_CHECKING:
    from zoo.domain.hierarchy import Hierarchy
    from zoo.exchange.indexing import Indexed
    from zoo.registry import Found

__all__ = ["Finding"]


class Finding(Opened):
    """What can be looked up; none of it loads torch unless a network must be traced."""

    def index(self, source: str, **wanted: Any) -> Indexed:
        """List a source's checkpoints in the registry (`zoo.exchange.indexing.index`).

        ``wanted`` are fields of `zoo.exchange.indexing.Wanted`: ``library="timm"``, ``author``,
        ``limit``, ``results=("results-imagenet.csv",)``.

        Raises:
            UnknownName: No source of that name.
            InvalidOption: The source cannot be asked so.
            Unavailable: It does not answer.
        """
        from zoo.exchange.indexing import Wanted, index

        return index(self.workspace, source, Wanted(**wanted), progress=self.progress)

    def forget_listing(self, source: str, author: str | None = None) -> int:
        """Take a source's listing back (`zoo.exchange.indexing.forget`)."""
        from zoo.exchange.indexing import forget

        return forget(self.workspace, source, author)

    def deepen(self, source: str) -> tuple[int, dict[str, str]]:
        """Trace all architectures that a source lists (`zoo.exchange.deepen.deepen`)."""
        from zoo.exchange.deepen import deepen

        return deepen(self.workspace, source, progress=self.progress)

    def search(self, text: str = "", **asked: Any) -> list[Found]:
        """Checkpoints here and at remotes, newest first, then catalog entries by name.

        ``text`` holds words and filters: ``convnext params<30M license:apache-2.0``; all must hold
        (docs/search.md). ``asked`` are ``sort``, ``limit``, and fields with what they must equal.

        Raises:
            UnknownName: No such field; near ones are suggested.
            InvalidOption: A value that the field does not take.
        """
        from zoo.lookup.standing import with_remotes
        from zoo.registry import Query

        found = self.workspace.registry.search(Query.parse(text, **asked))
        return with_remotes(self.workspace, found)

    def count(self, text: str = "", *, at_most: int | None = None, **asked: Any) -> int:
        """How many `search` finds, whatever the limit; no more than ``at_most`` are counted."""
        from zoo.registry import Query

        return self.workspace.registry.count(Query.parse(text, **asked), at_most=at_most)

    def show(self, name: str) -> dict[str, Any]:
        """All that is known of a checkpoint or catalog entry (`zoo.lookup.details.details`)."""
        return details(self.workspace, name)

    def log(self, name: str) -> dict[str, Any]:
        """Lineage and history of a checkpoint (`zoo.lookup.lineage.lineage`)."""
        return lineage(self.workspace, name)

    def diff(self, one: str, other: str) -> dict[str, Any]:
        """What is different between two checkpoints (`zoo.lookup.diff.diff`)."""
        from zoo.lookup.diff import diff

        return diff(self.workspace, one, other)

    def identify(self, path: Path | str) -> dict[str, Any]:
        """Which checkpoint a stray weights file is (`zoo.exchange.stray.identify_file`)."""
        from zoo.exchange.stray import identify_file

        return identify_file(self.workspace, Path(path))

    def best(self, text: str = "", **how: Any) -> dict[str, Any]:
        """The checkpoint with the best ``metric`` on a ``dataset`` (`zoo.lookup.best.best`)."""
        from zoo.lookup.best import best

        return best(self.workspace, text, **how)

    def architectures(self, pattern: str = "*") -> dict[str, Any]:
        """Architectures, or all weights of one (`zoo.lookup.architectures.architectures`)."""
        from zoo.lookup.architectures import architectures

        return architectures(self.workspace, pattern)

    def reindex(self) -> dict[str, Any]:
        """Make ``registry.db`` again (`zoo.exchange.reindexing.reindex`)."""
        from zoo.exchange.reindexing import reindex

        return reindex(self.workspace, progress=self.progress)

    def tree(self, name: str) -> Hierarchy:
        """The units, stages and head of a checkpoint, a catalog entry, or an architecture.

        Raises:
            UnknownName: None of these is called ``name``; near names are suggested.
            Unsupported: The network cannot be traced.
        """
        from zoo.exchange.architecture import hierarchy_of

        return hierarchy_of(self.workspace, name)
