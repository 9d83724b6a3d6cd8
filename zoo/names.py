"""Names: what they point at in a zoo, and which ones can be given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.domain.catalog import OPEN
from zoo.domain.digest import Digest, digits_of
from zoo.domain.history import PULLED, RefEntry, was_pulled
from zoo.domain.manifest import Backbone, Manifest
from zoo.domain.reference import Reference
from zoo.errors import (
    Conflict,
    Corrupt,
    Invalid,
    InvalidReference,
    MissingObject,
    MissingParent,
    NoCheckpoint,
    UnknownName,
    Unsupported,
)
from zoo.store import Store
from zoo.store.listing import read_one
from zoo.store.manifests import checkpoint_of, has_all_of, manifest_if_any, shown_digest

if TYPE_CHECKING:
    from zoo.registry import KnownEntry, Registry

__all__ = ["Names"]

SOURCES = "zoo.sources"


class Names:
    """The names of a zoo.

    Args:
        store: Has them.
        registry: Opens the zoo's index, for what is known beside.
    """

    def __init__(self, store: Store, registry: Callable[[], Registry]) -> None:
        self._store, self._registry = store, registry

    def target_at(self, name: str, at: datetime) -> Digest:
        """What the reference ``name`` pointed at at the time ``at``, which has a time zone: a
        checkpoint or a snapshot.

        Raises:
            UnknownName: There was no such name then.
        """
        ref = self.reference(name)
        then = [entry for entry in self._store.history(ref) if entry.when and entry.when <= at]
        if not then or then[-1].deleted:
            raise UnknownName(
                "checkpoint", f"{ref} at {at.isoformat()}", self._registry().near(name)
            )
        return then[-1].manifest

    def reference(self, name: str) -> Reference:
        """Read a reference; a text that is none, but resembles known names, is answered with those.

        Raises:
            UnknownName: The text is not a reference, but near names are known.
            InvalidReference: The text is not a reference.
        """
        try:
            return Reference.parse(name)
        except InvalidReference:
            if pull := self._as_path(name):
                raise UnknownName("checkpoint", name, hint=pull) from None
            near = self._registry().near(name)
            if not near:
                raise
            raise UnknownName("checkpoint", name, near) from None

    def _as_path(self, name: str) -> str:
        """The command that brings what is written as a path, ``lab/team/flowers``, beside what is
        called so here; empty if it is none of a remote that is known to have it.
        """
        remote, _, path = name.partition("/")
        with suppress(InvalidReference):
            if remote in self._registry().holders(ref := Reference.parse(path)):
                return f"zoo pull {ref} --from {remote} --as {ref.path}:theirs"
        return ""

    def resolve(self, name: str) -> tuple[Reference | None, Digest]:
        """The checkpoint that a reference, or a digest, names.

        The first digits of a digest will do (`digits_of`), if no other begins with them.

        Raises:
            UnknownName: Nothing here is called that; near names are suggested.
            NoCheckpoint: It holds files.
            InvalidReference: The text is neither.
        """
        ref, digest = self.target(name)
        return ref, self._checkpoint(ref or name, digest)

    def _checkpoint(self, name: Reference | str, digest: Digest) -> Digest:
        """What is here as ``digest``; of a snapshot, its checkpoint."""
        try:
            checkpoint = checkpoint_of(self._store, digest)
        except (MissingObject, Corrupt, Invalid, Unsupported):  # who reads it is told
            return digest
        if checkpoint is None:
            raise NoCheckpoint(str(name))
        return checkpoint

    def target(self, name: str) -> tuple[Reference | None, Digest]:
        """The checkpoint or snapshot that a reference points at, or a digest names; else as
        `resolve`.
        """
        if digits := digits_of(name):
            return None, self._by_digest(name, digits)
        ref = self.reference(name)
        entry = self._store.read_ref(ref)
        if entry is None or entry.deleted:
            back = f"zoo delete --restore {ref}"
            if entry and (new := entry.renamed):
                hint = f"it was renamed to {new}; {back} brings the old name back, too"
                raise UnknownName("checkpoint", name, hint=hint)
            if entry and has_all_of(self._store, entry.manifest):
                raise UnknownName("checkpoint", name, hint=back)
            hint = self.elsewhere(ref)
            if not hint and digits_of(ref.tag):  # the id of a commit, or a digest
                hint = f"an earlier version is the digest alone: zoo log {ref.path} has it"
            raise UnknownName("checkpoint", name, self._registry().near(name), hint or None)
        return ref, entry.manifest

    def elsewhere(self, ref: Reference) -> str:
        """The command that brings a name from where it is known to be; empty if from nowhere."""
        known = self._registry().entry(ref.path) or self._registry().holders(ref)
        return f"zoo pull {ref}" if known else ""

    def _by_digest(self, name: str, digits: str) -> Digest:
        digests = self._store.starting_with(digits)
        if not digests and (ref := self._pointed_there(digits)):
            hint = f"it was {ref} once, and was pruned since, as no name points at it any more"
            raise UnknownName("checkpoint", name, hint=hint)
        if not digests and (parent := self._registry().derived_from(digits)):
            raise self._missing(*parent)
        if len(digests) != 1:
            raise UnknownName("checkpoint", name, [str(digest) for digest in digests[:4]])
        return digests[0]

    def _missing(self, digest: Digest, name: str, child: Digest) -> MissingParent:
        """Why a parent, of that name, is not found, and what brings it."""
        names = self._registry().refs_of(child)
        child_name = str(names[0]) if names else child.short
        try:
            ref = Reference.parse(name)
        except InvalidReference:  # it had none, or somebody's text
            return MissingParent(digest.short, child_name, "")
        holders = self._registry().holders(ref)
        at = [remote for remote, there in holders.items() if there == digest]
        lines = [f"zoo pull {ref} --from {quote(at[0])}"] if at else []
        if not at and self._registry().entry(ref.path):
            lines.append(f"zoo pull {ref}")
        if not at and (where := self._brought_from(names, child)):
            lines.append(f"{'or, if it is there, ' * bool(lines)}zoo pull {ref} --from {where}")
        return MissingParent(f"{ref} {digest.short}", child_name, "\n".join(lines))

    def _brought_from(self, names: Sequence[Reference], digest: Digest) -> str:
        """The remote that a checkpoint was pulled from, as the shell takes it; empty if none is
        known.
        """
        for ref in names:
            for entry in self._store.history(ref):
                where = entry.why.removeprefix(PULLED)
                if entry.manifest == digest and where not in (entry.why, *plugins.names(SOURCES)):
                    return quote(where)
        return ""

    def _pointed_there(self, digits: str) -> Reference | None:
        """A name that pointed at a checkpoint whose digest begins so, and does not any more."""
        for ref in self._store.readable_refs()[0]:
            entries = read_one(self._store.history, ref)
            if not isinstance(entries, tuple) or not entries:
                continue
            before = {entry.manifest for entry in entries}
            before -= set() if entries[-1].deleted else {entries[-1].manifest}
            if any(digest.hex.startswith(digits) for digest in before):
                return ref
        return None

    def check_free(self, ref: Reference) -> None:
        """See that ``ref`` can be given, and is no published name, which only pulling gives.

        What is listed of `OPEN` sources takes no name from anybody, and nothing that is listed
        takes one that is the user's own already.

        Raises:
            Conflict: It is one.
            InvalidReference: Not every system can hold it beside those that are here.
        """
        self._store.check_new(ref)
        entry = self._registry().entry(ref.path)
        if entry and not OPEN.issuperset(entry.sources) and not self.is_own(ref, entry):
            raise Conflict(f"{ref} is the name of a published checkpoint; choose another")

    def check_network(self, ref: Reference, backbone: Backbone) -> None:
        """See that ``ref``, if it is here, is of that very network: what loads it by its name would
        find another one.

        Raises:
            Conflict: It is of another architecture.
        """
        newest = self._store.read_ref(ref)
        if newest is None or newest.deleted:
            return
        there = self._checkpoint_there(ref, newest)
        if there is None:
            return
        here = there.backbone
        if not here.is_like(backbone):
            was, new = here.architecture, f"one of {backbone.architecture}"
            if here.architecture == backbone.architecture:  # two libraries call it so
                was, new = f"{was} of {here.plugin}", f"that of {backbone.plugin}"
            raise Conflict(
                f"{ref} is of the architecture {was} here, and would become {new}",
                hint=f"nothing was changed; take another name, or move this one: --force (zoo log "
                f"{ref} keeps what it was)",
            )

    def check_descends(
        self, ref: Reference, manifest: Manifest, digest: Digest | None = None
    ) -> None:
        """See that ``ref`` moves on to a checkpoint, ``digest`` if it is here: to one that derives
        from what the name points at, or is of the same weights or training; or to one that the name
        pointed at before, or that is a tag of it.

        Raises:
            Conflict: It would move to unrelated work.
        """
        newest = self._store.read_ref(ref)
        if newest is None or newest.deleted or newest.protected or newest.manifest == digest:
            return  # a protected one is refused when it moves
        here = self._checkpoint_there(ref, newest)
        if here is None or _is_again(here, manifest):
            return
        if checkpoint_of(self._store, newest.manifest) in manifest.ancestry():
            return
        if digest and digest in {entry.manifest for entry in self._store.history(ref)}:
            return
        has = checkpoint_of(self._store, digest) if digest else None
        if has and ref.path in {each.path for each in self._registry().refs_of(has)}:
            return
        now = shown_digest(newest.manifest, [self._store])
        raise Conflict(
            f"{ref} is another checkpoint here, {now.short}, and the new one does not "
            "derive from it",
            hint=f"nothing was changed; take another name, or move this one: --force (zoo log "
            f"{ref} keeps what it was)",
        )

    def check_becomes(self, ref: Reference, digest: Digest) -> None:
        """See that ``ref`` may become what is here as ``digest``: a checkpoint as `check_network`
        and `check_descends` say, files alone if the name is free, or has them, or had them.

        Raises:
            Conflict: It is another one.
        """
        manifest = manifest_if_any(self._store, digest)
        if manifest:
            self.check_network(ref, manifest.backbone)
            self.check_descends(ref, manifest, digest)
            return
        log = self._store.history(ref)
        if log and not log[-1].deleted and digest not in {entry.manifest for entry in log}:
            now = shown_digest(log[-1].manifest, [self._store])
            raise Conflict(
                f"{ref} is {now.short} here, and would become other files",
                hint=f"nothing was changed; take another name, or move this one: --force (zoo log "
                f"{ref} keeps what it was)",
            )

    def _checkpoint_there(self, ref: Reference, newest: RefEntry) -> Manifest | None:
        """The checkpoint that a name has; None if it cannot be read: whatever it was, it is of no
        use.

        Raises:
            Conflict: It holds files only.
        """
        try:
            return self._store.manifest(newest.manifest)
        except NoCheckpoint:
            raise Conflict(
                f"{ref} holds files here, and no checkpoint",
                hint="nothing was changed; take another name, or move this one: --force",
            ) from None
        except (MissingObject, Corrupt, Invalid):
            return None

    def is_own(self, ref: Reference, entry: KnownEntry) -> bool:
        """Whether what is here under ``ref`` is not what ``entry``, of the same name, lists."""
        newest = self._store.read_ref(ref)
        if newest is None or newest.deleted:
            return False
        pulled = self.origin(newest.manifest)
        if pulled is None:
            return not was_pulled(self._store.history(ref), newest.manifest)
        places = {(place.source, place.locator.partition("@")[0]) for place in entry.locations}
        if OPEN.issuperset(entry.sources):
            return pulled not in places
        return pulled[0] not in {source for source, _ in places}  # a catalog may name a new place

    def origin(self, digest: Digest) -> tuple[str, str] | None:
        """The source and the repository that a checkpoint was pulled from, empty if from none; None
        if its manifest is missing or damaged, and only the history of its name can tell.
        """
        try:
            provenance = self._store.manifest(digest).provenance
        except (MissingObject, Corrupt, Invalid):
            return None
        return provenance.get("source", ""), provenance.get("locator", "").partition("@")[0]


def _is_again(one: Manifest, other: Manifest) -> bool:
    """Whether two checkpoints have the same weights, or are of the same file, or were trained from
    the same ones on the same data.
    """
    if {each.object for each in one.tensors} == {each.object for each in other.tensors}:
        return True
    facts, others = one.provenance, other.provenance
    if facts.get("sha256") and facts["sha256"] == others.get("sha256"):
        return True
    parents = [{parent.manifest for parent in each.parents} for each in (one, other)]
    same_data = "data_digest" in facts and facts["data_digest"] == others.get("data_digest")
    return same_data and parents[0] == parents[1]
