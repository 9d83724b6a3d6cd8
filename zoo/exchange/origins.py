"""Repositories that a network derives from: what its card says, and what its lineage proves.

``published.json`` in a zoo has what was published from it, where, and as which revision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from zoo.domain.catalog import OPEN
from zoo.domain.digest import Digest
from zoo.domain.limits import BASE_MODELS
from zoo.domain.location import hub_address
from zoo.domain.manifest import Manifest, Parent
from zoo.errors import ZooError
from zoo.store.json_file import JsonFile
from zoo.workspace import Workspace

__all__ = ["base_models", "base_models_in", "keep_published", "published"]

KEPT = "published.json"
SCHEME = "hf://"
FRONT = re.compile(r"\s*---\r?\n(.*?)\n---", re.DOTALL)
STATED = re.compile(r"^base_model:((?:.*)(?:\n\s*- .*)*)", re.MULTILINE)
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class _Published:
    """What was published at one location: the newest revision, and all checkpoints ever, as text.

    Older zoos have kept the revision alone.
    """

    revision: str
    manifests: tuple[str, ...] = ()


def published(workspace: Workspace) -> dict[str, _Published]:
    """What was published from a zoo, by location.

    Raises:
        Invalid, NotAFile, Forbidden: The file is damaged, or cannot be read.
    """
    file = workspace.own(KEPT)
    return {where: _place(file, entry) for where, entry in file.read().items()}


def keep_published(workspace: Workspace, location: str, revision: str, manifest: Digest) -> None:
    """Remember that ``manifest`` was published at ``location``."""
    file = workspace.own(KEPT)
    with file.change() as locations:
        before = _place(file, locations[location]).manifests if location in locations else ()
        locations[location] = {
            "revision": revision,
            "manifests": sorted({*before, str(manifest)}),
        }


def _place(file: JsonFile, entry: object) -> _Published:
    if not isinstance(entry, dict):
        return _Published(str(entry))
    try:
        return _Published(str(entry["revision"]), tuple(map(str, entry["manifests"])))
    except (KeyError, TypeError) as error:
        raise file.damaged(error) from error


def base_models_in(card: str) -> list[str]:
    """The ``base_model`` of a card that anybody may have written; empty if it has none.

    It is looked for line by line: what reads all of YAML can be kept busy by a few lines.
    """
    front = FRONT.match(card)
    stated = front and STATED.search(front[1])
    return REPOSITORY.findall(stated[1])[:BASE_MODELS] if stated else []


def base_models(workspace: Workspace, manifest: Manifest) -> list[str]:
    """Repositories of the nearest ancestors that have one.

    What an ancestor is called does not count: anybody may publish another network of that name. It
    has the repository that it was pulled from or published at, by its digest. Where it is not here,
    names count that only catalogs of libraries give, such as timm's.
    """
    repositories: dict[str, str] = {}
    with suppress(ZooError):  # a damaged list is no reason to lose what was just trained
        repositories = {
            digest: address.removeprefix(SCHEME)
            for location, entry in published(workspace).items()
            for digest in entry.manifests
            if (address := hub_address(location))
        }
    lines = ([each for _, each in manifest.lineage(parent)] for parent in manifest.parents)
    nearest = (
        next(filter(None, (_repository(workspace, each, repositories) for each in line)), None)
        for line in lines
    )
    return list(dict.fromkeys(each for each in nearest if each))


def _repository(
    workspace: Workspace, ancestor: Parent, repositories: Mapping[str, str]
) -> str | None:
    return repositories.get(str(ancestor.manifest)) or _pulled_from(workspace, ancestor)


def _pulled_from(workspace: Workspace, parent: Parent) -> str | None:
    try:
        provenance = workspace.store.manifest(parent.manifest).provenance
    except ZooError:  # it is not here, or damaged: only its name is known
        provenance = {"locator": parent.ref}
    if provenance.get("source") == "hub":
        return provenance.get("locator", "").partition("@")[0] or None
    if "locator" not in provenance:
        return None
    entry = workspace.registry.entry(parent.ref.partition(":")[0])
    if entry is None or OPEN.issuperset(entry.sources):
        return None
    return entry.entry.hub_id
