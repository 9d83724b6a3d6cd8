"""Sign: put a signature beside a checkpoint, and look at those that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.domain.limits import SIGNATURES
from zoo.domain.signature import Signature, Signer
from zoo.errors import Conflict, InvalidOption
from zoo.signing import check_installed
from zoo.store.signatures import keep_signature, signatures_under
from zoo.transfer.signed import examined, to_sign
from zoo.transfer.sync import present
from zoo.workspace import Workspace

__all__ = ["sign", "signatures", "trust"]


def sign(
    workspace: Workspace,
    name: str,
    key: Path,
    certificate: Path | None,
    chain: Sequence[Path],
    password: str,
) -> Signature:
    """Sign what ``name`` points at, and keep that beside it.

    Raises:
        InvalidOption: ``name`` is a digest, or the key cannot be used.
        Conflict: There are as many signatures as are looked at.
    """
    check_installed()
    from zoo.signing.claim import claim_of
    from zoo.signing.sign import sign as signature_of

    ref, manifest = workspace.names.target(name)
    if ref is None:
        raise InvalidOption(f"what is signed needs a name, not a digest: zoo tag {name} NAME")
    if len(signatures_under(workspace.store, manifest, ref.path)) >= SIGNATURES:
        raise Conflict(f"{name} has {SIGNATURES} signatures, and no more are looked at")
    wanted = to_sign(workspace.store, manifest)
    bundle = signature_of(wanted, key, certificate, chain, password=password)
    claim = claim_of(bundle)
    with workspace.store.upload():
        workspace.store.require_manifest(manifest)
        digest = keep_signature(workspace.store, manifest, ref.path, bundle)
    return Signature(manifest=manifest, digest=digest, kind=claim.kind, by=claim.by)


def signatures(
    workspace: Workspace, name: str, where: str | None, keys: Sequence[Path]
) -> Iterator[Signature]:
    """The signatures of what ``name`` points at, here or at a remote, checked against those whom
    the user trusts, and ``keys``.

    Raises:
        UnknownName: No such name there.
        Invalid: A file has no public key.
    """
    check_installed()
    from zoo.signing.sign import read_signer

    given = [read_signer(str(file), file) for file in keys]
    trusted = [*given, *workspace.signers.all().signers]
    if where:
        store, ref = workspace.remotes.connect(where), workspace.names.reference(name)
        path, manifest = ref.path, present(store, ref, where).manifest
    else:
        store, (here, manifest) = workspace.store, workspace.names.target(name)
        path = here.path if here else ""
    return (each for each, _ in examined(store, manifest, path, trusted))


def trust(workspace: Workspace, name: str, file: Path) -> Signer:
    """Have signatures count by whoever has the key of the public key, or of an authority, in a
    ``file``.

    Raises:
        Invalid: It is neither, in PEM, or several keys.
        InvalidReference: ``name`` has other letters than names do.
        Conflict: ``name`` is somebody else's.
    """
    check_installed()
    from zoo.signing.sign import read_signer

    signer = read_signer(name, file)
    workspace.signers.add(signer)
    return signer
