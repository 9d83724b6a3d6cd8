"""The networks that are ranked: what words and filters of a search leave of all that is known."""

from __future__ import annotations

from contextlib import suppress

from zoo.domain.limits import RANKED_NETWORKS
from zoo.domain.query import Query
from zoo.errors import InvalidOption, UnknownName, ZooError
from zoo.ranking.prior import Known
from zoo.registry import Found
from zoo.workspace import Workspace

__all__ = ["candidates", "known_of"]


def candidates(workspace: Workspace, among: str) -> list[Found]:
    """What fits the words and filters ``among``, each network once.

    Raises:
        UnknownName, InvalidOption: They are no query, nothing fits, or too many do.
    """
    query = Query.parse(among, limit=RANKED_NETWORKS + 1)
    found = workspace.registry.search(query)
    if len(found) > RANKED_NETWORKS:
        number = workspace.registry.count(query)
        raise InvalidOption(
            f"{number:,} networks fit '{among}', and at most {RANKED_NETWORKS:,} are ranked",
            hint="add filters: --among 'params<30M license:apache-2.0 pulled:yes'",
        )
    if not found:
        hint = "zoo search finds names" if workspace.registry.count(Query(), at_most=1) else None
        raise UnknownName(
            "network that fits", among, hint=hint or "nothing is here yet: zoo pull NAME brings one"
        )
    once = {str(each.manifest or each.name): each for each in reversed(found)}
    return [each for each in found if once[str(each.manifest or each.name)] is each]


def known_of(workspace: Workspace, found: Found) -> Known:
    """What is known of a network without looking at images; of a fine-tune without a history of its
    own, that of its base.
    """
    networks: list[str] = []
    if found.manifest and found.pulled:
        with suppress(ZooError):  # what cannot be read fails when it is its turn
            lineage = workspace.store.manifest(found.manifest).lineage()
            networks = [str(found.manifest), *(str(parent.manifest) for _, parent in lineage)]
    return Known(
        name=found.name,
        networks=tuple(networks),
        architecture=found.architecture,
        top1=found.metrics.get("top1"),
        params=found.params,
    )
