"""Commit: how a new checkpoint comes into a zoo, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.backbones.describe import describe
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.exchange.architecture import of_checkpoint
from zoo.lookup.units import PLAIN
from zoo.workspace import Check, Workspace

__all__ = ["NewCheckpoint", "keep_hierarchy", "keep_network", "new_checkpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint that is being made.

    Attributes:
        workspace: The zoo.
        ref: The name that it gets.
        why: What makes it, as the history of the name tells.
        check: Raises where the name must not move to it.
        before: The newest entry of the name until then.
        scratch: A temporary folder on the store's disk.
    """

    workspace: Workspace
    ref: Reference
    why: str
    check: Check
    before: RefEntry | None
    scratch: Path

    def commit(self, manifest: Manifest) -> Digest:
        """Keep a manifest whose objects are stored, and name it. Its network is traced first: from
        then on, comparing needs no torch, and the index knows what was frozen.
        """
        keep_network(self.workspace, manifest)
        return self.workspace.commit(manifest, self.ref, self.why, check=self.check)


@contextmanager
def new_checkpoint(
    workspace: Workspace, ref: Reference, why: str, *, check: Check | None = None
) -> Iterator[NewCheckpoint]:
    """Make a checkpoint: while it is open, no prune takes what is stored for it.

    The name is checked before anything is done, and again when it moves.

    Args:
        workspace: The zoo.
        ref: The name that it gets.
        why: What makes it.
        check: Of a pull, which alone gives published names. None: the name must be free, or the
            user's own (`zoo.names.Names.check_free`).

    Raises:
        Conflict: The name is that of a published checkpoint.
        InvalidReference: Not every system can hold it beside those that are here.
    """

    def is_free(_: RefEntry | None) -> None:
        workspace.names.check_free(ref)

    check = check or is_free
    # Now, so that hours of training are not lost to a name; and by the store when the name moves,
    # as somebody may have published it meanwhile.
    before = workspace.store.read_ref(ref)
    check(before)
    with workspace.store.upload(), workspace.scratch() as scratch:
        yield NewCheckpoint(
            workspace=workspace, ref=ref, why=why, check=check, before=before, scratch=scratch
        )


def keep_hierarchy(workspace: Workspace, plugin: str, architecture: str) -> None:
    """Trace an architecture, once. What cannot be traced is compared by names of tensors."""
    with suppress(ZooError):
        describe(workspace.registry, plugin, architecture)


def keep_network(workspace: Workspace, manifest: Manifest) -> None:
    """Trace the architecture of a checkpoint, and its network where that has other units."""
    backbone = manifest.backbone
    keep_hierarchy(workspace, backbone.plugin, backbone.architecture)
    if backbone.options.keys() - PLAIN:
        with suppress(ZooError):
            of_checkpoint(workspace.registry, manifest)
