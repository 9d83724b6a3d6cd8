"""Seen: what pages may tell whoever asks, of names and of checkpoints beside their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidReference
from zoo.registry import Seen as SeenNames
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.keep.history import MAIN
from zoo.serve.pages.chosen import path_of

__all__ = ["HIDDEN", "Other", "Seen", "link_to", "seen_by"]

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


class Seen:
    """What whoever asks may see of others: what was said of all names is read once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask.knowing_all()
        self._registry = ask.hub.workspace.registry

    def may_read(self, path: str) -> bool:
        """Whether a name may be read, whether it is there or not."""
        return self._ask.may("read", path)

    def names(self, digests: Iterable[Digest]) -> dict[Digest, list[Reference]]:
        """The names of some checkpoints that may be read, sorted; without one, it is left out."""
        found = {}
        for digest, refs in self._registry.refs_of_each(digests).items():
            if readable := [ref for ref in refs if self._ask.may("read", ref.path)]:
                found[digest] = readable
        return found

    def there(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of some checkpoints that may be read."""
        named = self.names(digests).keys()
        left = {*digests} - named
        return {*named} | (self._ask.hub.reach.there(self._ask, left) if left else set())

    def other(self, digest: Digest, called: str = "") -> Other:
        """A checkpoint; ``called`` is what somebody's manifest calls it."""
        if names := self.names([digest]).get(digest):
            return Other(name=str(names[0]), digest=str(digest), path=link_to(names[0]))
        path = _path(called)
        shown = called if path and self.may_read(path) else ""
        if shown or self.there([digest]):
            return Other(name=shown, digest=str(digest))
        return Other(name=HIDDEN, digest=str(digest))

    def parent(self, parent: Parent) -> Other:
        """What a checkpoint says that it derives from."""
        return self.other(parent.manifest, parent.ref)


def seen_by(ask: Ask) -> SeenNames | None:
    """What who asks may be told of in a search; None: of all. What sources list is for who has an
    account: the sources may be a team's own. What only remotes have, others have said who may read.
    """
    if sees_all(ask.actor):
        return None
    said = {given.path for given in ask.rules.given()} | {ask.actor.name} | ask.actor.only
    told = {path: ask.may("read", path if "/" in path else f"{path}/") for path in said if path}
    return SeenNames(
        names=ask.may("read", "/"),  # a name of which nothing was said
        shown=frozenset(path for path, shown in told.items() if shown),
        hidden=frozenset(path for path, shown in told.items() if not shown),
        catalog=bool(ask.actor.name),
    )


def link_to(ref: Reference) -> str:
    """The path of the page of a name."""
    revision = "" if ref.tag == DEFAULT_TAG else ref.tag
    return path_of(ref.path, revision=MAIN if revision == MAIN else revision)


def _path(text: str) -> str:
    """The repository that somebody's text names; empty if it names none."""
    try:
        return Reference.parse(text).path
    except InvalidReference:
        return ""
