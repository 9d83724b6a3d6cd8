"""Known: which checkpoints somebody may know of, by the names that they may read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import ZooError
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import VisibleNames

__all__ = ["KnownCheckpoint", "Url", "known", "manifest_here"]

Url = Callable[..., str]
"""Makes the address of a page: `zoo.serve.pages.page.Site.url`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCheckpoint:
    """A checkpoint that somebody may know of.

    Attributes:
        repo: Of the names that they may read, the one that has it; empty: none has.
        tag: Its tag; empty of the default one.
        past: Whether that name had it, and has another one now.
    """

    repo: str = ""
    tag: str = ""
    past: bool = False

    @classmethod
    def of(cls, ref: Reference, *, past: bool = False) -> KnownCheckpoint:
        """What a name has, or had."""
        return cls(repo=ref.path, tag="" if ref.tag == DEFAULT_TAG else ref.tag, past=past)

    @property
    def current(self) -> bool:
        """Whether that name still has it."""
        return bool(self.repo) and not self.past

    def address(self, url: Url) -> str:
        """Where its page is, of what a name had once that of all its versions; empty: nowhere."""
        if self.past:
            return url(self.repo, "versions")
        return url(self.repo, revision=self.tag) if self.repo else ""

    def __str__(self) -> str:
        name = f"{self.repo}:{self.tag}" if self.tag else self.repo
        return f"{name}, earlier" if self.past else name


def known(ask: Ask, digests: Collection[Digest]) -> Mapping[Digest, KnownCheckpoint]:
    """Those of some checkpoints that are there for who asks."""
    checkpoints: dict[Digest, KnownCheckpoint] = {}
    for digest, refs in VisibleNames(ask).names(digests).items():
        best = min(refs, key=lambda ref: (ref.path != ask.repo, ref.tag != DEFAULT_TAG, str(ref)))
        checkpoints[digest] = KnownCheckpoint.of(best)
    if left := {*digests} - checkpoints.keys():
        ask = ask.knowing_all()
        left = ask.hub.reach.there(ask, left)
        named = ask.hub.reach.names(ask, left)
        checkpoints |= dict.fromkeys(left, KnownCheckpoint())
        checkpoints |= {digest: KnownCheckpoint.of(ref, past=True) for digest, ref in named.items()}
    return checkpoints


def manifest_here(ask: Ask, digest: Digest) -> Manifest | None:
    """What a checkpoint says of itself; None if it is not here, or damaged."""
    try:
        return ask.hub.workspace.store.manifest(digest)
    except (ZooError, OSError):
        return None
