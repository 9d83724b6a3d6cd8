"""Seen: what may be told whoever asks, of names and of checkpoints beside their own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidReference
from zoo.registry import VisibilityFilter
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all

__all__ = ["HIDDEN", "Other", "VisibleNames", "readable_name", "repo_in", "seen_by"]

HIDDEN = "a checkpoint that you may not see"


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another checkpoint, as whoever asks may see it.

    Attributes:
        name: A name of it; `HIDDEN` if it may not be read, empty if it has none.
        digest: Its identity.
        path: Its page; empty if there is none.
    """

    name: str
    digest: str
    path: str = ""

    @property
    def hidden(self) -> bool:
        """Whether it may not be read."""
        return self.name == HIDDEN


class VisibleNames:
    """What whoever asks may see of others: what was said of all names is read once, and so are the
    names of each checkpoint.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask.knowing_all()
        self._registry = ask.hub.workspace.registry
        self._named: dict[Digest, list[Reference]] = {}

    def names(self, digests: Collection[Digest]) -> dict[Digest, list[Reference]]:
        """The names of some checkpoints that may be read, sorted; without one, it is left out."""
        if new := {*digests} - self._named.keys():
            self._named |= {digest: [] for digest in new}
            for digest, refs in self._registry.refs_of_each(new).items():
                self._named[digest] = [ref for ref in refs if self._ask.may("read", ref.path)]
        return {digest: refs for digest in digests if (refs := self._named[digest])}

    def there(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of some checkpoints that may be read."""
        named = self.names(digests).keys()
        left = {*digests} - named
        return {*named} | (self._ask.hub.reach.there(self._ask, left) if left else set())

    def other(self, digest: Digest, called: str = "") -> Other:
        """A checkpoint; ``called`` is what somebody's manifest calls it."""
        if names := self.names([digest]).get(digest):
            return Other(name=str(names[0]), digest=str(digest), path=_page_of(names[0]))
        shown = readable_name(self._ask, called)
        if shown or self.there([digest]):
            return Other(name=shown, digest=str(digest))
        return Other(name=HIDDEN, digest=str(digest))

    def parent(self, parent: Parent) -> Other:
        """What a checkpoint says that it derives from."""
        return self.other(parent.manifest, parent.ref)


def seen_by(ask: Ask) -> VisibilityFilter | None:
    """What who asks may be told of in a search; None: of all. What sources list is for who has an
    account: the sources may be a team's own. What only remotes have is for who may see everything:
    their own servers decide who may read it.
    """
    if sees_all(ask.actor):
        return None
    paths = {given.path for given in ask.rules.given()} | {ask.actor.name} | ask.actor.only
    readable = {
        path: ask.may("read", path if "/" in path else f"{path}/") for path in paths if path
    }
    return VisibilityFilter(
        names=ask.may("read", "/"),  # a name of which nothing was said
        shown=frozenset(path for path, shown in readable.items() if shown),
        hidden=frozenset(path for path, shown in readable.items() if not shown),
        catalog=bool(ask.actor.name),
    )


def readable_name(ask: Ask, name: str) -> str:
    """A name that somebody wrote, whether it is there or not, if who asks may read it; else
    nothing.
    """
    path = repo_in(name)
    return name if path and ask.may("read", path) else ""


def repo_in(name: str) -> str:
    """The repository of a name that somebody wrote; empty of what is none."""
    with suppress(InvalidReference):
        return Reference.parse(name).path
    return ""


def _page_of(ref: Reference) -> str:
    tag = "" if ref.tag == DEFAULT_TAG else f"?{urlencode({'revision': ref.tag})}"
    return f"/{quote(ref.path)}{tag}"
