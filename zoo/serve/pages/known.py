"""Known: which checkpoints somebody may know of, by the names that they may read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import ZooError
from zoo.serve.hub.ask import Ask

__all__ = ["Named", "known", "manifest_here", "page_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A checkpoint that somebody may know of: its name, empty if none of those that they may read
    has it, and the page of that.
    """

    name: str = ""
    url: str = ""


def known(ask: Ask, digests: Collection[Digest]) -> Mapping[Digest, Named]:
    """Those of some checkpoints that are there for who asks. Of a name that has it no more, the
    page is that of its versions.
    """
    there = ask.hub.reach.there(ask, digests)
    found, unnamed = dict.fromkeys(there, Named()), set[Digest]()
    for digest in there:
        refs = ask.hub.workspace.registry.refs_of(digest)
        own = [ref for ref in refs if ask.may("read", ref.path)]
        if not own:
            unnamed.add(digest)
            continue
        best = min(own, key=lambda ref: (ref.path != ask.repo, ref.tag != DEFAULT_TAG, str(ref)))
        found[digest] = Named(name=str(best), url=page_of(best))
    for digest, ref in ask.hub.reach.names(ask, unnamed).items():
        was = f"{ref.path}@{digest.short}"
        found[digest] = Named(name=was, url=f"/{quote(ref.path)}/versions")
    return found


def page_of(ref: Reference) -> str:
    """Where the page of a name is."""
    tag = "" if ref.tag == DEFAULT_TAG else f"?revision={quote(ref.tag, safe='')}"
    return f"/{quote(ref.path)}{tag}"


def manifest_here(ask: Ask, digest: Digest) -> Manifest | None:
    """What a checkpoint says of itself; None if it is not here, or damaged."""
    try:
        return ask.hub.workspace.store.manifest(digest)
    except (ZooError, OSError):
        return None
