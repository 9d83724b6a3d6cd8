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
from zoo.signing.bundle import read_material
from zoo.store import Store
from zoo.store.manifests import read_document
from zoo.store.signatures import StoredSignature, keep_signature, signatures_of

if TYPE_CHECKING:
    from zoo.workspace import Workspace

__all__ = ["bring", "check_published", "check_signed", "examined", "readable", "send", "to_sign"]

LOG = logging.getLogger("zoo")
NOBODY = "nobody has signed it"
UNREADABLE = (Corrupt, Forbidden, FileNotFoundError)
"""What is wrong with one signature, and keeps nobody from the others."""


def to_sign(store: Store, manifest: Digest, near: Sequence[Store] = ()) -> Signed:
    """What a signature of a manifest is of; raises as `read_document` and `Signed.of`."""
    document = read_document(store, manifest, near)
    return Signed.of(manifest, document, hashlib.sha256(document.to_bytes()).hexdigest())


def examined(
    store: Store,
    manifest: Digest,
    path: str,
    signers: Iterable[Signer],
    near: Sequence[Store] = (),
) -> Iterator[tuple[Signature, bytes]]:
    """The signatures of a manifest in a store, each as it was checked and its bytes; those first
    that are under the name ``path``. Those that are ``near``, of the same manifest, too.
    """
    check_installed()
    from zoo.signing.examine import examine

    signers, seen = tuple(signers), set[Digest]()
    signed: Signed | None = None
    for place in (store, *near):
        for kept in _listed(place, manifest, path):
            if kept.digest in seen:
                continue
            seen.add(kept.digest)
            at = kept.at.isoformat(timespec="seconds")
            try:
                bundle = kept.read(place)
            except UNREADABLE as error:
                problem = f"it is damaged: {error}"
                yield Signature(manifest=manifest, digest=kept.digest, problem=problem, at=at), b""
                continue
            signed = signed or to_sign(store, manifest, near)
            yield replace(examine(bundle, kept.digest, signed, signers), at=at), bundle


def _listed(store: Store, manifest: Digest, path: str) -> list[StoredSignature]:
    """The signatures that are in a store; none in a server of before there were any, and none of
    those that nobody may look at: whoever asks for one does without.
    """
    try:
        return signatures_of(store, manifest, path)
    except Unsupported:
        return []
    except (Forbidden, NotAFile) as error:
        LOG.warning("signatures are left out: %s", error)
        return []


def readable(
    store: Store, manifest: Digest, path: str = ""
) -> Iterator[tuple[StoredSignature, bytes]]:
    """The signatures of a manifest in a store, with their bytes. What is damaged, not for who asks,
    gone by now, or no signature at all is left out, and told of.
    """
    for kept in _listed(store, manifest, path):
        try:
            data = kept.read(store)
            read_material(data)
        except (*UNREADABLE, ValueError) as error:
            LOG.warning("the signature %s is left out: %s", kept.digest.short, error)
            continue
        yield kept, data


def check_signed(
    workspace: Workspace, remote: Store, path: str, ref: Reference, manifest: Digest
) -> tuple[str, bytes]:
    """See that what a remote has, as ``path``, may be called ``ref`` here; who has signed it, of
    those that the user trusts, and that signature.

    Raises:
        Unsigned: Nobody has, and the user's rules want it.
        MissingPackage: They do, and what checks signatures is not installed.
    """
    if (policy := workspace.signers.policy_of(ref)) == "off":
        return "", b""
    problems: dict[str, None] = {}  # of one key there may be several that are alike
    try:
        trusted = workspace.signers.all().signers
        for each, bundle in examined(remote, manifest, path, trusted, [workspace.store]):
            if not each.problem:
                return each.signer, bundle
            problems[f"of the signature by {each.maker}: {each.problem}"] = None
    except MissingPackage as error:
        if policy != "warn":
            raise
        problems[f"{error}: {error.advice}"] = None
    except Unsupported as error:
        problems[str(error)] = None
    _tell(policy, ref, *(problems or [NOBODY]))
    return "", b""


def check_published(workspace: Workspace, ref: Reference) -> None:
    """See that what is published, which has no signatures, may be called ``ref`` here.

    Raises:
        Unsigned: The user's rules want one.
    """
    if (policy := workspace.signers.policy_of(ref)) in ("off", "published"):
        return
    why = "what is published has no signature; if that is as you want it: "
    _tell(policy, ref, f"{why}zoo signers require published '{ref.namespace}/*'")


def _tell(policy: str, ref: Reference, *why: str) -> None:
    if policy != "warn":
        raise Unsigned(str(ref), "\n  ".join(why))
    for each in why:
        LOG.warning("%s: %s", ref, each)


def send(store: Store, remote: Store, path: str, manifest: Digest) -> int:
    """Send the signatures of what is about to be called ``path`` at a remote, where those under
    that name lack them; how many were sent.
    """
    sent = 0
    if not (here := [*readable(store, manifest, path)]):
        return sent
    try:
        there = {each.digest for each in signatures_of(remote, manifest, path) if each.path == path}
        for kept, data in here:
            if kept.digest not in there:
                keep_signature(remote, manifest, path, data)
                sent += 1
    except (Unsupported, Conflict) as error:  # it is older, or has many already
        LOG.warning("the signatures are not sent: %s", error)
    return sent


def bring(
    remote: Store, store: Store, called: str, path: str, manifest: Digest, checked: bytes
) -> None:
    """Keep the signatures that a remote has of what it has as ``called``, and is about to be called
    ``path`` here; first the one that was ``checked``, if one was, whatever is there by now.
    """
    if checked:
        keep_signature(store, manifest, path, checked)
    here = {each.digest for each in _listed(store, manifest, path) if each.path == path}
    for kept, data in readable(remote, manifest, called):
        if kept.digest not in here and len(here) < SIGNATURES:
            here.add(keep_signature(store, manifest, path, data))
