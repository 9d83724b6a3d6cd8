"""Pull: bring a checkpoint in from wherever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.domain.digest import Digest
from zoo.domain.location import hub_address
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption
from zoo.transfer import sync
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.domain.catalog import Release
    from zoo.transfer.copy import Copied

__all__ = ["Pulled", "pull"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pulled(Result):
    """A checkpoint that was brought in.

    Attributes:
        ref: Its name here.
        manifest: Its identity.
        remote: The store it came from, as that was named; empty if it was published.
        copied: What came from there.
        release: What was published.
    """

    ref: Reference
    manifest: Digest
    remote: str = ""
    copied: Copied | None = None
    release: Release | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = {"ref": str(self.ref), "manifest": str(self.manifest)}
        if (copied := self.copied) is not None:
            data |= {
                "logical_bytes": copied.logical_bytes,
                "received_bytes": copied.sent_bytes,
                "received_objects": copied.sent_objects,
                "shared_objects": copied.shared_objects,
                "healed_objects": len(copied.healed),
            }
        if (release := self.release) is not None:
            data |= {
                "source": release.source,
                "locator": release.locator,
                "revision": release.revision,
            }
        return data


def pull(
    workspace: Workspace,
    name: str,
    *,
    remote: str | None = None,
    source: str | None = None,
    save: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Pulled:
    """Bring in ``name``: from the store or model hub ``remote``, or as the ``source`` publishes it.

    Where neither is given, a remote that was fetched and has it counts, unless a catalog publishes
    something under that name; else what is published.

    Raises:
        InvalidOption: Remote and source are both given, or several remotes have it, and differ; or
            ``save`` is for what is published. Else as `zoo.transfer.sync.pull` and
            `zoo.exchange.acquire.acquire`.
    """
    if remote and source:
        raise InvalidOption("--from names a store, --source a publisher: give one of them")
    remote = remote or (None if source else sync.holder(workspace, name))
    address = hub_address(remote) if remote else None
    if remote and not address:
        ref, copied = sync.pull(workspace, name, remote, save=save, force=force, progress=progress)
        return Pulled(ref=ref, manifest=copied.manifest, remote=remote, copied=copied)
    if save:
        raise InvalidOption(
            "--as is for what comes from a store; what is published is kept under the name NAME: "
            "zoo pull NAME --from hf://…"
        )
    # What comes from a store needs none of what builds networks.
    from zoo.exchange.acquire import acquire, acquire_at

    if address:
        ref, digest, release = acquire_at(workspace, name, address, force=force, progress=progress)
    else:
        ref, digest, release = acquire(
            workspace, name, source=source, force=force, progress=progress
        )
    return Pulled(ref=ref, manifest=digest, release=release)
