"""The networks that are ranked: what words and filters of a search leave of all that is known."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from zoo.domain.limits import RANKED_NETWORKS
from zoo.domain.manifest import Manifest
from zoo.domain.query import Query
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidOption, UnknownName, ZooError
from zoo.lookup.hints import hints
from zoo.lookup.units import HEAD, units_of
from zoo.ranking.prior import NetworkFacts
from zoo.registry import SearchResult
from zoo.workspace import Workspace

__all__ = ["candidates", "known_of", "of_one_run", "of_same_backbone"]

MOMENT = re.compile(r"(epoch|step)-\d{1,9}|last|final|best")
"""Tags that an import gives to the other checkpoints of a run, whose best has the name itself."""


def candidates(workspace: Workspace, among: str) -> list[SearchResult]:
    """What fits the words and filters ``among``, each network once.

    Raises:
        UnknownName, InvalidOption: They are no query, nothing fits, or too many do.
    """
    query = Query.parse(among, limit=RANKED_NETWORKS + 1)
    results = workspace.registry.search(query)
    if len(results) > RANKED_NETWORKS:
        number = workspace.registry.count(query)
        raise InvalidOption(
            f"{number:,} networks fit '{among}', and at most {RANKED_NETWORKS:,} are ranked",
            hint="add filters: --among 'params<30M license:apache-2.0 pulled:yes'",
        )
    if not results:
        hint = "nothing is here yet: zoo pull NAME brings one"
        if workspace.registry.count(Query(), at_most=1):
            lines = [each.text for each in hints(workspace.registry, query)]
            hint = "\n".join([*lines, "zoo search finds names"])
        raise UnknownName("network that fits", among, hint=hint)
    once = {str(each.manifest or each.name): each for each in reversed(results)}
    return [each for each in results if once[str(each.manifest or each.name)] is each]


def of_one_run(networks: Sequence[SearchResult]) -> dict[str, str]:
    """The networks that are another moment of a run, each with the one that stands for that run:
    the one that has its name, or else the newest.
    """
    runs: dict[str, list[tuple[Reference, SearchResult]]] = defaultdict(list)
    for network in networks:
        ref = Reference.parse(network.name) if network.kind == "checkpoint" else None
        if ref and (ref.tag == DEFAULT_TAG or MOMENT.fullmatch(ref.tag)):
            runs[ref.path].append((ref, network))
    others: dict[str, str] = {}
    for moments in runs.values():
        _, first = max(
            moments, key=lambda each: (each[0].tag == DEFAULT_TAG, each[1].created or "")
        )
        others |= {network.name: first.name for _, network in moments if network is not first}
    return others


def of_same_backbone(
    workspace: Workspace,
    networks: Sequence[SearchResult],
    left_out: Collection[str],
    image_size: int | None,
) -> dict[str, tuple[str, ...]]:
    """The networks here that get images alike and have, but for the head, the weights of others,
    each with those that stand for it rather than it for them: first what derives from nothing, as
    what is published does, then what came here first. Those that are ``left_out`` stand for none.
    ``image_size`` is that of the images whatever they say; None: what each says.
    """
    alike = defaultdict[object, list[tuple[bool, str, str]]](list)
    here = [each for each in networks if each.pulled and each.name not in left_out]
    architectures = Counter((each.backbone, each.architecture) for each in here)
    for network in here:
        if architectures[network.backbone, network.architecture] > 1 and network.manifest:
            with suppress(ZooError):  # what cannot be read fails when it is its turn
                manifest = workspace.store.manifest(network.manifest)
                order = bool(manifest.parents), network.updated or "", network.name
                alike[_computes(workspace, manifest, image_size)].append(order)
    others: dict[str, tuple[str, ...]] = {}
    for group in alike.values():
        names = [name for *_, name in sorted(group)]
        others |= {name: tuple(names[:at]) for at, name in enumerate(names) if at}
    return others


def _computes(
    workspace: Workspace, manifest: Manifest, image_size: int | None
) -> tuple[object, ...]:
    """What is the same for what gives the same features."""
    backbone, preprocessing = manifest.backbone, manifest.preprocessing
    built = dict(backbone.options)
    built.pop("num_classes", None)
    if image_size:
        channels, size = preprocessing.input_size[0], (image_size, image_size)
        preprocessing = replace(preprocessing, input_size=(channels, *size))
        built.pop("image_size", None)  # tensors that depend on it differ
    options = json.dumps(built, sort_keys=True, default=str)
    units = units_of(workspace, manifest)
    tensors = frozenset(
        (units.own_name(each.name), each.object, each.offset)
        for each in manifest.tensors
        if units.hierarchy is None or units.unit_of(each.name) != HEAD
    )
    return backbone.plugin, backbone.architecture, options, preprocessing, tensors


def known_of(workspace: Workspace, network: SearchResult) -> NetworkFacts:
    """What is known of a network without looking at images; of a fine-tune without a history of its
    own, that of its base.
    """
    networks: list[str] = []
    if network.manifest and network.pulled:
        with suppress(ZooError):  # what cannot be read fails when it is its turn
            lineage = workspace.store.manifest(network.manifest).lineage()
            networks = [str(network.manifest), *(str(parent.manifest) for _, parent in lineage)]
    return NetworkFacts(
        name=network.name,
        networks=tuple(networks),
        architecture=network.architecture,
        top1=network.metrics.get("top1"),
        params=network.params,
    )
