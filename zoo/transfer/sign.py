"""Sign: put a signature beside a checkpoint, and look at those that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURES
from zoo.domain.signature import Signature, Signer
from zoo.errors import Conflict, InvalidOption, UnknownName
from zoo.signing import check_installed
from zoo.signing.signers import Signers
from zoo.store.signatures import (
    StoredSignature,
    folder_of,
    keep_signature,
    kept_at,
    signatures_under,
)
from zoo.transfer.signed import examined, readable, to_sign
from zoo.transfer.sync import present
from zoo.workspace import Workspace

__all__ = ["remove_signature", "sign", "signatures", "trust"]


def sign(
    workspace: Workspace,
    name: str,
    key: Path,
    certificate: Path | None,
    chain: Sequence[Path],
    password: str,
) -> Signature:
    """Sign what ``name`` points at, and keep that beside it, in the place of another one by the
    same key and certificates; or what is there by them already, which has a date.

    Raises:
        InvalidOption: ``name`` is a digest, or the key cannot be used.
        Forbidden: Others may read the key.
        Conflict: There are as many signatures as are looked at.
    """
    check_installed()
    from zoo.signing.again import is_by, says_same
    from zoo.signing.claim import claim_of
    from zoo.signing.sign import sign as signature_of

    ref, manifest = workspace.names.target(name)
    if ref is None:
        raise InvalidOption(f"what is signed needs a name, not a digest: zoo tag {name} NAME")
    wanted = to_sign(workspace.store, manifest)
    bundle = signature_of(wanted, key, certificate, chain, password=password)
    claim = claim_of(bundle)
    own = [
        (kept, earlier)
        for kept, earlier in readable(workspace.store, manifest, ref.path)
        if kept.path == ref.path and is_by(earlier, bundle, key, password)
    ]
    same = next((kept for kept, earlier in own if says_same(bundle, earlier)), None)
    replaced = [kept for kept, _ in own if kept != same]
    digest = same.digest if same else _keep(workspace, manifest, ref.path, bundle, replaced)
    for kept in replaced:
        workspace.store.backend.delete(kept.key)
    at = same.at.isoformat(timespec="seconds") if same else ""
    return Signature(manifest=manifest, digest=digest, kind=claim.kind, by=claim.by, at=at)


def _keep(
    workspace: Workspace,
    manifest: Digest,
    path: str,
    bundle: bytes,
    replaced: Sequence[StoredSignature],
) -> Digest:
    there = signatures_under(workspace.store, manifest, path)
    if len(there - {kept.digest for kept in replaced}) >= SIGNATURES:
        raise Conflict(f"{path} has {SIGNATURES} signatures, and no more are looked at")
    with workspace.store.upload():
        workspace.store.require_manifest(manifest)
        return keep_signature(workspace.store, manifest, path, bundle)


def remove_signature(workspace: Workspace, name: str, beginning: str) -> Signature:
    """Take a signature of what ``name`` points at away here, under whatever name it is kept.

    Raises:
        UnknownName: There is none whose digest has that ``beginning``, or there are several.
    """
    store, (_, manifest) = workspace.store, workspace.names.target(name)
    files = (kept_at(file) for file in store.backend.list(folder_of(manifest)))
    there = [kept for kept in files if kept and kept.manifest == manifest]
    matches = {kept.digest for kept in there if beginning and kept.digest.hex.startswith(beginning)}
    if len(matches) != 1:
        raise UnknownName(
            "signature",
            beginning,
            sorted({kept.digest.short for kept in there}),
            hint=f"zoo signatures {name} lists them",
        )
    for kept in there:
        if kept.digest in matches:
            store.backend.delete(kept.key)
    return Signature(manifest=manifest, digest=matches.pop())


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


def trust(signers: Signers, name: str, file: Path) -> Signer:
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
    signers.add(signer)
    return signer
