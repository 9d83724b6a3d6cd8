"""Licensed: a checkpoint's license, and what it inherits from what it derives from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from zoo.domain.manifest import Manifest
from zoo.lookup.license import Limit, come_to, is_open, licenses
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import Other, VisibleNames

__all__ = ["Above", "LicenseFacts", "licensed"]

ANCESTORS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """An ancestor with its license; None where nobody knows it, or who asks may not see it."""

    other: Other
    relation: str
    license: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseFacts:
    """What licenses say, of those that whoever asks may see.

    Attributes:
        license: The checkpoint's own.
        above: What it derives from, the nearest first, as far as there is room.
        more: How many further ones there are.
        limits: On its use.
        unknown: Names of those whose license nobody states.
        warning: Where its own leaves out a limit of an ancestor; empty if nowhere.
    """

    license: str | None
    above: tuple[Above, ...]
    more: int
    limits: tuple[Limit, ...]
    unknown: tuple[str, ...]
    warning: str

    @property
    def open(self) -> bool:
        """Whether all, down to the last ancestor, are known to let anybody use it for anything."""
        return not self.more and all(map(is_open, (self.license, *(a.license for a in self.above))))


def licensed(ask: Ask, seen: VisibleNames, manifest: Manifest) -> LicenseFacts:
    """What the licenses of a checkpoint and of its ancestors come to."""
    relations = {parent.manifest: parent.relation for _, parent in manifest.lineage()}
    above = []
    for parent, license_name in islice(licenses(ask.hub.workspace, manifest), ANCESTORS):
        other = seen.parent(parent)
        shown = None if other.hidden else license_name
        above.append(Above(other=other, relation=relations[parent.manifest], license=shown))
    known = [each for each in above if not each.other.hidden]
    named = [(each.other.name or each.other.digest, each.license) for each in known]
    terms = come_to(ask.repo, manifest.license, named)
    return LicenseFacts(
        license=manifest.license,
        above=tuple(above),
        more=len(relations) - len(above),
        limits=terms.limits,
        unknown=terms.unknown,
        warning=terms.warning,
    )
