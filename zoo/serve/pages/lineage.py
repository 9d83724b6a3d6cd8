"""Lineage: what a checkpoint derives from and what derives from it, as far as who asks may know.

What they may not read, and what is not here, look alike: a digest, where a manifest that they may
read has it, and else nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from markupsafe import Markup

from zoo.domain.digest import Digest
from zoo.domain.manifest import FOUND, Manifest
from zoo.lookup.check import Check, check_parent
from zoo.lookup.edited import children
from zoo.lookup.license import is_open, limits_of
from zoo.lookup.parent import LEAST
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.history import MAIN
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.graph import Box, Line, Proof, draw_graph
from zoo.serve.pages.known import KnownCheckpoint, Url, known, manifest_here
from zoo.serve.pages.later import Later
from zoo.store.manifests import checkpoint_of
from zoo.workspace import Workspace

__all__ = ["Edge", "LineagePage", "Node", "look_lineage"]

ABOVE, BELOW = 24, 40
"""Ancestors, and descendants, that are shown at most."""
LOOKED_AT = 400
"""Descendants that are looked for."""
MINUTES = 16
"""Letters of a time, to the minute."""
SECONDS = 1.0
"""After so long the edges that are left are checked for the next time."""
SMALL, BYTES = 32 << 20, 4 << 30
"""Checkpoints that have so many, both together, are compared at once; up to so many, for the next
time; those that have more, not here."""
LATER = "being checked: load this page again in a while"
UNREADABLE = "not checked: files of one of them cannot be read here"
TOO_LARGE = "too large to be checked here: zoo log does"
DECLARED_ONLY: Proof = "declared"
NOWHERE = KnownCheckpoint()
Pair = tuple[Digest, Digest]

AGAIN = 300.0
"""Seconds until what could not be read is looked at again: it may be mended."""

_checks: LruCache[Pair, Check] = LruCache(10_000)
_failed: LruCache[Pair, float] = LruCache(10_000)
"""When those could not be read."""
_later = Later()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A checkpoint of a lineage.

    Attributes:
        digest: Its identity.
        name: What it is called; empty of one that whoever asks may not see, or that is not here, of
            which nothing else is told.
        where: The name that has it, if one has.
        side: ``self``, ``ancestor`` or ``descendant``.
        architecture: Its network.
        created: When training made it.
        license: Its license id.
        limits: What that says of use.
        open: Whether it is known to let anybody use it for anything, on its terms.
    """

    digest: str
    name: str = ""
    where: KnownCheckpoint = NOWHERE
    side: str
    architecture: str = ""
    created: str = ""
    license: str = ""
    limits: tuple[str, ...] = ()
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """That one checkpoint derives from another, by their digests: how, whether the bytes prove it,
    and what they tell.
    """

    parent: str
    child: str
    relation: str
    proof: Proof
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineagePage:
    """The page.

    Attributes:
        repo: The repository.
        revision: Which of its versions.
        digest: The checkpoint; empty where the version holds files only.
        nodes: It, its ancestors, the nearest first, and its descendants.
        edges: Between them.
        more_above: Ancestors that are not shown.
        more_below: Descendants that are not shown, as far as they were looked for.
        all_found: Whether all were.
        warnings: Where bytes or licenses disagree with what is declared.
    """

    repo: str
    revision: str
    digest: str = ""
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    more_above: int = 0
    more_below: int = 0
    all_found: bool = True
    warnings: tuple[str, ...] = ()

    def node(self, digest: str) -> Node:
        """The node of a checkpoint that an edge has."""
        return next(node for node in self.nodes if node.digest == digest)

    def graph(self, url: Url) -> Markup:
        """It, drawn."""
        boxes = [
            Box(
                id=node.digest,
                lines=_lines(node),
                url=node.where.address(url),
                told=f"use: {', '.join(node.limits)}" if node.limits else "",
                main=node.side == "self",
            )
            for node in self.nodes
        ]
        lines = [
            Line(begin=edge.parent, end=edge.child, proof=edge.proof, told=edge.told)
            for edge in self.edges
        ]
        return draw_graph(boxes, lines, f"Lineage of {self.repo}")


