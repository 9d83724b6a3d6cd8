"""Publish a checkpoint where its own library loads it from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.contracts import Target
from zoo.domain.card import ancestors, card_data
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.location import hub_address
from zoo.domain.manifest import Manifest
from zoo.domain.network import CONFIG
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.errors import InvalidOption, ZooError
from zoo.exchange.at_hub import check_there
from zoo.exchange.origins import base_models, keep_published, published
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.exchange.exporting import Exported

__all__ = ["Published", "locator_in", "publish"]

HUB = "hub"
"""The source plugin that publishes."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Published(Result):
    """A checkpoint that was published: where, as which revision, what was written there, and what
    differs from what was there for those who load it.
    """

    manifest: Digest
    location: str
    revision: str
    exported: Exported
    change: Change | None = None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        del data["exported"]
        return data


def locator_in(location: str) -> tuple[str, str]:
    """The source plugin that a location such as ``hf://org/name`` is of, and its locator there.

    Raises:
        InvalidOption: No source has such locations.
    """
    address = hub_address(location)
    if address is None:
        raise InvalidOption(f"'{location}' is not a repository to publish to: write hf://org/name")
    return HUB, address.partition("://")[2]


def publish(
    workspace: Workspace,
    name: str,
    location: str,
    *,
    force: bool = False,
    private: bool = False,
    note: str = "",
) -> Published:
    """Write a checkpoint to ``hf://org/name``, with a card that tells its lineage; the ``note`` is
    what is said of that there.

    Raises:
        UnknownName: No such checkpoint.
        OtherClasses: What is there has no class in common with it; ``force`` overwrites it.
        Conflict: Somebody else has changed what is there; ``force`` as before.
        Unavailable: It does not answer, or lets this user not write.
    """
    from zoo.exchange.exporting import (  # imports torch, and a pull asks this module, too
        described,
        export,
    )

    ref, digest = workspace.names.resolve(name)
    manifest = workspace.store.manifest(digest)
    source, locator = locator_in(location)
    target = plugins.catalog(source)
    if not isinstance(target, Target):
        raise InvalidOption(f"the source '{source}' publishes nothing")
    known = {
        *_own_revisions(workspace, locator),
        *_pulled(workspace, locator, digest, manifest),
    }
    with workspace.scratch() as scratch:
        folder = scratch / "published"
        (there := scratch / "there").mkdir()
        where = (source, locator)
        # First: untrusted code asks nobody.
        exported = export(workspace, digest, folder, card=False)
        change = check_there(workspace, str(ref or digest), where, manifest, there, force=force)
        described(folder / CONFIG, manifest, {})
        revision = target.publish(
            locator,
            folder,
            facts=_facts(workspace, manifest),
            lineage=list(_lineage(str(ref or digest), digest, manifest)),
            known=known,
            force=force,
            private=private,
            note=note,
        )
    keep_published(workspace, f"hf://{locator}", revision, digest)
    return Published(
        manifest=digest, location=location, revision=revision, exported=exported, change=change
    )


def _own_revisions(workspace: Workspace, locator: str) -> set[str]:
    """What this zoo has published there."""
    # Older zoos have kept what was typed, such as the address of the repository's page.
    return {
        entry.revision
        for where, entry in published(workspace).items()
        if hub_address(where) == f"hf://{locator}"
    }


def _pulled(
    workspace: Workspace, locator: str, digest: Digest, manifest: Manifest
) -> Iterator[str]:
    """The revisions of ``locator`` that a checkpoint, or an ancestor that is here, was pulled at:
    what is made from them may go on top of them.
    """
    for current in (digest, *(parent.manifest for _, parent in manifest.lineage())):
        with suppress(ZooError):  # only its name is known here, or it is damaged
            origin = workspace.store.manifest(current).provenance
            if origin.get("locator", "").partition("@")[0] == locator:
                yield origin.get("revision", "")


def _facts(workspace: Workspace, manifest: Manifest) -> dict[str, object]:
    bases = base_models(workspace, manifest)
    relation = {"base_model_relation": "finetune"} if bases else {}
    return {**card_data(manifest, bases), **relation}


def _lineage(name: str, digest: Digest, manifest: Manifest) -> Iterator[str]:
    yield f"This is `{name}`, {digest}."
    yield ""
    yield from ancestors(manifest)
    if not manifest.parents:
        origin = " ".join(manifest.provenance.get(key, "") for key in ("source", "locator"))
        yield f"- from {origin.strip() or 'an unknown source'}"
