"""Signed: signatures go with what they are of, and are asked for before it gets a name."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURES
from zoo.domain.reference import Reference
from zoo.domain.signature import Signature, Signed, Signer
from zoo.errors import Conflict, Corrupt, Forbidden, MissingPackage, NotAFile, Unsigned, Unsupported
from zoo.signing import check_installed
from zoo.store import Store
from zoo.store.manifests import read_document
from zoo.store.signatures import Kept, keep_signature, signatures_of

if TYPE_CHECKING:
    from zoo.workspace import Workspace

__all__ = ["bring", "check_published", "check_signed", "examined", "send", "to_sign"]

LOG = logging.getLogger("zoo")
NOBODY = "nobody has signed it"


def to_sign(store: Store, manifest: Digest, near: Sequence[Store] = ()) -> Signed:
    """What a signature of a manifest is of; raises as `read_document` and `Signed.of`."""
    document = read_document(store, manifest, near)
    return Signed.of(manifest, document, hashlib.sha256(document.to_bytes()).hexdigest())


def examined(
    store: Store, manifest: Digest, signers: Iterable[Signer], near: Sequence[Store] = ()
) -> Iterator[Signature]:
    """The signatures of a manifest in a store, each as it was checked; those that are ``near``, of
    the same manifest, too.
    """
    check_installed()
    from zoo.signing.examine import examine

    signers, told = tuple(signers), set[Digest]()
    signed: Signed | None = None
    for place in (store, *near):
        for kept in _listed(place, manifest):
            if kept.digest in told:
                continue
            told.add(kept.digest)
            at = kept.at.isoformat(timespec="seconds")
            try:
                bundle = kept.read(place)
            except (Corrupt, Forbidden, FileNotFoundError) as error:
                problem = f"it is damaged: {error}"
                yield Signature(manifest=manifest, digest=kept.digest, problem=problem, at=at)
                continue
            signed = signed or to_sign(store, manifest, near)
            yield replace(examine(bundle, kept.digest, signed, signers), at=at)


def _listed(store: Store, manifest: Digest) -> list[Kept]:
    """The signatures that are in a store; none in a server of before there were any, and none of
    those that nobody may look at: whoever asks for one does without.
    """
    try:
        return signatures_of(store, manifest)
    except Unsupported:
        return []
    except (Forbidden, NotAFile) as error:
        LOG.warning("signatures are left out: %s", error)
        return []


def check_signed(workspace: Workspace, remote: Store, ref: Reference, manifest: Digest) -> str:
    """See that what a remote has may be called ``ref`` here; who has signed it, of those that the
    user trusts.

    Raises:
        Unsigned: Nobody has, and the user's rules want it.
        MissingPackage: They do, and what checks signatures is not installed.
    """
    if (policy := workspace.signers.policy_of(ref)) == "off":
        return ""
    problems: list[str] = []
    try:
        trusted = workspace.signers.all().signers
        for each in examined(remote, manifest, trusted, [workspace.store]):
            if not each.problem:
                return each.signer
            problems.append(f"of the signature by {each.maker}: {each.problem}")
    except MissingPackage as error:
        if policy == "enforce":
            raise
        problems.append(f"{error}: {error.advice}")
    except Unsupported as error:
        problems.append(str(error))
    _tell(policy, ref, "; ".join(problems) or NOBODY)
    return ""


def check_published(workspace: Workspace, ref: Reference) -> None:
    """See that what is published, which has no signatures, may be called ``ref`` here.

    Raises:
        Unsigned: The user's rules want one.
    """
    if (policy := workspace.signers.policy_of(ref)) == "off":
        return
    why = "what is published has no signature; if that is as you want it: "
    _tell(policy, ref, f"{why}zoo signers require off '{ref.namespace}/*'")


def _tell(policy: str, ref: Reference, why: str) -> None:
    if policy == "enforce":
        raise Unsigned(str(ref), why)
    LOG.warning("%s: %s", ref, why)


def send(store: Store, remote: Store, path: str, manifest: Digest) -> None:
    """Send the signatures of what is about to be called ``path`` at a remote, which lacks them."""
    here = signatures_of(store, manifest)
    if not here:
        return
    try:
        there = {kept.digest for kept in signatures_of(remote, manifest)}
        for kept in here:
            if kept.digest not in there:
                keep_signature(remote, manifest, path, kept.read(store))
    except (Unsupported, Conflict) as error:  # it is older, or has many already
        LOG.warning("the signatures are not sent: %s", error)


def bring(remote: Store, store: Store, path: str, manifest: Digest) -> None:
    """Keep the signatures that a remote has of what is about to be called ``path`` here. One that
    is damaged there, or gone by now, is left out: whoever asks for one does without.
    """
    here = {kept.digest for kept in signatures_of(store, manifest)}
    for kept in _listed(remote, manifest)[: SIGNATURES - len(here)]:
        if kept.digest in here:
            continue
        try:
            data = kept.read(remote)
        except (Corrupt, FileNotFoundError) as error:
            LOG.warning("a signature is left out: %s", error)
            continue
        keep_signature(store, manifest, path, data)