def look_lineage(ask: Ask) -> LineagePage:
    """The lineage of a version. Raises `Refused` if there is none of that name."""
    ask = ask.knowing_all()  # what it derives from is in other repositories
    revision = ask.call.query.get("revision") or MAIN
    page = LineagePage(repo=ask.repo, revision=revision)
    digest = checkpoint_of(ask.hub.workspace.store, ask.pointed(revision))
    manifest = manifest_here(ask, digest) if digest else None
    if digest is None or manifest is None:
        return page
    line = [(child or digest, parent) for child, parent in manifest.lineage()]
    above = [(child, one.manifest, one.relation) for child, one in line[:ABOVE]]
    below, names, whole = _descendants(ask, digest)
    # It may have been pushed just now.
    own = KnownCheckpoint(repo=ask.repo)
    names = {digest: own, **names, **known(ask, {digest, *(parent for _, parent, _ in above)})}
    shown, further = below[:BELOW], len([pair for pair in below[BELOW:] if pair[1] in names])
    pairs = [*above, *((child, parent, "") for parent, child in shown)]
    sides = {digest: "self"} | {parent: "ancestor" for _, parent, _ in above}
    sides |= {child: "descendant" for _, child in shown if child not in sides}
    manifests = {each: manifest_here(ask, each) for each in sides if each in names}
    nodes = tuple(_node(each, side, names, manifests) for each, side in sides.items())
    edges = tuple(_edges(ask, pairs, manifests))
    return replace(
        page,
        digest=str(digest),
        nodes=nodes,
        edges=edges,
        more_above=len(line) - len(above),
        more_below=further,
        all_found=whole,
        warnings=(*_contradictions(nodes, edges), *_hidden_terms(nodes)),
    )


def _descendants(
    ask: Ask, digest: Digest
) -> tuple[list[tuple[Digest, Digest]], dict[Digest, KnownCheckpoint], bool]:
    """Each parent with what derives from it, the nearest first, without what only leads to what who
    asks may not know of; the names of those that they may; and whether these are all.
    """
    registry, names, whole = ask.hub.workspace.registry, dict[Digest, KnownCheckpoint](), True
    parents: dict[Digest, Digest] = {}  # each with its parent
    level = [(digest, child) for child in children(ask.hub.workspace, digest)]
    while level:
        left = LOOKED_AT - len(parents)
        whole, level = whole and len(level) <= left, level[:left]
        new = {child: parent for parent, child in reversed(level)}
        new = {child: parent for child, parent in new.items() if child not in {digest, *parents}}
        parents |= dict(reversed(new.items()))
        names |= known(ask, new.keys())
        level = [(child, each) for child in reversed(new) for each in registry.children(child)]
    leading = set[Digest]()
    for each in names:
        while each in parents and each not in leading:
            leading.add(each)
            each = parents[each]
    return [(p, c) for c, p in parents.items() if c in leading], names, whole


def _node(
    digest: Digest,
    side: str,
    names: Mapping[Digest, KnownCheckpoint],
    manifests: Mapping[Digest, Manifest | None],
) -> Node:
    node, manifest = Node(digest=str(digest), side=side), manifests.get(digest)
    if manifest is None:
        return node
    return replace(
        node,
        name=_called(names[digest], manifest) or digest.short,
        where=names[digest],
        architecture=manifest.backbone.shown,
        created=manifest.created or "",
        license=manifest.license or "",
        limits=tuple(limits_of(manifest.license)),
        open=is_open(manifest.license),
    )


def _called(named: KnownCheckpoint, manifest: Manifest) -> str:
    """A name; of what had it once when that was made, as several may have had it."""
    created = (manifest.created or "").replace("T", " ")[:MINUTES]
    return f"{named} ({created})" if named.past and created else str(named)


