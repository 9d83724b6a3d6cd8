"""``published.json`` in a zoo: what was published from here, where, and as which revision."""

from __future__ import annotations

import json
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.errors import Invalid
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
        Invalid: The file is damaged.
    """
    path = workspace.root / KEPT
    try:
        places = json.loads(workspace.read_own(KEPT))
        return {str(where): _place(kept) for where, kept in places.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise Invalid(f"{path} is damaged: {error}; delete it") from error


def keep_published(workspace: Workspace, location: str, revision: str, manifest: Digest) -> None:
    """Remember that ``manifest`` was published at ``location``."""
    places = published(workspace)
    before = places[location].manifests if location in places else ()
    places[location] = Place(revision, tuple(sorted({*before, str(manifest)})))
    plain = {
        where: {"revision": place.revision, "manifests": list(place.manifests)}
        for where, place in places.items()
    }
    text = json.dumps(plain, indent=2, sort_keys=True) + "\n"
    workspace.store.disk.put(KEPT, text.encode())


def _place(kept: object) -> Place:
    if isinstance(kept, dict):
        return Place(str(kept["revision"]), tuple(map(str, kept["manifests"])))
    return Place(str(kept))
