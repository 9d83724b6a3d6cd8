"""Asked: the checkpoints that a comparison names: each a name, a name at a commit, or a digest."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from zoo.domain.digest import Digest, digits_of
from zoo.domain.manifest import Manifest
from zoo.domain.query import Query
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidReference
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import seen_by
from zoo.serve.keep.history import ID, MAIN
from zoo.serve.pages.known import KnownCheckpoint, known
from zoo.serve.pages.listed import listed_entry
from zoo.store.manifests import checkpoint_of

__all__ = [
    "RequestedCheckpoint",
    "Wrong",
    "asked_names",
    "find_asked",
    "offered_names",
    "wrong_names",
]

OFFERED, NEAR = 200, 3
"""Names that a form offers, and that are offered in the place of a wrong one."""
SHORT = re.compile("[0-9a-f]{4,39}")
"""What the beginning of a commit's id looks like."""
SHOWN = 10
"""Digits of it that are shown."""
LETTERS = 400
"""Of a name that others are compared with: as many as the longest has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """Why a name cannot be compared, and names near it; without a name, why all cannot."""

    name: str = ""
    why: str
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedCheckpoint:
    """A checkpoint that is named.

    Attributes:
        name: What commands call it, too: its name, or of an earlier version the digest.
        of: Which name that digest belongs to, in words; empty of what has a name.
        where: The version of a repository that it is.
        digest: Its identity.
        manifest: What it says of itself.
    """

    name: str
    of: str = ""
    where: KnownCheckpoint
    digest: Digest
    manifest: Manifest


def asked_names(ask: Ask) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the query has as ``names``, each once; and those that it has more than once."""
    asked = Counter(name.strip() for name in ask.call.query.getlist("names"))
    del asked[""]
    return tuple(asked), tuple(name for name, times in asked.items() if times > 1)


def offered_names(ask: Ask) -> Mapping[str, Digest | None]:
    """Some names of those that who asks may read, and what they point at."""
    query = Query.parse("pulled:yes", limit=OFFERED)
    results = ask.hub.workspace.registry.search(query, seen=seen_by(ask))
    return {each.name: each.manifest for each in results}


def wrong_names(
    ask: Ask, names: Iterable[str], offered: Mapping[str, Digest | None]
) -> Iterator[Wrong]:
    """Those of some names that are not to be had, and names near them: one of each checkpoint that
    is not among the others.
    """
    taken, wrong = set[Digest | None](), dict[str, str]()
    for name in names:
        try:
            taken.add(find_asked(ask, name).digest)
        except Refused as refused:
            wrong[name] = refused.message
    left = [name for name, digest in offered.items() if digest not in taken]
    for name, why in wrong.items():
        near = dict[Digest | None, str]()
        for each in difflib.get_close_matches(name[:LETTERS], left, OFFERED):
            near.setdefault(offered[each], each)
        yield Wrong(name=name, why=why, near=tuple(near.values())[:NEAR])


def find_asked(ask: Ask, name: str) -> RequestedCheckpoint:
    """The checkpoint of a name, of a name at a commit, or of a digest or its first digits.

    Raises:
        Refused: It is not there, or may not be read: nobody learns which.
    """
    if digits := digits_of(name):
        return _by_digest(ask, digits)
    try:
        ref = Reference.parse(name)
    except InvalidReference:
        text = f"'{name}' is no name: write team/flowers:v2, or the digest of a checkpoint"
        raise Refused("BadRequest", text) from None
    try:
        return _by_name(ask, ref)
    except Refused as refused:
        if refused.code == "RepoNotFound" and listed_entry(ask, ref.path):
            text = f"it is listed, and not here: zoo pull {ref.path} brings it"
            raise Refused("RepoNotFound", text) from None
        raise


def _by_digest(ask: Ask, digits: str) -> RequestedCheckpoint:
    """What begins with some digits among all that who asks may know of."""
    store = ask.hub.workspace.store
    there = known(ask, store.starting_with(digits))
    if len(there) > 1:
        raise Refused("EntryNotFound", f"{len(there)} checkpoints begin so: {digits}")
    for digest, named in there.items():
        if checkpoint := checkpoint_of(store, digest):
            return _asked(ask, checkpoint, checkpoint.short, str(named), named)
    raise Refused("EntryNotFound", "there is no such checkpoint, or you may not read it")


def _by_name(ask: Ask, ref: Reference) -> RequestedCheckpoint:
    ask.require("read", ref.path)
    ref = _whole(ask, ref)
    pointed = ask.pointed(MAIN if ref.tag == DEFAULT_TAG else ref.tag, ref.path)
    digest = checkpoint_of(ask.hub.workspace.store, pointed)
    if digest is None:
        raise Refused("EntryNotFound", f"{ref} holds files, and no checkpoint")
    if ID.fullmatch(ref.tag):
        of = f"{ref.path}, commit {ref.tag[:SHOWN]}"
        return _asked(ask, digest, digest.short, of, KnownCheckpoint.of(ref))
    return _asked(ask, digest, str(ref), "", KnownCheckpoint.of(ref))


def _asked(
    ask: Ask, digest: Digest, name: str, of: str, where: KnownCheckpoint
) -> RequestedCheckpoint:
    return RequestedCheckpoint(
        name=name, of=of, where=where, digest=digest, manifest=ask.manifest(digest)
    )


def _whole(ask: Ask, ref: Reference) -> Reference:
    """A name at a commit whose id begins as its tag does, if one alone does; else the same name."""
    history = ask.hub.history
    if not SHORT.fullmatch(ref.tag) or history.version(ref.path, ref.tag):
        return ref
    ids = history.ids(ref.path, ref.tag, ask.patience)
    if len(ids) > 1:
        raise Refused("RevisionNotFound", f"{len(ids)} commits of {ref.path} begin so: {ref.tag}")
    return replace(ref, tag=ids.pop()) if ids else ref