def _edges(
    ask: Ask,
    pairs: Iterable[tuple[Digest, Digest, str]],
    manifests: Mapping[Digest, Manifest | None],
) -> Iterator[Edge]:
    end, waiting = time.monotonic() + SECONDS, list[Callable[[], object]]()
    for child, parent, relation in pairs:
        one, other = manifests.get(child), manifests.get(parent)
        declared = relation or _relation(one, parent)
        proof, detail = DECLARED_ONLY, ""
        if one and other:
            look, check = partial(_look, ask.hub.workspace, (child, parent), one), None
            if one.logical_bytes + other.logical_bytes > BYTES:
                detail = TOO_LARGE
            elif check := _checks.get((child, parent)):
                pass
            elif time.monotonic() < (_failed.get((child, parent)) or -math.inf) + AGAIN:
                detail = UNREADABLE
            elif time.monotonic() < end and _is_soon_told(one, other):
                check, detail = look(), UNREADABLE
            else:
                waiting.append(look)
                detail = LATER
            proof, detail = _proof(check, declared) if check else (proof, detail)
        yield Edge(
            parent=str(parent), child=str(child), relation=declared, proof=proof, told=detail
        )
    _later.begin(waiting)


def _relation(manifest: Manifest | None, parent: Digest) -> str:
    """How a checkpoint says that it derives from its parent; empty where only others say so."""
    parents = manifest.parents if manifest else ()
    return next((each.relation for each in parents if each.manifest == parent), "")


def _is_soon_told(child: Manifest, parent: Manifest) -> bool:
    """Whether one look at digests tells, or bytes are few: else all of both are read."""
    own, others = ({(t.object, t.offset) for t in each.tensors} for each in (child, parent))
    return not own.isdisjoint(others) or child.logical_bytes + parent.logical_bytes <= SMALL


def _look(workspace: Workspace, pair: Pair, child: Manifest) -> Check | None:
    try:
        check = check_parent(workspace, pair[0], child, pair[1])
        # Of one that could not be read it tells files of this machine.
        return _checks.put(pair, check) if check and check.share is not None else None
    finally:
        if not _checks.get(pair):
            _failed.put(pair, time.monotonic())


def _proof(check: Check, relation: str) -> tuple[Proof, str]:
    if not check.agrees:
        return "contradicted", check.warning
    if check.share and check.share >= LEAST:
        return "proven", f"{check.share:.1%} of the weights are the parent's, byte for byte"
    if check.cosine is not None:
        return "proven", f"close to the parent's weights (cosine {check.cosine:.2f})"
    return (
        "declared",
        "found, and not proven by bytes" if relation == FOUND else "no proof in bytes",
    )


def _contradictions(nodes: Iterable[Node], edges: Iterable[Edge]) -> Iterator[str]:
    names = {node.digest: node.name for node in nodes}
    for edge in edges:
        if edge.proof == "contradicted":
            how = "was found to derive" if edge.relation == FOUND else "is said to derive"
            pair = f"{names[edge.child]} {how} from {names[edge.parent]}"
            yield f"{pair}, but its bytes disagree: {edge.told}"


def _hidden_terms(nodes: Sequence[Node]) -> Iterator[str]:
    """Limits of ancestors that the checkpoint's own license leaves out."""
    own = nodes[0]
    for node in nodes:
        left_out = set(node.limits) - set(own.limits)
        if node.side == "ancestor" and left_out:
            yield (
                f"{own.name}: its license is given as {own.license or 'unknown'}, but {node.name}, "
                f"which it derives from, is {', '.join(sorted(left_out))} ({node.license})"
            )


def _lines(node: Node) -> tuple[str, ...]:
    if not node.name:
        return "not visible to you", Digest.parse(node.digest).short
    terms = " · ".join(filter(None, [node.license or "no license stated", *node.limits]))
    if node.where.past and node.created:  # what follows the name is cut off
        created = node.created.replace("T", " ")[:MINUTES]
        return str(node.where), f"{created} · {node.architecture}", terms
    return node.name, node.architecture, terms
