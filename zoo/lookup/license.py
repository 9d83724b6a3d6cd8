"""License: what a checkpoint's own terms and those of its ancestors come to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidReference, MissingObject, ZooError
from zoo.workspace import Workspace

__all__ = ["Limit", "Terms", "come_to", "is_open", "licenses", "limits_of", "terms"]

LIMITS = (
    (re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial"), "non-commercial"),
    (re.compile(r"apple-amlr|research"), "research only"),
)
"""What a license id says of use."""
OPEN = re.compile(
    r"apache-2\.0|mit|isc|unlicense|zlib|(bsd|0bsd)(-[234]-clause)?|cc0-1\.0|cc-by(-sa)?-[34]\.0"
    r"|mpl-2\.0|(a|l)?gpl-[23]\.[01](-only|-or-later)?"
)
"""Ids of licenses that are known to let anybody use what has them for anything, on terms."""


@dataclass(frozen=True, slots=True, repr=False)
class Limit(Result):
    """A limit on use, the license that sets it, and the checkpoint that has that license."""

    limit: str
    license: str | None
    of: str = field(metadata={"json": "from"})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Terms(Result):
    """What a checkpoint's license and those of its ancestors come to.

    Attributes:
        limits: On its use.
        unknown: Names of those whose license nobody states.
        not_here: Names of those that are not here, and whose license is not known here.
        warning: Where its own license leaves out a limit of an ancestor; empty if nowhere.
    """

    limits: tuple[Limit, ...]
    unknown: tuple[str, ...]
    warning: str
    not_here: tuple[str, ...] = ()


def terms(workspace: Workspace, name: str, manifest: Manifest) -> Terms:
    """The terms of a checkpoint.

    They follow lineage: what was made from weights that are for non-commercial use is so, too,
    whatever its own license says.
    """
    above = [
        (each.ref or str(each.manifest), license_, each.manifest)
        for each, license_ in licenses(workspace, manifest)
    ]
    absent = {
        who
        for who, license_, digest in above
        if license_ is None and not _is_here(workspace, digest)
    }
    result = come_to(name, manifest.license, [(who, license_) for who, license_, _ in above])
    return replace(
        result,
        unknown=tuple(who for who in result.unknown if who not in absent),
        not_here=tuple(who for who in result.unknown if who in absent),
    )


def _is_here(workspace: Workspace, digest: Digest) -> bool:
    try:
        workspace.store.manifest(digest)
    except MissingObject:
        return False
    except ZooError:  # it is, and cannot be read
        pass
    return True


def come_to(name: str, own: str | None, above: Iterable[tuple[str, str | None]]) -> Terms:
    """The same of its ``own`` license and known ancestors: what each is called, and its license."""
    known = [(name, own), *above]
    limits = tuple(
        Limit(limit, license_, who) for who, license_ in known for limit in limits_of(license_)
    )
    named = set(limits_of(own))
    hidden = next((limit for limit in limits if limit.limit not in named), None)
    return Terms(
        limits=limits,
        unknown=tuple(who for who, license_ in known if license_ in (None, "unknown", "other")),
        warning=(
            f"its license is given as {own or 'unknown'}, but {hidden.of}, "
            f"which it derives from, is {hidden.limit} ({hidden.license})"
            if hidden
            else ""
        ),
    )


def limits_of(license_: str | None) -> list[str]:
    """What a license id says of use: ``non-commercial``, ``research only``; nothing of most."""
    return [limit for pattern, limit in LIMITS if pattern.search((license_ or "").lower())]


def is_open(license_: str | None) -> bool:
    """Whether a license id is known to limit nobody's use to research or non-commercial ends."""
    return OPEN.fullmatch((license_ or "").lower()) is not None


def licenses(workspace: Workspace, manifest: Manifest) -> Iterator[tuple[Parent, str | None]]:
    """The ancestors of a checkpoint, the nearest first, each with its license; None if nobody
    knows it.
    """
    parents = [parent for _, parent in manifest.lineage()]
    paths = {parent: _path(parent) for parent in parents}
    indexed = workspace.registry.checkpoint_licenses(parent.manifest for parent in parents)
    listed = workspace.registry.entry_licenses(path for path in paths.values() if path)
    for parent in parents:
        try:
            license_ = workspace.store.manifest(parent.manifest).license
        except ZooError:  # what the index knows of one that is not here, or is damaged
            license_ = indexed.get(parent.manifest, listed.get(paths[parent]))
        yield parent, license_


def _path(parent: Parent) -> str:
    try:
        return Reference.parse(parent.ref).path
    except InvalidReference:
        return ""
