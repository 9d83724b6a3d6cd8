"""Listed: what is known of a checkpoint that a source lists, whether it is here or not."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from zoo.domain.reference import Reference
from zoo.errors import InvalidReference
from zoo.registry import KnownEntry
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import seen_by

__all__ = ["ListedPage", "listed_entry", "look_listed"]

SIZE, MACS, TOP1 = "top1_size", "macs", "top1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """What its sources say together; None where they do not.

    Attributes:
        name: What they call it.
        architecture: Architecture.
        library: The plugin that builds it.
        params: Number of parameters.
        macs: Multiply-accumulates of one image.
        input: Channels, height and width of one.
        outputs: Of its classifier; 0 for an encoder.
        top1: Published accuracy on ImageNet-1k, percent.
        top1_size: Height of the images that this is of.
        license: License id.
        data: What it was trained on.
        sources: Who lists it.
        hub: Its repository on the HF Hub.
        updated: When it changed last there.
        pull: The command that copies it; empty of a name that no zoo can have.
    """

    name: str
    architecture: str
    library: str
    params: int | None
    macs: float | None
    input: tuple[int, int, int] | None
    outputs: int | None
    top1: float | None
    top1_size: float | None
    license: str | None
    data: tuple[str, ...]
    sources: tuple[str, ...]
    hub: str | None
    updated: str | None
    pull: str


def look_listed(ask: Ask) -> ListedPage:
    """The one that ``?name=`` names, for who may be told what sources list.

    Raises:
        Refused: No source lists it, or they may not.
    """
    known = listed_entry(ask, ask.call.query.get("name", ""))
    if known is None:
        raise Refused("NotFound", "no source lists that, or you may not see what they list")
    entry, metrics = known.entry, known.entry.metrics or {}
    return ListedPage(
        name=entry.name,
        architecture=entry.architecture,
        library=entry.backbone,
        params=known.params,
        macs=metrics.get(MACS),
        input=entry.input_size,
        outputs=entry.num_classes,
        top1=metrics.get(TOP1),
        top1_size=metrics.get(SIZE),
        license=entry.license,
        data=entry.datasets or (),
        sources=known.sources,
        hub=entry.hub_id,
        updated=entry.updated,
        pull=_pull(entry.name),
    )


def listed_entry(ask: Ask, name: str) -> KnownEntry | None:
    """What sources list under a name, for who may be told; None: nothing."""
    seen = seen_by(ask)
    return ask.hub.workspace.registry.entry(name) if seen is None or seen.catalog else None


def _pull(name: str) -> str:
    try:
        return f"zoo pull {shlex.quote(str(Reference.parse(name)))}"
    except InvalidReference:
        return ""
