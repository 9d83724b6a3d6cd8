"""Push: send a checkpoint to a store, or publish it at the model hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.domain.location import hub_address
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import InvalidOption
from zoo.transfer import sync
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.domain.digest import Digest
    from zoo.exchange.publishing import Published
    from zoo.transfer.copy import Copied

__all__ = ["Pushed", "push"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pushed(Result):
    """A checkpoint that was sent.

    Attributes:
        manifest: Its identity.
        to: Where, as that was named.
        ref: Its name in the store.
        copied: What was sent to the store.
        published: What was published, if that was at the model hub.
    """

    manifest: Digest
    to: str
    ref: Reference | None = None
    copied: Copied | None = None
    published: Published | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        if self.published is not None:
            return self.published.to_json()
        data: dict[str, Any] = {"ref": str(self.ref), "manifest": str(self.manifest)}
        if (copied := self.copied) is not None:
            data |= {
                "logical_bytes": copied.logical_bytes,
                "sent_bytes": copied.sent_bytes,
                "sent_objects": copied.sent_objects,
                "shared_objects": copied.shared_objects,
                "shared_read": copied.read,
                "healed_objects": len(copied.healed),
                "damaged_bases": sorted(map(str, copied.damaged)),
            }
        return data


def push(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    force: bool = False,
    smallest: bool = False,
    private: bool = False,
    progress: Progress = silent,
) -> Pushed:
    """Send ``name`` to the store ``to``, or publish it at ``hf://org/name``.

    Raises:
        InvalidOption: ``private`` is for the hub. Else as `zoo.transfer.sync.push` and
            `zoo.exchange.publishing.publish`.
    """
    if address := hub_address(to):
        from zoo.exchange.publishing import publish

        done = publish(workspace, name, address, force=force, private=private)
        return Pushed(manifest=done.manifest, to=address, published=done)
    if private:
        raise InvalidOption("--private is for hf:// only")
    ref, copied = sync.push(workspace, name, to, force=force, smallest=smallest, progress=progress)
    return Pushed(manifest=copied.manifest, to=to, ref=ref, copied=copied)
