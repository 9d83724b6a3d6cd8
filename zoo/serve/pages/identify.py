"""Identify: which checkpoints a file is, or derives from, by the keys of its tensors alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from zoo.domain.digest import Digest
from zoo.domain.limits import DIMENSIONS, HEADER_BYTES, KEYED_TENSORS, REQUEST_BYTES
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.domain.words import shortened
from zoo.lookup.identify import (
    Candidate,
    UnitMatch,
    candidates,
    differing,
    hashes_of,
    keys_in,
    named_at,
)
from zoo.lookup.keys import FileKeys, read_keys
from zoo.lookup.units import units_of
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import VisibleNames
from zoo.serve.pages.known import KnownCheckpoint, known
from zoo.serve.pages.page import show, site_of
from zoo.store.forgotten import forgotten
from zoo.store.header import BITS

__all__ = ["IdentifyPage", "Likely", "identify_form", "identify_keys", "look_identify"]

LETTERS, NAMES, UNITS = 120, 8, 100
"""Letters of the file's name; tensors that are named of those missing and added; units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likely:
    """A checkpoint that shares tensors with the file. What is not said here is as in
    `zoo.lookup.identify.FileMatch`.

    Attributes:
        name: What to call it.
        where: The name that it has, of those that who asks may read.
        also: Others of those, not too many; in one's own zoo those that it had, if it has none.
        digest: Its identity.
        missing: How many of its tensors the file lacks, and the names of ``some_missing``.
        added: How many tensors it lacks, and the names of ``some_added``.
        units: Those that differ, not too many, of ``differing``.
    """

    name: str
    where: KnownCheckpoint
    also: tuple[str, ...]
    digest: str
    architecture: str
    verdict: str
    share: float
    identical_file: bool
    prefix: str
    renamed: int
    casts: tuple[str, ...]
    missing: int
    some_missing: tuple[str, ...]
    added: int
    some_added: tuple[str, ...]
    units: tuple[UnitMatch, ...]
    differing: int
    departs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyPage:
    """The page, before and after something was asked.

    Attributes:
        file: What the file is called.
        tensors: How many it has; 0: nothing was asked yet.
        verdict: That on the best match; ``unknown`` if there is none.
        matches: The checkpoints that share tensors with it, the best first.
        error: What is wrong with what was sent.
        limits: How much is taken.
    """

    file: str = ""
    tensors: int = 0
    verdict: str = ""
    matches: tuple[Likely, ...] = ()
    error: str = ""
    limits: Mapping[str, int] = field(
        default_factory=lambda: {
            "header": HEADER_BYTES,
            "tensors": KEYED_TENSORS,
            "dimensions": DIMENSIONS,
            "request": REQUEST_BYTES,
        }
    )

    @property
    def bits(self) -> str:
        """Bits of an element by dtype, for the script."""
        return json.dumps(BITS)


def look_identify(ask: Ask) -> IdentifyPage:
    """The page on which to choose a file."""
    del ask
    return IdentifyPage()


def identify_form(ask: Ask) -> Answer:
    """What a file is whose keys were sent by the form."""
    sent = ask.call.fields
    file = shortened(sent.get("file", "").strip(), LETTERS)
    try:
        page = _identified(ask, file, read_keys(sent.get("keys", "").strip().encode()))
    except ValueError as error:
        return show(site_of(ask), "identify.html", IdentifyPage(file=file, error=str(error)), 400)
    return show(site_of(ask), "identify.html", page)


def identify_keys(ask: Ask) -> Answer:
    """What a file is whose keys a program has sent."""
    try:
        keys = read_keys(ask.call.body)
    except ValueError as error:
        raise Refused("BadRequest", f"these are no keys: {error}") from None
    return json_answer(_identified(ask, "", keys))


def _identified(ask: Ask, file: str, keys: FileKeys) -> IdentifyPage:
    named: dict[Digest, KnownCheckpoint] = {}

    def there(digests: Collection[Digest]) -> Collection[Digest]:
        """Nobody learns by a hash what they may not read: it is as if it were not here."""
        named.update(known(ask, digests))
        return named.keys()

    tensors, workspace = keys.tensors, ask.hub.workspace
    checkpoints, _ = candidates(workspace, keys_in(tensors.values()), tensors, there)
    checkpoints.sort(key=lambda one: _original_first(ask, named[one.digest], one, keys.sha256))
    matches = tuple(_likely(ask, named[one.digest], one, keys.sha256) for one in checkpoints)
    verdict = matches[0].verdict if matches else "unknown"
    return IdentifyPage(file=file, tensors=len(tensors), verdict=verdict, matches=matches)


def _original_first(
    ask: Ask, named: KnownCheckpoint, one: Candidate, sha256: str
) -> tuple[object, ...]:
    """To sort by, as `zoo identify` does; of names, by those that who asks may read, or the one
    that they are told. What has a name now is before what had one.
    """
    *closeness, ancestors, digest = one.rank
    refs = VisibleNames(ask).names([one.digest]).get(one.digest, [])
    if named.past:
        refs = [Reference.parse(f"{named.repo}:{named.tag or DEFAULT_TAG}")]
    since = named_at(ask.hub.workspace, one.digest, refs)
    original = sha256 not in hashes_of(one.manifest)
    return (*closeness, original, not named.current, ancestors, since, digest)


def _likely(ask: Ask, named: KnownCheckpoint, one: Candidate, sha256: str) -> Likely:
    units = units_of(ask.hub.workspace, one.manifest)
    moved, match = differing(units, one.match), one.match
    return Likely(
        name=str(named) if named.repo else one.digest.short,
        where=named,
        also=_also(ask, named, one.digest)[:NAMES],
        digest=str(one.digest),
        architecture=one.manifest.backbone.shown,
        verdict=match.verdict,
        share=match.share,
        identical_file=sha256 in hashes_of(one.manifest),
        prefix=shortened(match.prefix, LETTERS),
        renamed=match.renamed,
        casts=match.casts,
        missing=len(match.missing),
        some_missing=_some(match.missing),
        added=len(match.added),
        some_added=_some(match.added),
        units=moved[:UNITS],
        differing=len(moved),
        departs=next((unit.unit for unit in moved), "") if units.hierarchy else "",
    )


def _also(ask: Ask, named: KnownCheckpoint, digest: Digest) -> tuple[str, ...]:
    if named.repo:
        refs = VisibleNames(ask).names([digest]).get(digest, [])
        return tuple(str(ref) for ref in refs if str(ref) != str(named))
    if not ask.hub.alone:  # of a server that is large it takes long
        return ()
    return tuple(
        str(ref) for one in forgotten(ask.hub.workspace.store, [digest]) for ref in one.names
    )


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(shortened(name, LETTERS) for name in names[:NAMES])
