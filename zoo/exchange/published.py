"""``published.json`` in a zoo: what was published from here, where, and as which revision."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.store.json_file import JsonFile
from zoo.workspace import Workspace

__all__ = ["Place", "keep_published", "published"]

KEPT = "published.json"


@dataclass(frozen=True, slots=True)
class Place:
    """What was published at one location: the newest revision, and all checkpoints ever, as text.

    Older zoos have kept the revision alone.
    """

    revision: str
    manifests: tuple[str, ...] = ()


def published(workspace: Workspace) -> dict[str, Place]:
    """What was published from a zoo, by location.

    Raises:
        Invalid, NotAFile, Forbidden: The file is damaged, or cannot be read.
    """
    file = workspace.own(KEPT)
    return {where: _place(file, kept) for where, kept in file.read().items()}


def keep_published(workspace: Workspace, location: str, revision: str, manifest: Digest) -> None:
    """Remember that ``manifest`` was published at ``location``."""
    kept = workspace.own(KEPT)
    with kept.change() as places:
        before = _place(kept, places[location]).manifests if location in places else ()
        places[location] = {
            "revision": revision,
            "manifests": sorted({*before, str(manifest)}),
        }


def _place(file: JsonFile, kept: object) -> Place:
    if not isinstance(kept, dict):
        return Place(str(kept))
    try:
        return Place(str(kept["revision"]), tuple(map(str, kept["manifests"])))
    except (KeyError, TypeError) as error:
        raise file.damaged(error) from error
